//! Intel's extended page tables: from guest-physical to physical addresses (SDM 3C, "The Extended Page Table Mechanism
//! (EPT)", 28.3, 29.3 since 2022; tables of the entry formats there).
//!
//! ```text
//!  63  62 57 56 52 51                12  11  10  9   8   7   6   5  3  2  1  0
//!  sve   –   free  address             free  XU  D   A   –  IPAT type  X  W  R    leaf of 4 KiB
//!  sve   –   free  address   0         free  XU  D   A   1  IPAT type  X  W  R    leaf of 2 MiB, 1 GiB
//!  –    count      address              –    XU  –   A   0   0    0    X  W  R    table
//! ```
//! *Rights.* An entry is present if it grants anything. Guest user and guest kernel are not told apart (XU is written
//! like X, for machines with mode-based execution): every right has [`Permissions::USER`]. Writable pages are readable;
//! execute-only pages need [`EXECUTE_ONLY`].
//!
//! *Memory types.* They are combined with the guest's PAT (IPAT is 0). The device kinds are uncached.
//!
//! *Accessed and dirty* bits are the hardware's with [`ACCESSED_DIRTY`]; otherwise it ignores them.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::geometry::{check, check_software, mask};
use super::{Edit, EntryError, Field, Format, Fresh, Half, Kind, MAX_LEVELS, SetBy, sealed};
use crate::{Attributes, MemoryType, Touched};

/// Execute-only pages exist: bit 0 of IA32_VMX_EPT_VPID_CAP (MSR 48CH).
pub const EXECUTE_ONLY: u8 = 1;
/// The hardware sets accessed and dirty bits: bit 6 of the EPT pointer is set (bit 21 of IA32_VMX_EPT_VPID_CAP permits
/// it).
pub const ACCESSED_DIRTY: u8 = 2;

/// Extended page tables with 4 or 5 levels; [`EXECUTE_ONLY`] and [`ACCESSED_DIRTY`] are or-ed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ept<const LEVELS: usize = 4, const OPTIONS: u8 = 0>;

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const RIGHTS: u64 = READ | WRITE | EXECUTE;
const TYPE: u64 = 7 << 3;
const LARGE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;
const USER_EXECUTE: u64 = 1 << 10;
/// Ignored in leaves: bits 11 and 56:52.
const SOFTWARE: u64 = 1 << 11 | 0x1F << 52;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Software state of an absent entry begins above the bits that can make one present (10 with mode-based execution) and
/// ends below the one that suppresses #VE.
const STATE: u8 = 11;

impl<const LEVELS: usize, const OPTIONS: u8> sealed::Sealed for Ept<LEVELS, OPTIONS> {}

impl<const LEVELS: usize, const OPTIONS: u8> Format for Ept<LEVELS, OPTIONS> {
    type Entry = u64;
    type Memo<T: Copy + core::fmt::Debug> = super::Nothing<T>;

