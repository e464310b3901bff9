//! Stage 2: from intermediate physical to physical addresses (D8.4.2 permissions, D8.6 stage 2 memory types without
//! FEAT_S2FWB).
//!
//! The root may be up to sixteen tables in a row instead of one more level: `table_bytes(LEVELS − 1)` then exceeds a
//! page, and the root is aligned to its size.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::{CONTIGUOUS, DBM, INNER_SHAREABLE, LPA2, PAGE_OR_TABLE, READ_ONLY_OR_S2_WRITE, SOFTWARE, VALID};
use crate::format::geometry::{check, check_software, size};
use crate::format::{Edit, EntryError, Field, Format, Fresh, Half, Kind, MAX_LEVELS, Run, SetBy, sealed};
use crate::{Attributes, MemoryType, Touched};

/// Stage 2 tables with pages of 2^`GRANULE` bytes (12, 14 or 16) that translate `BITS` bits (64 − T0SZ). The options of
/// the [module](super) are or-ed together; [`UPPER`](super::UPPER) has no meaning here.
///
/// The guest's user and kernel are not told apart: every right has [`Permissions::USER`]. Execution needs reading. The
/// memory types are combined with those of stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stage2<const GRANULE: u8, const BITS: u8 = 48, const OPTIONS: u8 = 0>;

