//! RISC-V in machine mode on QEMU's `virt` board.
use core::arch::{asm, global_asm};
use core::fmt::Write;

pub mod protection;
pub mod task;

global_asm!(
    ".section .boot, \"ax\"",
    ".global start",
    "start:",
    "la sp, stack_top",
    "la t0, bss_start",
    "la t1, bss_end",
    "1: bgeu t0, t1, 2f",
    "sb zero, 0(t0)",
    "addi t0, t0, 1",
    "j 1b",
    "2: la t0, trap",
    "csrw mtvec, t0",
    "call enter",
    ".text",
);

#[unsafe(no_mangle)]
extern "C" fn enter() -> ! {
    crate::run()
}

struct Interrupts;
critical_section::set_impl!(Interrupts);

// SAFETY: one hart: nothing else runs while its interrupts are masked; the outermost section unmasks them again.
unsafe impl critical_section::Impl for Interrupts {
    unsafe fn acquire() -> bool {
        let status: usize;
        // SAFETY: clears MIE and tells how it was.
        unsafe { asm!("csrrci {}, mstatus, 8", out(reg) status) };
        status & 8 != 0
    }

    unsafe fn release(were_on: bool) {
        if were_on {
            // SAFETY: they were on before the outermost section.
            unsafe { asm!("csrsi mstatus, 8") };
        }
    }
}

/// The board's serial port.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let port: *mut u8 = core::ptr::with_exposed_provenance_mut(0x1000_0000);
        for byte in text.bytes() {
            // SAFETY: the 16550's transmit register of the `virt` board.
            unsafe { port.write_volatile(byte) };
        }
        Ok(())
    }
}

pub fn exit(good: bool) -> ! {
    let finisher: *mut u32 = core::ptr::with_exposed_provenance_mut(0x10_0000);
    // SAFETY: the test finisher of the `virt` board ends QEMU with this status.
    unsafe { finisher.write_volatile(if good { 0x5555 } else { 1 << 16 | 0x3333 }) };
    loop {}
}
