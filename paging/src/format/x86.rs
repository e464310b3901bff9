//! The formats of x86: what they share. All of them are counted in `u64` here; the two-level format truncates.
//!
//! Sections of the Intel SDM vol. 3A are given by number in editions before and since the end of 2023, when a chapter was
//! inserted: "Paging" is chapter 4, now 5. The AMD APM vol. 2 has the same in chapter 5.
#![forbid(unsafe_code)]

use hectare_core::Permissions;

use super::geometry::check_software;
use super::{Edit, EntryError};
use crate::{Attributes, MemoryType, Touched};

mod legacy;
mod long;
mod pae;

pub use legacy::X86;
pub use long::X86_64;
pub use pae::Pae;

/// What IA32_PAT (MSR 277H) must hold: its value after reset, but for entry 6, which is write-combining instead of UC−
/// (SDM 3A, "Page Attribute Table", 12.12, now 13.12). Where that was not done, write-combining pages are uncached.
pub const PAT: u64 = 0x0001_0406_0007_0406;

// SDM 3A, tables 4-4 to 4-6, 4-8 to 4-11, 4-14 to 4-20 (now 5-…): the low bits are alike everywhere.
const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const PWT: u64 = 1 << 3;
const PCD: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// Bit 7 makes an entry above level 0 a leaf; in a leaf of level 0 it is the PAT bit.
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
/// The PAT bit of larger leaves.
const LARGE_PAT: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
/// Ignored in the leaves of all x86 formats.
const SOFTWARE: u64 = 7 << 9;
/// Everything in a table entry but its address.
const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;

#[inline(always)]
const fn pat_bit(level: usize) -> u64 {
    if level == 0 || cfg!(hectare_plant = "format_pat_bit") { LARGE } else { LARGE_PAT }
}

/// The edit that all x86 formats share. Without an NX bit (`no_execute` is 0) every page is executable. `wide` is the
/// mask of further software bits from bit 52 on.
#[inline(always)]
fn edit(attributes: Attributes, level: usize, no_execute: u64, wide: u64) -> Result<Edit<u64>, EntryError> {
    let asked = attributes.permissions;
    let granted = granted(asked, no_execute != 0);
    if asked != granted {
        return Err(EntryError::Permissions { asked, granted });
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most ten")]
    let software = check_software(attributes.software.into(), (SOFTWARE | wide).count_ones() as u8)?;
    let mut set = match attributes.memory {
        MemoryType::WriteBack => 0,
        MemoryType::WriteThrough => PWT,
        MemoryType::WriteCombining => pat_bit(level) | PCD,
        MemoryType::Uncached | MemoryType::Device | MemoryType::DeviceStrict => PCD | PWT,
    };
    set |= (software & 7) << 9 | software >> 3 << 52;
    for (bit, wanted) in [
        (WRITE, asked.contains(Permissions::WRITE)),
        (USER, asked.contains(Permissions::USER)),
        (no_execute, !asked.contains(Permissions::EXECUTE)),
        (GLOBAL, attributes.global),
    ] {
        set |= if wanted { bit } else { 0 };
    }
    let clear = WRITE | USER | PWT | PCD | pat_bit(level) | GLOBAL | SOFTWARE | wide | no_execute;
    Ok(Edit { clear, set })
}

/// The least rights that include these and can be said: reading cannot be forbidden, execution only by an NX bit.
#[inline(always)]
const fn granted(asked: Permissions, has_no_execute: bool) -> Permissions {
    let always =
        if has_no_execute { Permissions::READ } else { Permissions::READ.union(Permissions::EXECUTE) };
    asked.union(always)
}

#[inline(always)]
fn nearest(attributes: Attributes, has_no_execute: bool, software: u16) -> Attributes {
    let memory = match attributes.memory {
        MemoryType::Device | MemoryType::DeviceStrict => MemoryType::Uncached,
        other => other,
    };
    Attributes {
        permissions: granted(attributes.permissions, has_no_execute),
        memory,
        software: attributes.software & software,
        ..attributes
    }
}

#[inline(always)]
fn attributes(leaf: u64, level: usize, wide: u64) -> Attributes {
    let mut permissions = Permissions::READ;
    permissions.set(Permissions::WRITE, leaf & WRITE != 0);
    permissions.set(Permissions::USER, leaf & USER != 0);
    permissions.set(Permissions::EXECUTE, leaf & NO_EXECUTE == 0);
    let memory = match (leaf & pat_bit(level) != 0, leaf & PCD != 0, leaf & PWT != 0) {
        (_, false, false) => MemoryType::WriteBack,
        (_, false, true) => MemoryType::WriteThrough,
        (true, true, false) => MemoryType::WriteCombining,
        _ => MemoryType::Uncached,
    };
    let software = leaf >> 9 & 7 | (leaf & wide) >> 52 << 3;
    #[expect(clippy::cast_possible_truncation, reason = "ten bits")]
    let software = software as u16;
    Attributes { permissions, memory, global: leaf & GLOBAL != 0, software }
}

#[inline(always)]
fn touched(leaf: u64) -> Touched {
    Touched { accessed: leaf & ACCESSED != 0, dirty: leaf & DIRTY != 0 }
}

#[inline(always)]
fn with_touched(leaf: u64, touched: Touched) -> u64 {
    leaf & !(ACCESSED | DIRTY) | u64::from(touched.accessed) << 5 | u64::from(touched.dirty) << 6
}

/// The processor sets A in any entry that a walk uses, D in a leaf that a write uses (SDM 3A, "Accessed and Dirty
/// Flags", 4.8, now 5.8).
#[inline(always)]
fn is_stable(entry: u64, level: usize) -> bool {
    let leaf = level == 0 || entry & LARGE != 0;
    entry & PRESENT == 0 || entry & ACCESSED != 0 && (!leaf || entry & DIRTY != 0 || entry & WRITE == 0)
}
