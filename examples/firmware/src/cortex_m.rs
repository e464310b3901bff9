//! Cortex-M on boards that QEMU has, with semihosting: M0 (micro:bit), M3, M4 and M33 (Arm's MPS2).
use core::arch::asm;
use core::fmt::Write;

#[cfg(feature = "protection")]
pub mod protection;
#[cfg(feature = "protection")]
pub mod task;

unsafe extern "C" {
    static mut bss_start: u32;
    static mut bss_end: u32;
    static mut data_start: u32;
    static mut data_end: u32;
    static data_load: u32;
}

/// Reset, then the exceptions 2 to 15; MemManage is number 4, SVCall number 11.
#[unsafe(link_section = ".vectors")]
#[used]
static VECTORS: [unsafe extern "C" fn(); 15] = {
    let mut vectors: [unsafe extern "C" fn(); 15] = [hard_fault; 15];
    vectors[0] = reset;
    #[cfg(feature = "protection")]
    {
        vectors[3] = task::memory_fault;
        vectors[10] = task::service_call;
    }
    vectors
};

unsafe extern "C" fn hard_fault() {
    let _ = writeln!(Console, "hard fault\ntest result: FAILED");
    exit(false)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn reset() {
    let mut zero = &raw mut bss_start;
    while zero < &raw mut bss_end {
        // SAFETY: between the linker's two symbols lies the memory of .bss, used by nobody yet.
        unsafe { zero.write_volatile(0) };
        zero = zero.wrapping_add(1);
    }
    let (mut to, mut from) = (&raw mut data_start, &raw const data_load);
    while to < &raw mut data_end {
        // SAFETY: the linker put as many words of initial values there.
        let word = unsafe { from.read_volatile() };
        // SAFETY: between the linker's two symbols lies the memory of .data, used by nobody yet.
        unsafe { to.write_volatile(word) };
        (to, from) = (to.wrapping_add(1), from.wrapping_add(1));
    }
    #[cfg(feature = "protection")]
    protection::enable_faults();
    crate::run()
}

struct Interrupts;
critical_section::set_impl!(Interrupts);

// SAFETY: one core: nothing else runs while its interrupts are masked; the outermost section unmasks them again.
unsafe impl critical_section::Impl for Interrupts {
    unsafe fn acquire() -> bool {
        let masked: u32;
        // SAFETY: reads PRIMASK and sets it.
        unsafe { asm!("mrs {}, PRIMASK", "cpsid i", out(reg) masked) };
        masked & 1 == 0
    }

    unsafe fn release(were_on: bool) {
        if were_on {
            // SAFETY: they were on before the outermost section.
            unsafe { asm!("cpsie i") };
        }
    }
}

/// Semihosting's console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for &byte in text.as_bytes() {
            semihosting(3, (&raw const byte).expose_provenance()); // SYS_WRITEC
        }
        Ok(())
    }
}

pub fn exit(good: bool) -> ! {
    let arguments = [0x2_0026_u32, u32::from(!good)];
    semihosting(0x20, (&raw const arguments).expose_provenance()); // SYS_EXIT_EXTENDED
    loop {}
}

fn semihosting(operation: u32, argument: usize) {
    // SAFETY: the debugger's breakpoint: QEMU serves it and returns a value in r0.
    unsafe { asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument, options(nostack)) };
}
