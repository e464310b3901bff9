//! Stage 1 of the EL1&0 regime, and of EL2&0 with FEAT_VHE.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::{
    ACCESS_FLAG, CONTIGUOUS, DBM, INNER_SHAREABLE, LPA2, PAGE_OR_TABLE, SOFTWARE, SOFTWARE_DIRTY, UPPER,
    VALID,
};
use crate::format::geometry::{check, check_software, size};
use crate::format::{Edit, EntryError, Field, Format, Fresh, Half, Kind, MAX_LEVELS, Run, SetBy, sealed};
use crate::{Attributes, MemoryType, Touched};

/// Stage 1 tables with pages of 2^`GRANULE` bytes (12, 14 or 16) that translate `BITS` bits of address (64 − TxSZ). The
/// options of the [module](super) are or-ed together.
///
/// MAIR_EL1 must hold [`MAIR`](super::MAIR). 52-bit addresses with a granule of 4 KiB make five levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AArch64<const GRANULE: u8, const BITS: u8 = 48, const OPTIONS: u8 = 0>;

const MEMORY: u64 = 7 << 2;
const USER: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const NOT_GLOBAL: u64 = 1 << 11;
const PRIVILEGED_NO_EXECUTE: u64 = 1 << 53;
const USER_NO_EXECUTE: u64 = 1 << 54;
/// Bit 7 of a clean page: read-only.
const CLEAN: u64 = 1;

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> AArch64<GRANULE, BITS, OPTIONS> {
    const WIDE: bool = OPTIONS & LPA2 != 0;
    const ADDRESS: u64 = super::address_field(GRANULE, Self::WIDE);
    /// With LPA2 the shareability field is a part of the address.
    const SHAREABLE: u64 = if Self::WIDE && GRANULE != 16 { 0 } else { INNER_SHAREABLE };
}

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> sealed::Sealed
    for AArch64<GRANULE, BITS, OPTIONS>
{
}

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> Format for AArch64<GRANULE, BITS, OPTIONS> {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = crate::format::Kept<T>;

    const NAME: &'static str = match GRANULE {
        12 => "AArch64, 4 KiB",
        14 => "AArch64, 16 KiB",
        _ => "AArch64, 64 KiB",
    };
    const LEVELS: usize = super::levels(GRANULE, BITS, Self::WIDE, false);
    const PAGE: PageSize = size(GRANULE);
    const INDEX_BITS: [u8; MAX_LEVELS] = super::index_bits(GRANULE, BITS, Self::LEVELS);
    const LEAF_LEVELS: u8 = super::leaf_levels(GRANULE, Self::WIDE, Self::LEVELS);
    const RUNS: [Option<Run>; MAX_LEVELS] = super::runs(GRANULE, Self::INDEX_BITS);
    const HALF: Half = if OPTIONS & UPPER != 0 { Half::Upper } else { Half::Lower };
    const PHYSICAL_BITS: u8 = if Self::WIDE { 52 } else { 48 };
    const LINEAR_BITS: u8 = super::linear_bits(GRANULE, Self::WIDE);
    const SOFTWARE_BITS: u8 = 3;
    const ABSENT_BITS: u8 = 63;
    /// Bits 11:2 of a table descriptor are ignored (D8.3.1), without LPA2 and FEAT_HAFT; they suffice for 512 entries.
    const COUNT: Option<Field> =
        if GRANULE == 12 && !Self::WIDE { Some(Field { shift: 2, bits: 10 }) } else { None };
    const GLOBAL: bool = true;
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
        let memory = match leaf >> 2 & 7 {
            0 => MemoryType::WriteBack,
            1 => MemoryType::WriteThrough,
            2 => MemoryType::WriteCombining,
            3 => MemoryType::Device,
            _ => MemoryType::DeviceStrict,
        };
        // A page that only the user may execute, of which this crate makes none, grants the user nothing else.
        let (user, user_executes) = (leaf & USER != 0, leaf & USER_NO_EXECUTE == 0);
        let writable = leaf & DBM != 0 || leaf & READ_ONLY == 0;
        let mut permissions = Permissions::empty();
        permissions.set(Permissions::READ, user || !user_executes);
        permissions.set(Permissions::WRITE, writable && (user || !user_executes));
        permissions.set(Permissions::USER, user || user_executes);
        permissions.set(Permissions::EXECUTE, user_executes || !user && leaf & PRIVILEGED_NO_EXECUTE == 0);
        let software = (leaf >> 56 & 7) as u16;
        Attributes { permissions, memory, global: leaf & NOT_GLOBAL == 0, software }
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
        if !asked.contains(Permissions::READ) {
            return Err(EntryError::Permissions { asked, granted: asked | Permissions::READ });
        }
        let software = check_software(attributes.software.into(), Self::SOFTWARE_BITS)?;
        let memory = match attributes.memory {
            MemoryType::WriteBack => 0,
            MemoryType::WriteThrough => 1,
            MemoryType::WriteCombining => 2,
            MemoryType::Uncached | MemoryType::Device => 3,
            MemoryType::DeviceStrict => 4,
        };
        let (user, execute) = (asked.contains(Permissions::USER), asked.contains(Permissions::EXECUTE));
        let mut set = memory << 2 | software << 56;
        for (bit, wanted) in [
            (USER, user),
            (DBM, asked.contains(Permissions::WRITE)),
            (NOT_GLOBAL, !attributes.global),
            (PRIVILEGED_NO_EXECUTE, user || !execute),
            (USER_NO_EXECUTE, !user || !execute),
        ] {
            set |= if wanted { bit } else { 0 };
        }
        let clear = MEMORY | USER | DBM | NOT_GLOBAL | PRIVILEGED_NO_EXECUTE | USER_NO_EXECUTE | SOFTWARE;
        Ok(Edit { clear, set })
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
        super::must_break(old, new, level, OPTIONS, Self::ADDRESS, MEMORY | INNER_SHAREABLE | NOT_GLOBAL)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        Attributes {
            permissions: attributes.permissions | Permissions::READ,
            memory: super::nearest_memory(attributes.memory),
            software: attributes.software & 7,
            ..attributes
        }
    }
}

const _: () = assert!(SOFTWARE & SOFTWARE_DIRTY == 0 && ACCESS_FLAG & NOT_GLOBAL == 0);