    const NAME: &'static str = if LEVELS == 5 { "EPT, 5 levels" } else { "EPT" };
    const LEVELS: usize = {
        assert!(LEVELS == 4 || LEVELS == 5, "EPT has 4 or 5 levels");
        LEVELS
    };
    const PAGE: PageSize = PageSize::SIZE_4K;
    const INDEX_BITS: [u8; MAX_LEVELS] = if LEVELS == 5 { [9; MAX_LEVELS] } else { [9, 9, 9, 9, 0] };
    const LEAF_LEVELS: u8 = 0b111;
    const HALF: Half = Half::Lower;
    const PHYSICAL_BITS: u8 = 52;
    const SOFTWARE_BITS: u8 = 6;
    const ABSENT_BITS: u8 = 52;
    const COUNT: Option<Field> = Some(Field { shift: 52, bits: 11 });
    const GLOBAL: bool = false;
    const ACCESSED: SetBy = if OPTIONS & ACCESSED_DIRTY != 0 { SetBy::Hardware } else { SetBy::Nobody };
    const DIRTY: SetBy = Self::ACCESSED;
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
        Ok(Self::with_touched(address | edit.set | large, touched, level))
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
        Ok(check(address, 12, Self::PHYSICAL_BITS)? | RIGHTS | USER_EXECUTE | ACCESSED)
    }

    #[inline]
    fn absent(state: u64) -> Result<u64, EntryError> {
        Ok(check_software(state, Self::ABSENT_BITS)? << STATE)
    }

    #[inline(always)]
    fn kind(entry: u64, level: usize) -> Kind {
        let rights = entry & RIGHTS;
        // "EPT Misconfigurations", 28.3.3.1: write-only, execute-only where there is no such thing, reserved bits and
        // memory types.
        let refused = rights & (READ | WRITE) == WRITE || rights == EXECUTE && OPTIONS & EXECUTE_ONLY == 0;
        if rights == 0 {
            Kind::Absent
        } else if level > 0 && entry & LARGE == 0 {
            if refused || entry & (TYPE | 1 << 6) != 0 { Kind::Reserved } else { Kind::Table }
        } else if refused
            || matches!(entry >> 3 & 7, 2 | 3 | 7)
            || level > 2
            || entry & ADDRESS & mask(Self::SHIFTS[level]) != 0
        {
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
        entry >> STATE & mask(Self::ABSENT_BITS)
    }

    #[inline]
    fn attributes(leaf: u64, _level: usize) -> Attributes {
        let memory = match leaf >> 3 & 7 {
            0 => MemoryType::Uncached,
            1 => MemoryType::WriteCombining,
            4 | 5 => MemoryType::WriteThrough,
            _ => MemoryType::WriteBack,
        };
        #[expect(clippy::cast_possible_truncation, reason = "three rights, six software bits")]
        let (rights, software) = ((leaf & RIGHTS) as u8, (leaf >> 11 & 1 | leaf >> 52 << 1 & 0x3E) as u16);
        let permissions = Permissions::from_bits_truncate(rights) | Permissions::USER;
        Attributes { permissions, memory, global: false, software }
    }

    #[inline(always)]
    fn touched(leaf: u64, _level: usize) -> Touched {
        Touched { accessed: leaf & ACCESSED != 0, dirty: leaf & DIRTY != 0 }
    }

    #[inline(always)]
    fn with_touched(leaf: u64, touched: Touched, _level: usize) -> u64 {
        leaf & !(ACCESSED | DIRTY) | u64::from(touched.accessed) << 8 | u64::from(touched.dirty) << 9
    }

    #[inline]
    fn edit(attributes: Attributes, level: usize) -> Result<Edit<u64>, EntryError> {
        if !Self::has_leaves(level) {
            return Err(EntryError::Level { level });
        }
        let asked = attributes.permissions;
        let granted = granted(asked, OPTIONS);
        if asked != granted {
            return Err(EntryError::Permissions { asked, granted });
        }
        if attributes.global {
            return Err(EntryError::Global);
        }
        let software = check_software(attributes.software.into(), Self::SOFTWARE_BITS)?;
        let memory = match attributes.memory {
            MemoryType::Uncached | MemoryType::Device | MemoryType::DeviceStrict => 0,
            MemoryType::WriteCombining => 1,
            MemoryType::WriteThrough => 4,
            MemoryType::WriteBack => 6,
        };
        let rights = u64::from(asked.bits()) & RIGHTS;
        let user = (rights & EXECUTE) << 8;
        let set = rights | user | memory << 3 | (software & 1) << 11 | software >> 1 << 52;
        Ok(Edit { clear: RIGHTS | USER_EXECUTE | TYPE | SOFTWARE, set })
    }

    #[inline(always)]
    fn is_stable(entry: u64, level: usize) -> bool {
        let leaf = level == 0 || entry & LARGE != 0;
        OPTIONS & ACCESSED_DIRTY == 0
            || entry & RIGHTS == 0
            || entry & ACCESSED != 0 && (!leaf || entry & DIRTY != 0 || entry & WRITE == 0)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        let memory = match attributes.memory {
            MemoryType::Device | MemoryType::DeviceStrict => MemoryType::Uncached,
            other => other,
        };
        Attributes {
            permissions: granted(attributes.permissions, OPTIONS),
            memory,
            global: false,
            software: attributes.software & 0x3F,
        }
    }
}

const _: () = {
    assert!(Permissions::READ.bits() as u64 == READ && Permissions::WRITE.bits() as u64 == WRITE);
    assert!(Permissions::EXECUTE.bits() as u64 == EXECUTE, "the rights stand in the portable order");
};

#[inline(always)]
fn granted(asked: Permissions, options: u8) -> Permissions {
    let execute_only = options & EXECUTE_ONLY != 0 && asked.contains(Permissions::EXECUTE);
    let readable = asked.contains(Permissions::WRITE) || !execute_only;
    asked | Permissions::USER | if readable { Permissions::READ } else { Permissions::empty() }
}
