//! The physical memory protection: probes are made with the rights of the user mode (MPRV).
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{AccessKind, Extent, Permissions};
use hectare_segmentation::protect::leaf::pmp;
use hectare_segmentation::protect::{Pmp, PmpEntry, RegionFormat, RegionSet};

use super::task::CAUSE;

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

const FORMAT: Pmp = if usize::BITS == 32 { Pmp::RV32 } else { Pmp::RV64 };

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
        let format = FORMAT.with_grain(grain).expect("a grain of at least four bytes");
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

/// What a task may touch: its code, which is everybody's, and its memory.
pub type TaskSet = RegionSet<PmpEntry, { pmp::ENTRIES }>;

/// The set of a task with this memory.
pub fn task_set(code: Extent, memory: Extent) -> Option<TaskSet> {
    let mut set = TaskSet::EMPTY;
    for entry in FORMAT.from_to(code, Permissions::READ | Permissions::EXECUTE, false)? {
        set.push(entry)?;
    }
    set.push(FORMAT.power_of_two(memory, Permissions::READ | Permissions::WRITE, false)?)?;
    Some(set)
}

impl Protection {
    /// The context switch. All entries are written; returns how many differ.
    pub fn switch(&mut self, next: &TaskSet) -> usize {
        let changes = self.set.changes_to(next).count();
        // SAFETY: nothing is locked, so that the kernel has everything; programs get their code and memory.
        unsafe { pmp::apply(next) };
        self.set = *next;
        changes
    }
}
