//! RISC-V: Sv32, Sv39, Sv48 and Sv57 (Privileged Architecture, "Supervisor-Level ISA": "Sv32" to "Sv57"; sections 10.3 to
//! 10.6 of the edition of 2024-04-11).
//!
//! ```text
//!  63  62 61 60   54 53              10 9  8  7  6  5  4  3  2  1  0
//!  N    PBMT  0      page number        RSW   D  A  G  U  X  W  R  V    leaf: some of R, W, X set
//!  0    0     0      page number        RSW   0  0  G  0  0  0  0  V    table
//!                    31 (Sv32)       10 9  8  7  6  5  4  3  2  1  0
//! ```
//! *Rights.* Writable pages are readable; execute-only pages exist. Supervisor code never executes pages of the user and
//! reads them only while `sstatus.SUM` is set.
//!
//! *Memory types.* Without Svpbmt the platform's physical memory attributes decide, always: only
//! [`MemoryType::WriteBack`] can be said and means "as the platform says". The device kinds are accepted and written
//! alike, because that is how registers are mapped there; the others are refused. With Svpbmt, write-combining is NC, the
//! uncached and device kinds are IO, and write-through becomes NC, which caches nothing.
//!
//! *Accessed and dirty.* Without Svadu the hardware faults instead of setting them (Svade). In table entries they are
//! reserved and zero.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::geometry::{check, check_software, mask};
use super::{Edit, EntryError, Format, Fresh, Half, Kind, MAX_LEVELS, Run, SetBy, sealed};
use crate::{Attributes, Entry, MemoryType, Touched};

/// Svpbmt: memory types in bits 62:61. Needs `menvcfg.PBMTE`.
pub const SVPBMT: u8 = 1;
/// Svnapot: runs of sixteen pages that share one translation.
pub const SVNAPOT: u8 = 2;
/// Svadu: the hardware sets accessed and dirty bits. Needs `menvcfg.ADUE`.
pub const SVADU: u8 = 4;
/// Svvptc: an entry that becomes valid is seen within bounded time, without a fence.
pub const SVVPTC: u8 = 8;

/// Sv32: two levels, entries of 32 bits, physical addresses of 34. Of the options only [`SVADU`] and [`SVVPTC`] exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sv32<const OPTIONS: u8 = 0>;

/// The 64-bit formats: [`Sv39`], [`Sv48`], [`Sv57`], with extensions [`SVPBMT`], [`SVNAPOT`], [`SVADU`], [`SVVPTC`] that
/// are or-ed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RiscV<const LEVELS: usize, const OPTIONS: u8 = 0>;

/// Three levels: 39-bit addresses.
pub type Sv39 = RiscV<3>;
/// Four levels: 48-bit addresses.
pub type Sv48 = RiscV<4>;
/// Five levels: 57-bit addresses.
pub type Sv57 = RiscV<5>;

const VALID: u64 = 1;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const RIGHTS: u64 = READ | WRITE | EXECUTE;
const USER: u64 = 1 << 4;
const GLOBAL: u64 = 1 << 5;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;
const SOFTWARE: u64 = 3 << 8;
const PBMT: u64 = 3 << 61;
const NC: u64 = 1 << 61;
const IO: u64 = 2 << 61;
const NAPOT: u64 = 1 << 63;
/// Page number bits 3:0 of a run of 64 KiB: 1000 ("Svnapot", table of encodings).
const NAPOT_64K: u64 = 8 << 10;
const NAPOT_LOW: u64 = 0xF << 10;

