//! Four- and five-level paging of 64-bit x86 (SDM 3A, 4.5, now 5.5; AMD APM vol. 2, 5.3).
//!
//! ```text
//!  63  62 59 58 52 51                12 11 9  8   7   6   5   4   3   2   1   0
//!  NX  pkey  free  address             free  G  PAT  D   A  PCD PWT  US  RW  P    leaf of 4 KiB
//!  NX  pkey  free  address   0   12:PAT free  G   1   D   A  PCD PWT  US  RW  P    leaf of 2 MiB, 1 GiB
//!  NX     count    address             free  -   0   -   A  PCD PWT  US  RW  P    table
//! ```
//! Assumed of the machine: EFER.NXE is set (else bit 63 is reserved), the PAT is programmed as [`PAT`](super::PAT) says,
//! CR4.PGE is set if global pages are to outlive a load of CR3. Leaves of 1 GiB need CPUID.80000001H:EDX.26; 5 levels
//! need CR4.LA57. AMD's nested paging has the same format; its leaves must have [`Permissions::USER`] (APM vol. 2,
//! 15.25.5).
#![forbid(unsafe_code)]

use hectare_core::{PageSize, PhysAddr};

use super::{ACCESSED, LARGE, LARGE_PAT, NO_EXECUTE, PRESENT, TABLE};
use crate::format::geometry::{check, check_software, mask};
use crate::format::{Edit, EntryError, Field, Format, Fresh, Half, Kind, MAX_LEVELS, SetBy, sealed};
use crate::{Attributes, Touched};
#[cfg(doc)]
use hectare_core::Permissions;

/// x86-64 paging with 4 or 5 levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct X86_64<const LEVELS: usize>;

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Ignored in leaves beside bits 11:9 (tables 4-15 to 4-20); 62:59 may be a protection key.
const WIDE: u64 = 0x7F << 52;

impl<const LEVELS: usize> sealed::Sealed for X86_64<LEVELS> {}

impl<const LEVELS: usize> Format for X86_64<LEVELS> {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = crate::format::Nothing<T>;

    const NAME: &'static str = if LEVELS == 5 { "x86-64, 5 levels" } else { "x86-64" };
    const LEVELS: usize = {
        assert!(LEVELS == 4 || LEVELS == 5, "x86-64 has 4 or 5 levels");
        LEVELS
    };
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = if LEVELS == 5 { [9; MAX_LEVELS] } else { [9, 9, 9, 9, 0] };
    const LEAF_LEVELS: u8 = 0b111;
    const HALF: Half = Half::Both;
    const PHYSICAL_BITS: u8 = 52;
    const SOFTWARE_BITS: u8 = 10;
    const ABSENT_BITS: u8 = 63;
    const COUNT: Option<Field> = Some(Field { shift: 52, bits: 11 });
    const GLOBAL: bool = true;
    const ACCESSED: SetBy = SetBy::Hardware;
    const DIRTY: SetBy = SetBy::Hardware;
    const FRESH: Fresh = Fresh::Nothing;

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
        if level == 0 || level >= LEVELS {
            return Err(EntryError::Level { level });
        }
        Ok(check(address, 12, Self::PHYSICAL_BITS)? | TABLE)
    }

    #[inline]
    fn absent(state: u64) -> Result<u64, EntryError> {
        Ok(check_software(state, Self::ABSENT_BITS)? << 1)
    }

    #[inline(always)]
    fn kind(entry: u64, level: usize) -> Kind {
        if entry & PRESENT == 0 {
            Kind::Absent
        } else if level == 0 {
            Kind::Leaf
        } else if entry & LARGE == 0 {
            Kind::Table
        } else if level > 2 || entry & ADDRESS & mask(Self::SHIFTS[level]) & !LARGE_PAT != 0 {
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
        super::attributes(leaf, level, WIDE)
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
        super::edit(attributes, level, NO_EXECUTE, WIDE)
    }

    #[inline(always)]
    fn is_stable(entry: u64, level: usize) -> bool {
        super::is_stable(entry, level)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        super::nearest(attributes, true, 0x3FF)
    }
}

const _: () = assert!(TABLE & ACCESSED != 0, "a table entry is born stable");
