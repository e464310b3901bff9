//! Cortex-M3, M4 (PMSAv7) and M33 (PMSAv8) on QEMU's MPS2 boards, with semihosting.
use core::arch::{asm, global_asm};
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hectare_core::{Access, AccessKind, Extent, Permissions, Privilege};
use hectare_segmentation::protect::RegionSet;
use hectare_segmentation::protect::leaf::mpu::Mpu;
#[cfg(not(feature = "pmsa8"))]
use hectare_segmentation::protect::{Layer, Memory7, Pmsa7, Region7, Rights, cover_layered};
#[cfg(feature = "pmsa8")]
use hectare_segmentation::protect::{Region8, Rights, Shareability};

// A fault of the probe: noted, and its instruction of four bytes skipped. The frame's seventh word is the return address.
global_asm!(
    ".syntax unified",
    ".thumb",
    ".global memory_fault",
    ".type memory_fault, %function",
    ".thumb_func",
    "memory_fault:",
    "ldr r0, =0xE000ED28", // CFSR
    "ldr r1, [r0]",
    "str r1, [r0]", // writing ones clears
    "ldr r3, =FAULT_STATUS",
    "str r1, [r3]",
    "ldr r1, [sp, #24]",
    "adds r1, #4",
    "str r1, [sp, #24]",
    "bx lr",
    ".pool",
);

unsafe extern "C" {
    fn memory_fault();
    static mut bss_start: u32;
    static mut bss_end: u32;
    static mut data_start: u32;
    static mut data_end: u32;
    static data_load: u32;
}

#[unsafe(no_mangle)]
static FAULT_STATUS: AtomicU32 = AtomicU32::new(0);

/// Reset, then the exceptions 2 to 15; MemManage is number 4.
#[unsafe(link_section = ".vectors")]
#[used]
static VECTORS: [unsafe extern "C" fn(); 15] = [
    reset,
    hard_fault,
    hard_fault,
    memory_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
    hard_fault,
];

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
    let handler_control: *mut u32 = core::ptr::with_exposed_provenance_mut(0xE000_ED24);
    // SAFETY: SHCSR: MEMFAULTENA, so that a fault is a MemManage exception and not a hard fault.
    unsafe { handler_control.write_volatile(1 << 16) };
    crate::run()
}

/// One unprivileged load or store of a byte. Returns whether it faulted.
pub fn probe(address: usize, write: bool) -> bool {
    FAULT_STATUS.store(0, Relaxed);
    if write {
        // SAFETY: STRBT has four bytes; the address is within the pool, which holds nothing.
        unsafe { asm!("strbt {}, [{}]", in(reg) 0, in(reg) address, options(nostack)) };
    } else {
        // SAFETY: LDRBT has four bytes; the address is within the pool.
        unsafe { asm!("ldrbt {}, [{}]", out(reg) _, in(reg) address, options(nostack)) };
    }
    FAULT_STATUS.load(Relaxed) != 0
}

fn rights(read_only: bool) -> Rights {
    let data = Permissions::READ | Permissions::WRITE;
    Rights { kernel: data, user: if read_only { Permissions::READ } else { data } }
}

#[cfg(not(feature = "pmsa8"))]
type Region = Region7;
#[cfg(feature = "pmsa8")]
type Region = Region8;

/// The unit and what is in it.
pub struct Protection {
    unit: Mpu,
    set: RegionSet<Region, 8>,
}

impl Protection {
    pub fn new() -> Self {
        // SAFETY: privileged code on a machine with an MPU, and nobody else uses it.
        let mut unit = unsafe { Mpu::new() };
        assert!(unit.regions() >= 8, "the board has eight regions");
        #[cfg(feature = "pmsa8")]
        // SAFETY: the pool is ordinary memory.
        unsafe {
            unit.set_attributes(0xFF);
        }
        let _ = &mut unit;
        Self { unit, set: RegionSet::EMPTY }
    }

    /// Exactly these bytes, by the fewest regions; outside of them, up to the pool's ends, nobody has rights.
    #[cfg(not(feature = "pmsa8"))]
    pub fn set(&mut self, start: u64, length: u64, read_only: bool) {
        let wanted = Extent::new(start, length).expect("not empty");
        let outer = Extent::new(start & !0x3FFF, 0x4000).expect("the pool");
        let mut next = RegionSet::EMPTY;
        let cover = cover_layered::<8>(&Pmsa7::V7, wanted, outer).expect("eight are enough below 64 KiB");
        for (layer, region) in cover.iter() {
            let none = Rights { kernel: Permissions::empty(), user: Permissions::empty() };
            let rights = if layer == Layer::Allow { rights(read_only) } else { none };
            next.push(Region7::new(Pmsa7::V7, region, rights, Memory7::NORMAL).expect("a region of a cover"));
        }
        // SAFETY: all regions lie in the pool, which holds nothing.
        unsafe { self.unit.apply7(self.set.changes_to(&next)) };
        self.set = next;
    }

    /// Exactly these bytes. A read-only region binds the kernel too: it has no other region there.
    #[cfg(feature = "pmsa8")]
    pub fn set(&mut self, start: u64, length: u64, read_only: bool) {
        let wanted = Extent::new(start, length).expect("not empty");
        let user = rights(read_only).user;
        let region =
            Region8::new(wanted, Rights { kernel: user, user }, 0, Shareability::None).expect("blocks of 32");
        let mut next = RegionSet::EMPTY;
        next.push(region);
        // SAFETY: the region lies in the pool, which holds nothing.
        unsafe { self.unit.apply8(self.set.changes_to(&next)) };
        self.set = next;
    }

    /// Writes the same registers again. QEMU 7.2 keeps what it found for an address for all of its 1 KiB, even if the
    /// address lay in a switched-off eighth of a region whose other eighths are on; new registers make it forget.
    pub fn refresh(&mut self) {
        #[cfg(not(feature = "pmsa8"))]
        // SAFETY: the regions that are in force.
        unsafe {
            self.unit.apply7(RegionSet::EMPTY.changes_to(&self.set));
        }
    }

    pub fn permits(&self, address: u64, write: bool) -> bool {
        let kind = if write && cfg!(not(hectare_plant = "read_for_write")) {
            AccessKind::Write
        } else {
            AccessKind::Read
        };
        self.set.permits(address as u32, Access { kind, privilege: Privilege::User }, true)
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