macro_rules! format {
    ($word:ident, { $($header:tt)* }, { $($consts:tt)* }) => {
        $($header)* {
            type Entry = $word;
            type Memo<T: Copy + core::fmt::Debug> = crate::format::Kept<T>;
            $($consts)*

            const GLOBAL: bool = true;
            const SOFTWARE_BITS: u8 = 2;
            const ACCESSED: SetBy = if OPTIONS & SVADU != 0 { SetBy::Hardware } else { SetBy::Fault };
            const DIRTY: SetBy = Self::ACCESSED;
            const FRESH: Fresh = if OPTIONS & SVVPTC != 0 { Fresh::Barrier } else { Fresh::Fence };
            const ABSENT_BITS: u8 = if $word::BITS == 64 { 63 } else { 31 };

            #[inline]
            fn leaf(
                address: PhysAddr,
                attributes: Attributes,
                touched: Touched,
                level: usize,
            ) -> Result<$word, EntryError> {
                let edit = Self::edit(attributes, level)?;
                let address = check(address, Self::SHIFTS[level], Self::PHYSICAL_BITS)?;
                Ok(Self::with_touched($word::truncate(address >> 2 | VALID) | edit.set, touched, level))
            }

            #[inline(always)]
            fn stride(level: usize) -> $word {
                1 << (Self::SHIFTS[level] - 2)
            }

            #[inline(always)]
            fn contiguous(leaf: $word, level: usize) -> $word {
                if Self::RUNS[level].is_some() { leaf | $word::truncate(NAPOT | NAPOT_64K) } else { leaf }
            }

            #[inline(always)]
            fn is_contiguous(leaf: $word, level: usize) -> bool {
                Self::RUNS[level].is_some() && leaf.widen() & NAPOT != 0
            }

            #[inline(always)]
            fn alone(leaf: $word, level: usize, index: usize) -> $word {
                if !Self::is_contiguous(leaf, level) {
                    return leaf;
                }
                $word::truncate(leaf.widen() & !(NAPOT | NAPOT_LOW) | if cfg!(hectare_plant = "format_napot_first") { 0 } else { index as u64 & 0xF } << 10)
            }

            #[inline]
            fn table(address: PhysAddr, level: usize) -> Result<$word, EntryError> {
                if level == 0 || level >= Self::LEVELS {
                    return Err(EntryError::Level { level });
                }
                Ok($word::truncate(check(address, 12, Self::PHYSICAL_BITS)? >> 2 | VALID))
            }

            #[inline]
            fn absent(state: u64) -> Result<$word, EntryError> {
                Ok($word::truncate(check_software(state, Self::ABSENT_BITS)? << 1))
            }

            #[inline(always)]
            fn kind(entry: $word, level: usize) -> Kind {
                kind::<OPTIONS>(entry.widen(), level, Self::SHIFTS[level], $word::BITS == 64)
            }

            #[inline(always)]
            fn leaf_address(entry: $word, level: usize, index: usize) -> PhysAddr {
                Self::table_address(Self::alone(entry, level, index), level)
            }

            #[inline(always)]
            fn table_address(entry: $word, _level: usize) -> PhysAddr {
                PhysAddr::new((entry.widen() & (mask(Self::PHYSICAL_BITS) >> 12 << 10)) << 2)
            }

            #[inline(always)]
            fn absent_state(entry: $word) -> u64 {
                entry.widen() >> 1
            }

            #[inline]
            fn attributes(leaf: $word, _level: usize) -> Attributes {
                attributes(leaf.widen())
            }

            #[inline(always)]
            fn touched(leaf: $word, _level: usize) -> Touched {
                let leaf = leaf.widen();
                Touched { accessed: leaf & ACCESSED != 0, dirty: leaf & DIRTY != 0 }
            }

            #[inline(always)]
            fn with_touched(leaf: $word, touched: Touched, _level: usize) -> $word {
                let bits = u64::from(touched.accessed) << 6 | u64::from(touched.dirty) << 7;
                $word::truncate(leaf.widen() & !(ACCESSED | DIRTY) | bits)
            }

            #[inline]
            fn edit(attributes: Attributes, level: usize) -> Result<Edit<$word>, EntryError> {
                if !Self::has_leaves(level) {
                    return Err(EntryError::Level { level });
                }
                let edit = edit::<OPTIONS>(attributes)?;
                Ok(Edit { clear: $word::truncate(edit.clear), set: $word::truncate(edit.set) })
            }

            #[inline(always)]
            fn is_stable(entry: $word, _level: usize) -> bool {
                let entry = entry.widen();
                OPTIONS & SVADU == 0
                    || entry & VALID == 0
                    || entry & RIGHTS == 0
                    || entry & ACCESSED != 0 && (entry & DIRTY != 0 || entry & WRITE == 0)
            }

            fn nearest(attributes: Attributes) -> Attributes {
                nearest::<OPTIONS>(attributes)
            }
        }
    };
}

impl<const OPTIONS: u8> sealed::Sealed for Sv32<OPTIONS> {}
impl<const LEVELS: usize, const OPTIONS: u8> sealed::Sealed for RiscV<LEVELS, OPTIONS> {}

format!(u32, { impl<const OPTIONS: u8> Format for Sv32<OPTIONS> }, {
    const NAME: &'static str = "Sv32";
    const LEVELS: usize = {
        assert!(OPTIONS & (SVPBMT | SVNAPOT) == 0, "32-bit entries have no room for Svpbmt and Svnapot");
        2
    };
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = [10, 10, 0, 0, 0];
    const LEAF_LEVELS: u8 = 0b11;
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = 34;
});

format!(u64, { impl<const LEVELS: usize, const OPTIONS: u8> Format for RiscV<LEVELS, OPTIONS> }, {
    const NAME: &'static str = match LEVELS {
        3 => "Sv39",
        4 => "Sv48",
        _ => "Sv57",
    };
    const LEVELS: usize = {
        assert!(LEVELS >= 3 && LEVELS <= 5, "Sv39, Sv48 and Sv57 have 3, 4 and 5 levels");
        LEVELS
    };
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = match LEVELS {
        3 => [9, 9, 9, 0, 0],
        4 => [9, 9, 9, 9, 0],
        _ => [9; MAX_LEVELS],
    };
    const LEAF_LEVELS: u8 = (1 << LEVELS) - 1;
    const RUNS: [Option<Run>; MAX_LEVELS] = {
        let run = if OPTIONS & SVNAPOT != 0 { Some(Run { log2: 4, repeats: true }) } else { None };
        [run, None, None, None, None]
    };
    const HALF: Half = Half::Both;
    const PHYSICAL_BITS: u8 = 56;
});

