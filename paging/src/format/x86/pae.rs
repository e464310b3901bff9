//! PAE paging of 32-bit x86: three levels, the highest of four entries (SDM 3A, 4.4, now 5.4).
//!
//! ```text
//!  63  62 52 51                12 11 9  8   7   6   5   4   3   2   1   0
//!  NX   0    address             free  G  PAT  D   A  PCD PWT  US  RW  P    leaf of 4 KiB
//!  NX   0    address   0   12:PAT free  G   1   D   A  PCD PWT  US  RW  P    leaf of 2 MiB
//!  NX   0    address             free  -   0   -   A  PCD PWT  US  RW  P    table at level 1
//!  0    0    address             free  0   0   0   0  PCD PWT  0   0   P    table at level 2
//! ```
//! The processor reads the four entries of level 2 only when CR3 is loaded: after *any* change of one, even from absent
//! to present, CR3 must be loaded again ([`ROOT_LATCHED`](Format::ROOT_LATCHED); SDM 3A, 4.4.1). The root is 32 bytes,
//! aligned to 32, below 4 GiB.
//!
//! Assumed of the machine: as for [`X86_64`](super::X86_64). Bits 62:52 are reserved here, so that software has three
//! bits and tables have no count.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, PhysAddr};

use super::{LARGE, LARGE_PAT, NO_EXECUTE, PRESENT, TABLE};
use crate::format::geometry::{check, check_software, mask};
use crate::format::{Edit, EntryError, Format, Fresh, Half, Kind, MAX_LEVELS, SetBy, sealed};
use crate::{Attributes, Touched};

/// PAE paging of 32-bit x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pae;

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Must be zero below level 2.
const RESERVED: u64 = 0x7FF << 52;
/// Must be zero in an entry of level 2 (table 4-8): loading CR3 raises #GP otherwise.
const ROOT_RESERVED: u64 = 0xFFF0_0000_0000_01E6;

impl sealed::Sealed for Pae {}

impl Format for Pae {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = crate::format::Kept<T>;

    const NAME: &'static str = "x86 PAE";
    const LEVELS: usize = 3;
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = [9, 9, 2, 0, 0];
    const LEAF_LEVELS: u8 = 0b11;
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = 52;
    const SOFTWARE_BITS: u8 = 3;
    const ABSENT_BITS: u8 = 63;
    const GLOBAL: bool = true;
    const ACCESSED: SetBy = SetBy::Hardware;
    const DIRTY: SetBy = SetBy::Hardware;
    const FRESH: Fresh = Fresh::Nothing;
    const ROOT_LATCHED: bool = true;

    #[inline]
    fn leaf(
        address: PhysAddr,
        attributes: Attributes,
        touched: Touched,
        level: usize,
    ) -> Result<u64, EntryError> {
        let edit = Self::edit(attributes, level)?;
        let address = check(address, Self::SHIFTS[level], Self::PHYSICAL_BITS)?;
        let large = if level == 0 { 0 } else { LARGE };
        Ok(super::with_touched(address | edit.set | large | PRESENT, touched))
    }

    #[inline(always)]
    fn stride(level: usize) -> u64 {
        1 << Self::SHIFTS[level]
    }

    #[inline]
    fn table(address: PhysAddr, level: usize) -> Result<u64, EntryError> {
        match level {
            1 => Ok(check(address, 12, Self::PHYSICAL_BITS)? | TABLE),
            2 if cfg!(hectare_plant = "format_pae_root") => {
                Ok(check(address, 12, Self::PHYSICAL_BITS)? | TABLE)
            }
            2 => Ok(check(address, 12, Self::PHYSICAL_BITS)? | PRESENT),
            _ => Err(EntryError::Level { level }),
        }
    }

    #[inline]
    fn absent(state: u64) -> Result<u64, EntryError> {
        Ok(check_software(state, Self::ABSENT_BITS)? << 1)
    }

    #[inline(always)]
    fn kind(entry: u64, level: usize) -> Kind {
        if entry & PRESENT == 0 {
            Kind::Absent
        } else if entry & if level == 2 { ROOT_RESERVED } else { RESERVED } != 0 {
            Kind::Reserved
        } else if level == 0 {
            Kind::Leaf
        } else if level == 2 || entry & LARGE == 0 {
            Kind::Table
        } else if entry & ADDRESS & mask(21) & !LARGE_PAT != 0 {
            Kind::Reserved
        } else {
            Kind::Leaf
        }
    }

    #[inline(always)]
    fn leaf_address(entry: u64, level: usize, _index: usize) -> PhysAddr {
        PhysAddr::new(entry & ADDRESS & !mask(Self::SHIFTS[level]))
    }

    #[inline(always)]
    fn table_address(entry: u64, _level: usize) -> PhysAddr {
        PhysAddr::new(entry & ADDRESS)
    }

    #[inline(always)]
    fn absent_state(entry: u64) -> u64 {
        entry >> 1
    }

    #[inline]
    fn attributes(leaf: u64, level: usize) -> Attributes {
        super::attributes(leaf, level, 0)
    }

    #[inline(always)]
    fn touched(leaf: u64, _level: usize) -> Touched {
        super::touched(leaf)
    }

    #[inline(always)]
    fn with_touched(leaf: u64, touched: Touched, _level: usize) -> u64 {
        super::with_touched(leaf, touched)
    }

    #[inline]
    fn edit(attributes: Attributes, level: usize) -> Result<Edit<u64>, EntryError> {
        if !Self::has_leaves(level) {
            return Err(EntryError::Level { level });
        }
        super::edit(attributes, level, NO_EXECUTE, 0)
    }

    #[inline(always)]
    fn is_stable(entry: u64, level: usize) -> bool {
        level == 2 || super::is_stable(entry, level)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        super::nearest(attributes, true, 7)
    }
}
