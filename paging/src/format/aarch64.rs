//! AArch64: the VMSAv8-64 formats with granules of 4, 16 and 64 KiB (Arm ARM DDI 0487, part D8, "The AArch64 Virtual
//! Memory System Architecture": D8.2 translation process, D8.3 descriptor formats, D8.4 permissions, D8.5 hardware update
//! of the access flag and dirty state, D8.6 memory attributes).
//!
//! Arm counts levels from the root down to 3; here level 0 is Arm's level 3, level 1 its level 2, and so on.
//!
//! ```text
//!   granule  index bits   leaves of level 0   1        2                   runs (contiguous bit)
//!   4 KiB        9             4 KiB      2 MiB    1 GiB  (512 GiB: LPA2)  16, 16, 16 entries
//!   16 KiB      11            16 KiB     32 MiB   (64 GiB: LPA2)           128, 32 entries
//!   64 KiB      13            64 KiB    512 MiB   (4 TiB: LPA)             32, 32 entries
//! ```
//! The root has the index bits that remain, so it may be short (16 KiB granule, 48 bits: two entries).
//!
//! # Bits
//! ```text
//!  63   59 58 56 55 54  53  52   51  50 49               12  11  10 9  8  7  6 5  4 2  1  0
//!    0     free  SD UXN PXN cont DBM  0  address             nG  AF  SH   AP   NS attr  1  1   page (0 1: block)
//!                    XN  0                                    –  AF  SH  S2AP  memattr  1  1   stage 2
//!  hierarchical  count…     0         0  address             ignored                    1  1   table
//! ```
//! With [`LPA2`] (4 and 16 KiB: TCR_ELx.DS is set) bits 9:8 are address bits 51:50 and shareability comes from TCR_ELx;
//! with a granule of 64 KiB (FEAT_LPA) bits 15:12 are address bits 51:48.
//!
//! *Rights.* On pages of the user the kernel never executes (PXN is set); pages that the kernel cannot read do not exist
//! at stage 1. *Dirty state.* A page that may be written has DBM set; its AP field says read-only until it is dirty
//! (D8.5.2). Where the hardware does not manage dirty state, the first write faults and the handler sets the dirty bit,
//! as with the access flag. Bit 55 (SD) keeps the dirty state of pages that lose their write right.
#![forbid(unsafe_code)]

use hectare_core::PhysAddr;

use super::{EntryError, Kind, MAX_LEVELS, Run, SetBy};
use crate::{MemoryType, Touched};

mod stage1;
mod stage2;

pub use stage1::AArch64;
pub use stage2::Stage2;

/// The table is for TTBR1: addresses have ones above those that the tables translate. Stage 1 only.
pub const UPPER: u8 = 1;
/// 52-bit addresses: FEAT_LPA2 with TCR_ELx.DS set for granules of 4 and 16 KiB, FEAT_LPA for 64 KiB.
pub const LPA2: u8 = 2;
/// The hardware sets access flags: FEAT_HAFDBS and TCR_ELx.HA (VTCR_EL2.HA).
pub const HARDWARE_ACCESSED: u8 = 4;
/// The hardware manages dirty state too: TCR_ELx.HD (VTCR_EL2.HD). Includes [`HARDWARE_ACCESSED`].
pub const HARDWARE_DIRTY: u8 = 8 | HARDWARE_ACCESSED;
/// FEAT_BBM level 2, on a processor that raises no TLB conflict aborts: the size of a leaf and the contiguous bit may
/// change without break-before-make.
pub const BBM2: u8 = 16;

/// What MAIR_ELx must hold for stage 1 (D8.6, "Stage 1 memory region attributes"): index 0 write-back, 1 write-through,
/// 2 Normal Non-cacheable, 3 Device-nGnRE, 4 Device-nGnRnE.
pub const MAIR: u64 = 0x0000_0000_0444_BBFF;

const VALID: u64 = 1;
const PAGE_OR_TABLE: u64 = 2;
const READ_ONLY_OR_S2_WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
/// Of the bits for software, 58:55, the lowest keeps dirty state.
const SOFTWARE_DIRTY: u64 = 1 << 55;
const SOFTWARE: u64 = 7 << 56;

