//! Two-level paging of 32-bit x86, entries of 32 bits (SDM 3A, 4.3, now 5.3).
//!
//! ```text
//!  31              12 11 9  8   7   6   5   4   3   2   1   0
//!  address           free  G  PAT  D   A  PCD PWT  US  RW  P    leaf of 4 KiB
//!  address           free  -   0   -   A  PCD PWT  US  RW  P    table
//!  31    22 21 20  13 12  11 9  8   7   6   5   4   3   2   1   0
//!  address  0  39:32  PAT free  G   1   D   A  PCD PWT  US  RW  P    leaf of 4 MiB
//! ```
//! There is no NX bit: every page is executable, and rights without [`Permissions::EXECUTE`] are refused.
//!
//! Assumed of the machine: CR4.PSE is set if leaves of 4 MiB are used, the PAT is programmed as [`PAT`](super::PAT) says.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, PhysAddr};

use super::{LARGE, PRESENT, TABLE};
use crate::format::geometry::{check, check_software};
use crate::format::{Edit, EntryError, Format, Fresh, Half, Kind, MAX_LEVELS, SetBy, sealed};
use crate::{Attributes, Touched};
#[cfg(doc)]
use hectare_core::Permissions;

/// Two-level paging of 32-bit x86. With `PSE36` leaves of 4 MiB reach 2^40 bytes of memory (CPUID.01H:EDX.17; how much
/// of it there is, the processor's physical width says); leaves of 4 KiB and tables always stay below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct X86<const PSE36: bool = false>;

/// Bit 21 of a leaf of 4 MiB is reserved; without PSE-36 so are bits 20:13 (table 4-4).
const RESERVED: u32 = 1 << 21;
const HIGH: u32 = 0xFF << 13;

impl<const PSE36: bool> sealed::Sealed for X86<PSE36> {}

impl<const PSE36: bool> Format for X86<PSE36> {
    type Entry = u32;
    type Memo<T: Copy + core::fmt::Debug> = crate::format::Nothing<T>;

    const NAME: &'static str = if PSE36 { "x86, PSE-36" } else { "x86" };
    const LEVELS: usize = 2;
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = [10, 10, 0, 0, 0];
    const LEAF_LEVELS: u8 = 0b11;
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = if PSE36 { 40 } else { 32 };
    const LINEAR_BITS: u8 = if PSE36 { 32 } else { 64 };
    const SOFTWARE_BITS: u8 = 3;
    const ABSENT_BITS: u8 = 31;
    const GLOBAL: bool = true;
    const ACCESSED: SetBy = SetBy::Hardware;
    const DIRTY: SetBy = SetBy::Hardware;
    const FRESH: Fresh = Fresh::Nothing;

    #[inline(always)]
    fn physical_bits(level: usize) -> u8 {
        if level == 0 { 32 } else { Self::PHYSICAL_BITS }
    }

    #[inline]
    fn leaf(
        address: PhysAddr,
        attributes: Attributes,
        touched: Touched,
        level: usize,
    ) -> Result<u32, EntryError> {
        let edit = Self::edit(attributes, level)?;
        let address = check(address, Self::SHIFTS[level], Self::physical_bits(level))?;
        let entry =
            address & 0xFFFF_FFFF | address >> 32 << 13 | if level == 0 { 0 } else { LARGE } | PRESENT;
        Ok(narrow(super::with_touched(entry, touched)) | edit.set)
    }

    #[inline(always)]
    fn stride(level: usize) -> u32 {
        1 << Self::SHIFTS[level]
    }

    #[inline]
    fn table(address: PhysAddr, level: usize) -> Result<u32, EntryError> {
        if level != 1 {
            return Err(EntryError::Level { level });
        }
        Ok(narrow(check(address, 12, 32)? | TABLE))
    }

    #[inline]
    fn absent(state: u64) -> Result<u32, EntryError> {
        Ok(narrow(check_software(state, Self::ABSENT_BITS)? << 1))
    }

    #[inline(always)]
    fn kind(entry: u32, level: usize) -> Kind {
        if entry & narrow(PRESENT) == 0 {
            Kind::Absent
        } else if level == 0 {
            Kind::Leaf
        } else if entry & narrow(LARGE) == 0 {
            Kind::Table
        } else if entry & (RESERVED | if PSE36 { 0 } else { HIGH }) != 0 {
            Kind::Reserved
        } else {
            Kind::Leaf
        }
    }

    #[inline(always)]
    fn leaf_address(entry: u32, level: usize, _index: usize) -> PhysAddr {
        PhysAddr::new(if level == 0 {
            u64::from(entry & 0xFFFF_F000)
        } else {
            u64::from(entry & 0xFFC0_0000) | u64::from(entry & HIGH) << (32 - 13)
        })
    }

    #[inline(always)]
    fn table_address(entry: u32, _level: usize) -> PhysAddr {
        PhysAddr::new(u64::from(entry & 0xFFFF_F000))
    }

    #[inline(always)]
    fn absent_state(entry: u32) -> u64 {
        u64::from(entry >> 1)
    }

    #[inline]
    fn attributes(leaf: u32, level: usize) -> Attributes {
        super::attributes(leaf.into(), level, 0)
    }

    #[inline(always)]
    fn touched(leaf: u32, _level: usize) -> Touched {
        super::touched(leaf.into())
    }

    #[inline(always)]
    fn with_touched(leaf: u32, touched: Touched, _level: usize) -> u32 {
        narrow(super::with_touched(leaf.into(), touched))
    }

    #[inline]
    fn edit(attributes: Attributes, level: usize) -> Result<Edit<u32>, EntryError> {
        if !Self::has_leaves(level) {
            return Err(EntryError::Level { level });
        }
        let edit = super::edit(attributes, level, 0, 0)?;
        Ok(Edit { clear: narrow(edit.clear), set: narrow(edit.set) })
    }

    #[inline(always)]
    fn is_stable(entry: u32, level: usize) -> bool {
        super::is_stable(entry.into(), level)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        super::nearest(attributes, false, 7)
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the high half is empty: no NX bit, no wide software bits"
)]
const fn narrow(value: u64) -> u32 {
    value as u32
}
