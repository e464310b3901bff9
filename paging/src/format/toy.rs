//! A geometry so small that tests can try everything: no machine has it.
//!
//! ```text
//!  63      16 15 14 13 12 11 10  9  8   7    6   5   4   3   2   1   0
//!  address/2^12  free  │ memory  │  G  run  leaf  D   A   U   X   W   R   P
//! ```
//! Every level may hold leaves. Accessed and dirty bits are the hardware's, as in x86.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::geometry::{check, check_software, mask};
use super::{Edit, EntryError, Format, Fresh, Half, Kind, MAX_LEVELS, Run, SetBy, sealed};
use crate::{Attributes, MemoryType, Touched};

/// `LEVELS` levels of `INDEX_BITS` bits above pages of 4 KiB; contiguous runs of 2^`RUN` entries at level 0, none if
/// `RUN` is 0. `Toy<2, 2, 0>` has 16 pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Toy<const LEVELS: usize, const INDEX_BITS: u8, const RUN: u8>;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 2;
const RIGHTS: u64 = 0xF << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LEAF: u64 = 1 << 7;
const CONTIGUOUS: u64 = 1 << 8;
const GLOBAL: u64 = 1 << 9;
const MEMORY: u64 = 7 << 10;
const SOFTWARE: u64 = 7 << 13;

impl<const LEVELS: usize, const INDEX_BITS: u8, const RUN: u8> sealed::Sealed
    for Toy<LEVELS, INDEX_BITS, RUN>
{
}

impl<const LEVELS: usize, const INDEX_BITS: u8, const RUN: u8> Format for Toy<LEVELS, INDEX_BITS, RUN> {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = super::Nothing<T>;

    const NAME: &'static str = "toy";
    const LEVELS: usize = {
        assert!(
            LEVELS >= 1 && LEVELS <= MAX_LEVELS && INDEX_BITS >= 1 && INDEX_BITS <= 9 && RUN <= INDEX_BITS
        );
        LEVELS
    };
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = {
        let mut bits = [0; MAX_LEVELS];
        let mut level = 0;
        while level < LEVELS {
            bits[level] = INDEX_BITS;
            level += 1;
        }
        bits
    };
    const LEAF_LEVELS: u8 = (1 << LEVELS) - 1;
    const RUNS: [Option<Run>; MAX_LEVELS] = {
        let run = if RUN == 0 { None } else { Some(Run { log2: RUN, repeats: false }) };
        [run, None, None, None, None]
    };
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = 60;
    const SOFTWARE_BITS: u8 = 3;
    const ABSENT_BITS: u8 = 63;
    const GLOBAL: bool = true;
    const ACCESSED: SetBy = SetBy::Hardware;
    const DIRTY: SetBy = SetBy::Hardware;
    const FRESH: Fresh = Fresh::Nothing;

    fn leaf(
        address: PhysAddr,
        attributes: Attributes,
        touched: Touched,
        level: usize,
    ) -> Result<u64, EntryError> {
        let edit = Self::edit(attributes, level)?;
        let address = check(address, Self::SHIFTS[level], Self::PHYSICAL_BITS)?;
        Ok(Self::with_touched(address << 4 | edit.set | LEAF | PRESENT, touched, level))
    }

    #[inline(always)]
    fn stride(level: usize) -> u64 {
        1 << (Self::SHIFTS[level] + 4)
    }

    fn contiguous(leaf: u64, level: usize) -> u64 {
        if level == 0 && RUN != 0 { leaf | CONTIGUOUS } else { leaf }
    }

    fn is_contiguous(leaf: u64, _level: usize) -> bool {
        leaf & CONTIGUOUS != 0
    }

    fn alone(leaf: u64, _level: usize, _index: usize) -> u64 {
        leaf & !CONTIGUOUS
    }

    fn table(address: PhysAddr, level: usize) -> Result<u64, EntryError> {
        if level == 0 || level >= LEVELS {
            return Err(EntryError::Level { level });
        }
        Ok(check(address, 12, Self::PHYSICAL_BITS)? << 4 | PRESENT | RIGHTS | ACCESSED)
    }

    fn absent(state: u64) -> Result<u64, EntryError> {
        Ok(check_software(state, Self::ABSENT_BITS)? << 1)
    }

    #[inline(always)]
    fn kind(entry: u64, level: usize) -> Kind {
        if entry & PRESENT == 0 {
            Kind::Absent
        } else if entry & LEAF == 0 {
            if level == 0 { Kind::Reserved } else { Kind::Table }
        } else if entry >> 4 & !0xFFF & mask(Self::SHIFTS[level]) != 0 {
            Kind::Reserved
        } else {
            Kind::Leaf
        }
    }

    fn leaf_address(entry: u64, _level: usize, _index: usize) -> PhysAddr {
        PhysAddr::new(entry >> 4 & !0xFFF)
    }

    fn table_address(entry: u64, _level: usize) -> PhysAddr {
        PhysAddr::new(entry >> 4 & !0xFFF)
    }

    fn absent_state(entry: u64) -> u64 {
        entry >> 1
    }

    #[expect(clippy::cast_possible_truncation, reason = "fields of three and four bits")]
    fn attributes(leaf: u64, _level: usize) -> Attributes {
        let memory = match leaf >> 10 & 7 {
            0 => MemoryType::WriteBack,
            1 => MemoryType::WriteThrough,
            2 => MemoryType::WriteCombining,
            3 => MemoryType::Uncached,
            4 => MemoryType::Device,
            _ => MemoryType::DeviceStrict,
        };
        Attributes {
            permissions: Permissions::from_bits_truncate((leaf >> 1) as u8),
            memory,
            global: leaf & GLOBAL != 0,
            software: (leaf >> 13 & 7) as u16,
        }
    }

    fn touched(leaf: u64, _level: usize) -> Touched {
        Touched { accessed: leaf & ACCESSED != 0, dirty: leaf & DIRTY != 0 }
    }

    fn with_touched(leaf: u64, touched: Touched, _level: usize) -> u64 {
        leaf & !(ACCESSED | DIRTY) | u64::from(touched.accessed) << 5 | u64::from(touched.dirty) << 6
    }

    fn edit(attributes: Attributes, level: usize) -> Result<Edit<u64>, EntryError> {
        if level >= LEVELS {
            return Err(EntryError::Level { level });
        }
        let software = check_software(attributes.software.into(), Self::SOFTWARE_BITS)?;
        let set = u64::from(attributes.permissions.bits()) << 1
            | u64::from(attributes.global) << 9
            | (attributes.memory as u64) << 10
            | software << 13;
        Ok(Edit { clear: RIGHTS | GLOBAL | MEMORY | SOFTWARE, set })
    }

    fn is_stable(entry: u64, _level: usize) -> bool {
        entry & PRESENT == 0
            || entry & ACCESSED != 0 && (entry & LEAF == 0 || entry & DIRTY != 0 || entry & WRITE == 0)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        Attributes { software: attributes.software & 7, ..attributes }
    }
}