/// Levels for `bits` of address above pages of 2^`granule` bytes. `concatenate` lets the root grow to sixteen tables
/// (stage 2, D8.2.2 "concatenated translation tables") instead of adding a level of at most sixteen entries.
const fn levels(granule: u8, bits: u8, wide: bool, concatenate: bool) -> usize {
    assert!(granule == 12 || granule == 14 || granule == 16, "granules of 4, 16 and 64 KiB");
    assert!(bits >= 25 && (bits <= 48 || bits <= 52 && wide), "25 to 48 bits are translated, 52 with LPA2");
    let (index, width) = (granule - 3, bits - granule);
    let (full, rest) = (width / index, width % index);
    let needed = if rest == 0 || concatenate && rest <= 4 { full } else { full + 1 };
    assert!(needed >= 2, "at least two levels");
    needed as usize
}

const fn index_bits(granule: u8, bits: u8, levels: usize) -> [u8; MAX_LEVELS] {
    let mut index = [0; MAX_LEVELS];
    let mut level = 0;
    while level + 1 < levels {
        index[level] = granule - 3;
        level += 1;
    }
    index[level] = bits - granule;
    while level > 0 {
        level -= 1;
        index[levels - 1] -= index[level];
    }
    index
}

/// Levels that may hold leaves (D8.3.1, "block descriptor formats").
const fn leaf_levels(granule: u8, wide: bool, levels: usize) -> u8 {
    let most = match granule {
        12 => 3,
        _ => 2,
    } + if wide { 1 } else { 0 };
    let all = (1 << levels) - 1;
    all & ((1 << most) - 1)
}

/// Contiguous runs (D8.6.1, "Contiguous bit"), where the table is large enough for one.
const fn runs(granule: u8, index: [u8; MAX_LEVELS]) -> [Option<Run>; MAX_LEVELS] {
    let log2: [u8; 3] = match granule {
        12 => [4, 4, 4],
        14 => [7, 5, 0],
        _ => [5, 5, 0],
    };
    let mut runs = [None; MAX_LEVELS];
    let mut level = 0;
    while level < 3 {
        if log2[level] != 0 && log2[level] <= index[level] {
            runs[level] = Some(Run { log2: log2[level], repeats: false });
        }
        level += 1;
    }
    runs
}

const fn linear_bits(granule: u8, wide: bool) -> u8 {
    match (wide, granule) {
        (false, _) => 64,
        (true, 16) => 48,
        (true, _) => 50,
    }
}

/// The address field of an entry.
#[inline(always)]
const fn pack(address: u64, granule: u8, wide: bool) -> u64 {
    match (wide, granule) {
        (false, _) => address,
        (true, 16) => address & 0x0000_FFFF_FFFF_0000 | address >> 48 << 12,
        (true, _) => address & 0x0003_FFFF_FFFF_F000 | address >> 50 << 8,
    }
}

/// The address in an entry that covers 2^`shift` bytes.
#[inline(always)]
const fn unpack(entry: u64, granule: u8, wide: bool, shift: u8) -> PhysAddr {
    let low = !((1 << shift) - 1);
    PhysAddr::new(match (wide, granule) {
        (false, _) => entry & 0x0000_FFFF_FFFF_FFFF & low,
        (true, 16) => entry & 0x0000_FFFF_FFFF_0000 & low | (entry >> 12 & 0xF) << 48,
        (true, _) => entry & 0x0003_FFFF_FFFF_F000 & low | (entry >> 8 & 3) << 50,
    })
}

/// D8.3: bit 0 valid, bit 1 table or page. Level 0 holds pages only; blocks only where the granule has them.
#[inline(always)]
const fn kind(entry: u64, level: usize, leaf_levels: u8) -> Kind {
    if entry & VALID == 0 {
        Kind::Absent
    } else if entry & PAGE_OR_TABLE != 0 {
        if level == 0 { Kind::Leaf } else { Kind::Table }
    } else if level != 0 && leaf_levels >> level & 1 != 0 {
        Kind::Leaf
    } else {
        Kind::Reserved
    }
}