/// Steps 3 to 5 of "Virtual Address Translation Process" (10.3.2), as far as the entry alone decides.
#[inline(always)]
fn kind<const OPTIONS: u8>(entry: u64, level: usize, shift: u8, wide: bool) -> Kind {
    if entry & VALID == 0 {
        return Kind::Absent;
    }
    if entry & RIGHTS == 0 {
        let reserved = USER | ACCESSED | DIRTY | if wide { !mask(54) } else { 0 };
        return if level == 0 || entry & reserved != 0 { Kind::Reserved } else { Kind::Table };
    }
    let mut reserved = if wide { !mask(54) } else { 0 };
    if OPTIONS & SVPBMT != 0 {
        reserved &= !PBMT;
    }
    // A leaf above level 0 must be aligned to what it covers.
    reserved |= mask(shift - 12) << 10;
    let mut bad = entry & RIGHTS & (READ | WRITE) == WRITE || entry & PBMT == PBMT;
    if OPTIONS & SVNAPOT != 0 && level == 0 {
        reserved &= !NAPOT;
        bad |= entry & NAPOT != 0 && entry & NAPOT_LOW != NAPOT_64K;
    }
    if bad || entry & reserved != 0 { Kind::Reserved } else { Kind::Leaf }
}

#[inline(always)]
fn edit<const OPTIONS: u8>(attributes: Attributes) -> Result<Edit<u64>, EntryError> {
    let asked = attributes.permissions;
    let granted = granted(asked);
    if asked != granted {
        return Err(EntryError::Permissions { asked, granted });
    }
    let software = check_software(attributes.software.into(), 2)?;
    let memory = match attributes.memory {
        MemoryType::WriteBack => 0,
        MemoryType::WriteThrough | MemoryType::WriteCombining if OPTIONS & SVPBMT != 0 => NC,
        MemoryType::Uncached if OPTIONS & SVPBMT != 0 => IO,
        MemoryType::Device | MemoryType::DeviceStrict => IO & if OPTIONS & SVPBMT != 0 { PBMT } else { 0 },
        other => return Err(EntryError::Memory(other)),
    };
    // R, W, X and U stand in the order of the portable rights.
    let set = u64::from(asked.bits()) << 1 | u64::from(attributes.global) << 5 | software << 8 | memory;
    let pbmt = if OPTIONS & SVPBMT != 0 { PBMT } else { 0 };
    Ok(Edit { clear: RIGHTS | USER | GLOBAL | SOFTWARE | pbmt, set })
}

const _: () = {
    let all = Permissions::all().bits() as u64;
    assert!(all << 1 == RIGHTS | USER, "the four rights, and in the same order:");
    assert!(
        (Permissions::READ.bits() as u64) << 1 == READ && (Permissions::WRITE.bits() as u64) << 1 == WRITE
    );
    assert!(
        (Permissions::EXECUTE.bits() as u64) << 1 == EXECUTE
            && (Permissions::USER.bits() as u64) << 1 == USER
    );
};

#[inline(always)]
fn attributes(leaf: u64) -> Attributes {
    let memory = match leaf & PBMT {
        NC => MemoryType::WriteCombining,
        IO => MemoryType::Device,
        _ => MemoryType::WriteBack,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the four rights, two software bits")]
    let (rights, software) = ((leaf >> 1) as u8, (leaf >> 8 & 3) as u16);
    Attributes {
        permissions: Permissions::from_bits_truncate(rights),
        memory,
        global: leaf & GLOBAL != 0,
        software,
    }
}

/// Without any right the entry would link a table; writable without readable is reserved (table 10.5, "Encoding of PTE
/// R/W/X fields").
#[inline(always)]
fn granted(asked: Permissions) -> Permissions {
    let readable =
        asked.contains(Permissions::WRITE) || !asked.intersects(Permissions::READ | Permissions::EXECUTE);
    if readable { asked | Permissions::READ } else { asked }
}

fn nearest<const OPTIONS: u8>(attributes: Attributes) -> Attributes {
    let memory = match attributes.memory {
        _ if OPTIONS & SVPBMT == 0 => MemoryType::WriteBack,
        MemoryType::WriteBack => MemoryType::WriteBack,
        MemoryType::WriteThrough | MemoryType::WriteCombining => MemoryType::WriteCombining,
        MemoryType::Uncached | MemoryType::Device | MemoryType::DeviceStrict => MemoryType::Device,
    };
    Attributes {
        permissions: granted(attributes.permissions),
        memory,
        software: attributes.software & 3,
        ..attributes
    }
}
