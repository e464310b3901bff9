//! RISC-V in machine mode on QEMU's `virt` board: probes are made with the rights of the user mode (MPRV).
use core::arch::{asm, global_asm};
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hectare_core::{AccessKind, Extent, Permissions};
use hectare_segmentation::protect::leaf::pmp;
use hectare_segmentation::protect::{Pmp, PmpEntry, RegionFormat, RegionSet};

// The trap of a probe: its cause is noted, its instruction of four bytes skipped. Only t0 and t1 are used, which the
// probe says are lost.
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
    ".balign 4",
    "trap:",
    "csrr t0, mcause",
    "la t1, CAUSE",
    ".if {bits} == 64",
    "sd t0, 0(t1)",
    ".else",
    "sw t0, 0(t1)",
    ".endif",
    "csrr t0, mepc",
    "addi t0, t0, 4",
    "csrw mepc, t0",
    "mret",
    bits = const usize::BITS,
);

#[unsafe(no_mangle)]
static CAUSE: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
extern "C" fn enter() -> ! {
    crate::run()
}

/// One load or store of a byte with the rights of the user mode. Returns whether it faulted.
pub fn probe(address: usize, write: bool) -> bool {
    CAUSE.store(0, Relaxed);
    // MPRV (bit 17) makes loads and stores those of the mode in MPP (bits 11 and 12), which is the user mode. A trap sets
    // MPP to the machine mode, and its return sets it to the user mode and clears MPRV only if it leaves the machine mode.
    macro_rules! with_user_rights {
        ($instruction:literal) => {
            // SAFETY: the instruction has four bytes and touches the pool, which holds nothing, or traps; the trap
            // changes t0 and t1.
            unsafe {
                asm!(
                    ".option push",
                    ".option norvc",
                    "li t0, 0x1800",
                    "csrc mstatus, t0",
                    "li t0, 0x20000",
                    "csrs mstatus, t0",
                    $instruction,
                    "li t0, 0x20000",
                    "csrc mstatus, t0",
                    ".option pop",
                    address = in(reg) address,
                    out("t0") _,
                    out("t1") _,
                    out("t2") _,
                    options(nostack),
                )
            }
        };
    }
    if write {
        with_user_rights!("sb zero, 0({address})");
    } else {
        with_user_rights!("lbu t2, 0({address})");
    }
    CAUSE.load(Relaxed) != 0
}

/// The unit and what is in it.
pub struct Protection {
    format: Pmp,
    set: RegionSet<PmpEntry, { pmp::ENTRIES }>,
    turn: bool,
}

impl Protection {
    pub fn new() -> Self {
        // SAFETY: machine mode, and no entry is in use.
        let grain = unsafe { pmp::probe_grain() };
        let format = if usize::BITS == 32 { Pmp::RV32 } else { Pmp::RV64 };
        let format = format.with_grain(grain).expect("a grain of at least four bytes");
        Self { format, set: RegionSet::EMPTY, turn: false }
    }

    /// Exactly these bytes by a top-of-range pair, or the power of two that lies in them, in turns.
    pub fn set(&mut self, start: u64, length: u64, read_only: bool) {
        let wanted = Extent::new(start, length).expect("not empty");
        let rights = if read_only { Permissions::READ } else { Permissions::READ | Permissions::WRITE };
        self.set = RegionSet::EMPTY;
        self.turn = !self.turn;
        if self.turn {
            for entry in self.format.from_to(wanted, rights, false).expect("blocks of 32") {
                self.set.push(entry);
            }
        } else {
            let half = core::num::NonZero::new(length.div_ceil(4)).expect("not zero");
            if let Some(block) = self.format.fit(wanted, half) {
                self.set.push(self.format.power_of_two(block, rights, false).expect("a power of two"));
            }
        }
        // SAFETY: machine mode; nothing is locked, and programs get the pool only, which holds nothing.
        unsafe { pmp::apply(&self.set) };
    }

    /// Nothing: the registers are in force.
    pub fn refresh(&mut self) {}

    pub fn permits(&self, address: u64, write: bool) -> bool {
        let kind = if write && cfg!(not(hectare_plant = "read_for_write")) {
            AccessKind::Write
        } else {
            AccessKind::Read
        };
        self.set.permits(Extent::new(address, 1).expect("a byte"), kind)
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