const MEMORY: u64 = 0xF << 2;
const READ: u64 = 1 << 6;
const WRITE: u64 = READ_ONLY_OR_S2_WRITE;
/// XN[1:0], bits 54:53: 10 denies execution to both levels, with and without FEAT_XNX.
const NO_EXECUTE: u64 = 2 << 53;
const EXECUTE_FIELD: u64 = 3 << 53;
/// Bit 7 of a clean page: not writable.
const CLEAN: u64 = 0;
/// What this format always grants.
const ALWAYS: Permissions = Permissions::READ.union(Permissions::USER);

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> Stage2<GRANULE, BITS, OPTIONS> {
    const WIDE: bool = OPTIONS & LPA2 != 0;
    const ADDRESS: u64 = super::address_field(GRANULE, Self::WIDE);
    const SHAREABLE: u64 = if Self::WIDE && GRANULE != 16 { 0 } else { INNER_SHAREABLE };
}

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> sealed::Sealed for Stage2<GRANULE, BITS, OPTIONS> {}

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> Format for Stage2<GRANULE, BITS, OPTIONS> {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = crate::format::Kept<T>;

    const NAME: &'static str = match GRANULE {
        12 => "AArch64 stage 2, 4 KiB",
        14 => "AArch64 stage 2, 16 KiB",
        _ => "AArch64 stage 2, 64 KiB",
    };
    const LEVELS: usize = super::levels(GRANULE, BITS, Self::WIDE, true);
    const PAGE: PageSize = size(GRANULE);
    const INDEX_BITS: [u8; MAX_LEVELS] = super::index_bits(GRANULE, BITS, Self::LEVELS);
    const LEAF_LEVELS: u8 = super::leaf_levels(GRANULE, Self::WIDE, Self::LEVELS);
    const RUNS: [Option<Run>; MAX_LEVELS] = super::runs(GRANULE, Self::INDEX_BITS);
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = if Self::WIDE { 52 } else { 48 };
    const LINEAR_BITS: u8 = super::linear_bits(GRANULE, Self::WIDE);
    const SOFTWARE_BITS: u8 = 3;
    const ABSENT_BITS: u8 = 63;
    const COUNT: Option<Field> =
        if GRANULE == 12 && !Self::WIDE { Some(Field { shift: 2, bits: 10 }) } else { None };
    const GLOBAL: bool = false;
    const ACCESSED: SetBy = super::accessed(OPTIONS);
    const DIRTY: SetBy = super::dirty(OPTIONS);
    const FRESH: Fresh = Fresh::Barrier;
    const BREAK_BEFORE_MAKE: bool = true;

    #[inline]
    fn leaf(
        address: PhysAddr,
        attributes: Attributes,
        touched: Touched,
        level: usize,
    ) -> Result<u64, EntryError> {
        let edit = Self::edit(attributes, level)?;
        let address = check(address, Self::SHIFTS[level], Self::PHYSICAL_BITS)?;
        let entry =
            super::pack(address, GRANULE, Self::WIDE) | edit.set | Self::SHAREABLE | super::leaf_type(level);
        Ok(super::with_touched(entry, touched, CLEAN))
    }

    #[inline(always)]
    fn stride(level: usize) -> u64 {
        1 << Self::SHIFTS[level]
    }

    #[inline(always)]
    fn contiguous(leaf: u64, level: usize) -> u64 {
        if Self::RUNS[level].is_some() { leaf | CONTIGUOUS } else { leaf }
    }

    #[inline(always)]
    fn is_contiguous(leaf: u64, _level: usize) -> bool {
        leaf & CONTIGUOUS != 0
    }

    #[inline(always)]
    fn alone(leaf: u64, _level: usize, _index: usize) -> u64 {
        leaf & !CONTIGUOUS
    }

    #[inline]
    fn table(address: PhysAddr, level: usize) -> Result<u64, EntryError> {
        if let Some(error) = super::table_error(level, Self::LEVELS) {
            return Err(error);
        }
        let address = check(address, GRANULE, Self::PHYSICAL_BITS)?;
        Ok(super::pack(address, GRANULE, Self::WIDE) | PAGE_OR_TABLE | VALID)
    }

    #[inline]
    fn absent(state: u64) -> Result<u64, EntryError> {
        Ok(check_software(state, Self::ABSENT_BITS)? << 1)
    }

    #[inline(always)]
    fn kind(entry: u64, level: usize) -> Kind {
        super::kind(entry, level, Self::LEAF_LEVELS)
    }

    #[inline(always)]
    fn leaf_address(entry: u64, level: usize, _index: usize) -> PhysAddr {
        super::unpack(entry, GRANULE, Self::WIDE, Self::SHIFTS[level])
    }

    #[inline(always)]
    fn table_address(entry: u64, _level: usize) -> PhysAddr {
        super::unpack(entry, GRANULE, Self::WIDE, GRANULE)
    }

    #[inline(always)]
    fn absent_state(entry: u64) -> u64 {
        entry >> 1
    }

    #[inline]
    fn attributes(leaf: u64, _level: usize) -> Attributes {
        let memory = match leaf >> 2 & 0xF {
            0b0000 => MemoryType::DeviceStrict,
            0b0001..=0b0011 => MemoryType::Device,
            0b0101 => MemoryType::WriteCombining,
            0b1010 => MemoryType::WriteThrough,
            _ => MemoryType::WriteBack,
        };
        let mut permissions = Permissions::USER;
        permissions.set(Permissions::READ, leaf & READ != 0);
        permissions.set(Permissions::WRITE, leaf & (WRITE | DBM) != 0);
        permissions.set(Permissions::EXECUTE, leaf & EXECUTE_FIELD == 0);
        let software = (leaf >> 56 & 7) as u16;
        Attributes { permissions, memory, global: false, software }
    }

    #[inline(always)]
    fn touched(leaf: u64, _level: usize) -> Touched {
        super::touched(leaf, CLEAN)
    }

    #[inline(always)]
    fn with_touched(leaf: u64, touched: Touched, _level: usize) -> u64 {
        super::with_touched(leaf, touched, CLEAN)
    }

    #[inline]
    fn edit(attributes: Attributes, level: usize) -> Result<Edit<u64>, EntryError> {
        if !Self::has_leaves(level) {
            return Err(EntryError::Level { level });
        }
        let asked = attributes.permissions;
        if !asked.contains(ALWAYS) {
            return Err(EntryError::Permissions { asked, granted: asked | ALWAYS });
        }
        if attributes.global {
            return Err(EntryError::Global);
        }
        let software = check_software(attributes.software.into(), Self::SOFTWARE_BITS)?;
        let memory = match attributes.memory {
            MemoryType::WriteBack => 0b1111,
            MemoryType::WriteThrough => 0b1010,
            MemoryType::WriteCombining => 0b0101,
            MemoryType::Uncached | MemoryType::Device => 0b0001,
            MemoryType::DeviceStrict => 0b0000,
        };
        let mut set = memory << 2 | software << 56 | READ;
        for (bit, wanted) in
            [(DBM, asked.contains(Permissions::WRITE)), (NO_EXECUTE, !asked.contains(Permissions::EXECUTE))]
        {
            set |= if wanted { bit } else { 0 };
        }
        Ok(Edit { clear: MEMORY | READ | DBM | EXECUTE_FIELD | SOFTWARE, set })
    }

    #[inline(always)]
    fn apply(leaf: u64, edit: Edit<u64>) -> u64 {
        super::with_dirty(leaf & !edit.clear | edit.set, super::is_dirty(leaf, CLEAN), CLEAN)
    }

    #[inline(always)]
    fn is_stable(entry: u64, level: usize) -> bool {
        super::is_stable(entry, level, OPTIONS, CLEAN)
    }

    #[inline]
    fn must_break(old: u64, new: u64, level: usize) -> bool {
        super::must_break(old, new, level, OPTIONS, Self::ADDRESS, MEMORY | INNER_SHAREABLE)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        Attributes {
            permissions: attributes.permissions | ALWAYS,
            memory: super::nearest_memory(attributes.memory),
            global: false,
            software: attributes.software & 7,
        }
    }
}
