//! The protection registers of RISC-V: pmpcfg0 to 3 and pmpaddr0 to 15 (volume II, 3.7.1).
#![expect(unsafe_code, reason = "control and status registers")]
#![cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]

use core::arch::asm;

use crate::protect::{PmpEntry, RegionSet};

/// How many entries are written.
pub const ENTRIES: usize = 16;

/// A register's number is a part of the instruction, so there is one instruction for each.
macro_rules! write_numbered {
    ($number:expr, $value:expr, $($at:literal => $name:literal),+) => {
        match $number {
            $($at => {
                // SAFETY: the caller runs in machine mode on a hart with the register, and answers for the value.
                unsafe { asm!(concat!("csrw ", $name, ", {}"), in(reg) $value, options(nostack)) }
            })+
            _ => {}
        }
    };
}

/// Writes 16 entries of this hart; entries that the set does not have are switched off. Locked entries stay as they are.
///
/// # Safety
/// 1. The hart is in machine mode and has at least 16 entries.
/// 2. The entries give programs only memory that they may have; locked ones leave the machine mode what it uses.
pub unsafe fn apply(set: &RegionSet<PmpEntry, ENTRIES>) {
    let mut configs = [0_u8; ENTRIES];
    // Off first, so that no address meets an old mode.
    write_configs(&configs);
    for (number, config) in configs.iter_mut().enumerate() {
        let (byte, address) = set.get(number).map_or((0, 0), PmpEntry::encode);
        *config = byte;
        write_address(number, address as usize);
    }
    write_configs(&configs);
}

/// The grain in bytes, as log2: all ones are written to pmpaddr0, and the zeroes that stay at its low end are counted.
///
/// # Safety
/// The hart is in machine mode, and entry 0 is neither locked nor needed.
#[must_use]
pub unsafe fn probe_grain() -> u32 {
    write_configs(&[0; ENTRIES]);
    write_address(0, usize::MAX);
    let read: usize;
    // SAFETY: reading the register has no effect; the caller runs in machine mode.
    unsafe { asm!("csrr {}, pmpaddr0", out(reg) read, options(nomem, nostack)) };
    write_address(0, 0);
    read.trailing_zeros() + 2
}

fn write_address(number: usize, value: usize) {
    write_numbered!(number, value, 0 => "pmpaddr0", 1 => "pmpaddr1", 2 => "pmpaddr2", 3 => "pmpaddr3", 4 => "pmpaddr4",
        5 => "pmpaddr5", 6 => "pmpaddr6", 7 => "pmpaddr7", 8 => "pmpaddr8", 9 => "pmpaddr9", 10 => "pmpaddr10",
        11 => "pmpaddr11", 12 => "pmpaddr12", 13 => "pmpaddr13", 14 => "pmpaddr14", 15 => "pmpaddr15");
}

#[cfg(target_arch = "riscv32")]
fn write_configs(configs: &[u8; ENTRIES]) {
    for (number, bytes) in configs.chunks_exact(4).enumerate() {
        let value = bytes.iter().rev().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
        write_numbered!(number, value, 0 => "pmpcfg0", 1 => "pmpcfg1", 2 => "pmpcfg2", 3 => "pmpcfg3");
    }
}

#[cfg(target_arch = "riscv64")]
fn write_configs(configs: &[u8; ENTRIES]) {
    for (number, bytes) in configs.chunks_exact(8).enumerate() {
        let value = bytes.iter().rev().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
        // Only the even ones exist on RV64.
        write_numbered!(number, value, 0 => "pmpcfg0", 1 => "pmpcfg2");
    }
}