#[inline(always)]
const fn leaf_type(level: usize) -> u64 {
    if level == 0 { VALID | PAGE_OR_TABLE } else { VALID }
}

const fn accessed(options: u8) -> SetBy {
    if options & HARDWARE_ACCESSED != 0 { SetBy::Hardware } else { SetBy::Fault }
}

const fn dirty(options: u8) -> SetBy {
    if options & HARDWARE_DIRTY == HARDWARE_DIRTY { SetBy::Hardware } else { SetBy::Fault }
}

/// Whether a page is dirty, as bit 0: software keeps it so, or it may be written right now, so that it may have been.
/// `clean` is bit 7 as it stands in a clean page: 1 at stage 1 (read-only), 0 at stage 2 (not writable).
#[inline(always)]
const fn is_dirty(leaf: u64, clean: u64) -> u64 {
    (leaf >> 55 | leaf >> 7 ^ clean) & 1
}

/// The leaf with bits 55 and 7 as the dirty state (bit 0 of `dirty`) and the write right in DBM ask.
#[inline(always)]
const fn with_dirty(leaf: u64, dirty: u64, clean: u64) -> u64 {
    let open = if cfg!(hectare_plant = "format_opens_clean") { 1 } else { dirty } & leaf >> 51 & 1;
    leaf & !(SOFTWARE_DIRTY | READ_ONLY_OR_S2_WRITE) | dirty << 55 | (open ^ clean) << 7
}

#[inline(always)]
const fn touched(leaf: u64, clean: u64) -> Touched {
    Touched { accessed: leaf & ACCESS_FLAG != 0, dirty: is_dirty(leaf, clean) != 0 }
}

#[inline(always)]
const fn with_touched(leaf: u64, touched: Touched, clean: u64) -> u64 {
    let leaf = leaf & !ACCESS_FLAG | (touched.accessed as u64) << 10;
    with_dirty(leaf, touched.dirty as u64, clean)
}

/// D8.5: the hardware sets AF, and opens bit 7 of a page with DBM.
#[inline(always)]
const fn is_stable(entry: u64, level: usize, options: u8, clean: u64) -> bool {
    let leaf = level == 0 || entry & PAGE_OR_TABLE == 0;
    let accessed = options & HARDWARE_ACCESSED == 0 || entry & ACCESS_FLAG != 0;
    let dirty = options & HARDWARE_DIRTY != HARDWARE_DIRTY || entry & DBM == 0 || entry >> 7 & 1 != clean;
    entry & VALID == 0 || !leaf || accessed && dirty
}

/// "Using break-before-make when updating translation table entries" (D8.16.1, in later issues D8.17.1): changes of
/// the output address, of the memory type, of shareability and of nG, of the size of a leaf (a table in a leaf's place
/// or the reverse, or the contiguous bit). Rights, access flag, dirty state and software bits may change in place.
/// `address` and `attributes` are the bits that count: of either kind of entry, of leaves alone.
#[inline(always)]
const fn must_break(old: u64, new: u64, level: usize, options: u8, address: u64, attributes: u64) -> bool {
    let changed = old ^ new;
    if old & new & VALID == 0 {
        return false;
    }
    let resized = if level == 0 { 0 } else { PAGE_OR_TABLE };
    if changed & resized != 0 {
        return options & BBM2 == 0;
    }
    let table = level != 0 && old & PAGE_OR_TABLE != 0;
    let fixed =
        address | if table { 0 } else { attributes | if options & BBM2 == 0 { CONTIGUOUS } else { 0 } };
    changed & fixed != 0
}

/// The bits of the address field.
const fn address_field(granule: u8, wide: bool) -> u64 {
    pack(if wide { 0x000F_FFFF_FFFF_F000 } else { 0x0000_FFFF_FFFF_F000 }, granule, wide)
}

const fn nearest_memory(memory: MemoryType) -> MemoryType {
    match memory {
        MemoryType::Uncached => MemoryType::Device,
        other => other,
    }
}

const fn table_error(level: usize, levels: usize) -> Option<EntryError> {
    if level == 0 || level >= levels { Some(EntryError::Level { level }) } else { None }
}
