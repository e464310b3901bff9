//! Four- and five-level paging of 64-bit x86 (Intel SDM vol. 3A, 5.5; AMD APM vol. 2, 5.3).
//!
//! ```text
//!  63  62 59 58 52 51                12 11 9  8   7   6   5   4   3   2   1   0
//!  NX  pkey  free  address             free  G  PAT  D   A  PCD PWT  US  RW  P    leaf of 4 KiB
//!  NX  pkey  free  address   0   12:PAT free  G   1   D   A  PCD PWT  US  RW  P    leaf of 2 MiB, 1 GiB
//!  NX     count    address             free  -   0   -   A  PCD PWT  US  RW  P    table
//! ```
//! Assumed of the machine: EFER.NXE is set (else bit 63 is reserved), the PAT is programmed as [`PAT`] says, CR4.PGE is set
//! if global pages are to outlive a load of CR3. Leaves of 1 GiB need CPUID.80000001H:EDX.26; 5 levels need LA57.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};

use super::geometry::{check, check_software, mask};
use super::{Edit, EntryError, Field, Format, Fresh, Half, Kind, MAX_LEVELS, SetBy, sealed};
use crate::{Attributes, MemoryType, Touched};

/// What IA32_PAT (MSR 277H) must hold: its value after reset, but for entry 6, which is write-combining instead of UC−
/// (SDM 3A, 13.12.4). Where that was not done, write-combining pages are uncached.
pub const PAT: u64 = 0x0001_0406_0007_0406;

/// x86-64 paging with 4 or 5 levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct X86_64<const LEVELS: usize>;

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
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Ignored in leaves: bits 11:9 and 58:52 (SDM 3A, tables 5-17 to 5-20).
const SOFTWARE: u64 = 7 << 9 | 0x7F << 52;

impl<const LEVELS: usize> sealed::Sealed for X86_64<LEVELS> {}

impl<const LEVELS: usize> Format for X86_64<LEVELS> {
    type Entry = u64;

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
        Ok(Self::with_touched(address | edit.set | large | PRESENT, touched, level))
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
        Ok(check(address, 12, Self::PHYSICAL_BITS)? | PRESENT | WRITE | USER | ACCESSED)
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
        let software = leaf >> 9 & 7 | leaf >> 52 << 3 & 0x3F8;
        #[expect(clippy::cast_possible_truncation, reason = "ten bits")]
        let software = software as u16;
        Attributes { permissions, memory, global: leaf & GLOBAL != 0, software }
    }

    #[inline(always)]
    fn touched(leaf: u64, _level: usize) -> Touched {
        Touched { accessed: leaf & ACCESSED != 0, dirty: leaf & DIRTY != 0 }
    }

    #[inline(always)]
    fn with_touched(leaf: u64, touched: Touched, _level: usize) -> u64 {
        leaf & !(ACCESSED | DIRTY) | u64::from(touched.accessed) << 5 | u64::from(touched.dirty) << 6
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
            (NO_EXECUTE, !asked.contains(Permissions::EXECUTE)),
            (GLOBAL, attributes.global),
        ] {
            set |= if wanted { bit } else { 0 };
        }
        let clear = WRITE | USER | PWT | PCD | pat_bit(level) | GLOBAL | SOFTWARE | NO_EXECUTE;
        Ok(Edit { clear, set })
    }

    #[inline(always)]
    fn is_stable(entry: u64, level: usize) -> bool {
        let leaf = level == 0 || entry & LARGE != 0;
        entry & PRESENT == 0 || entry & ACCESSED != 0 && (!leaf || entry & DIRTY != 0 || entry & WRITE == 0)
    }

    fn nearest(attributes: Attributes) -> Attributes {
        let memory = match attributes.memory {
            MemoryType::Device | MemoryType::DeviceStrict => MemoryType::Uncached,
            other => other,
        };
        Attributes {
            permissions: attributes.permissions | Permissions::READ,
            memory,
            software: attributes.software & 0x3FF,
            ..attributes
        }
    }
}

#[inline(always)]
const fn pat_bit(level: usize) -> u64 {
    if level == 0 { LARGE } else { LARGE_PAT }
}
