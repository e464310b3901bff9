//! PMSAv6 and PMSAv7: the MPU of Cortex-M0+, M3, M4 and M7 (ARMv7-M Architecture Reference Manual, B3.5).
//!
//! ```text
//!  RBAR  ┌31 ─────── base ──────── 5┬4────┬3 ── 0┐        RASR ┌28─┬26 24┬21 19┬18┬17┬16┬15 ──── 8┬5 ── 1┬0─┐
//!        │     aligned to size      │VALID│region│             │XN │ AP  │ TEX │S │C │B │ SRD      │ SIZE │EN│
//!        └──────────────────────────┴─────┴──────┘             └───┴─────┴─────┴──┴──┴──┴──────────┴──────┴──┘
//!  size = 2^(SIZE + 1); a set bit of SRD switches an eighth off, from 256 bytes on. The highest number wins.
//! ```
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Extent, Permissions};

use super::{RegionFormat, Rights, align_down, align_up, better, farther};

/// The regions that such an MPU can express.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{Extent, Permissions};
/// use hectare_segmentation::protect::{Memory7, Pmsa7, Region7, RegionFormat, Rights, cover};
///
/// // 5000 bytes for a program in 64 KiB of RAM. Five eighths of a block of 8 KiB waste 120 bytes, not 3192.
/// let ram = Extent::new(0x2000_0000, 0x1_0000).expect("not empty");
/// let place = Pmsa7::V7.fit(ram, NonZero::new(5000).expect("not 0")).expect("there is room");
/// assert_eq!((place.start(), place.length()), (0x2000_0000, 5120));
///
/// let both = Permissions::READ | Permissions::WRITE;
/// let rights = Rights { kernel: both, user: both };
/// let region = Region7::new(Pmsa7::V7, place, rights, Memory7::NORMAL).expect("one region, as `fit` said");
/// let (rbar, rasr) = region.encode(3); // the values of the two registers, for region 3
/// assert_eq!((rbar, rasr >> 8 & 0xFF, rasr >> 1 & 0x1F), (0x2000_0013, 0b1110_0000, 12));
/// assert_eq!(Region7::decode(rbar, rasr), Some(region));
///
/// // Where the place is given, one region may not do: no run of eighths has both ends of these 1536 bytes.
/// let buffer = Extent::new(0x2000_0F80, 1536).expect("not empty");
/// assert_eq!(Region7::new(Pmsa7::V7, buffer, rights, Memory7::NORMAL), None);
/// assert_eq!(cover::<8>(&Pmsa7::V7, buffer).map(|regions| regions.len()), Some(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pmsa7 {
    smallest: u32,
}

impl Pmsa7 {
    /// ARMv7-M: from 32 bytes on.
    pub const V7: Self = Self { smallest: 5 };
    /// ARMv6-M: from 256 bytes on.
    pub const V6: Self = Self { smallest: 8 };
}

/// Subregions exist from 2^8 bytes on. Below that the manual calls them UNPREDICTABLE, and QEMU ignores them.
const EIGHTHS: u32 = 8;

impl RegionFormat for Pmsa7 {
    fn fit(&self, available: Extent, length: NonZero<u64>) -> Option<Extent> {
        let length = length.get();
        (self.smallest..=32).fold(None, |best, log2| {
            let part = if log2 < EIGHTHS { log2 } else { log2 - 3 };
            let place = || {
                let covered = align_up(length, part).filter(|&covered| covered <= 1 << log2)?;
                let first = align_up(available.start(), part)?;
                // A run of parts must not leave its block.
                let start = if first - align_down(first, log2) + covered > 1 << log2 {
                    align_up(first, log2)?
                } else {
                    first
                };
                let extent = Extent::new(start, covered)?;
                (extent.end() <= available.end().min(1 << 32)).then_some(extent)
            };
            better(best, place())
        })
    }

    fn reach(&self, within: Extent, from: u64) -> Option<Extent> {
        (self.smallest..=32).fold(None, |best, log2| {
            let part = if log2 < EIGHTHS { log2 } else { log2 - 3 };
            let run = || {
                let block = align_down(from, log2);
                let start = align_up(within.start(), part)?.max(block);
                let end = align_down(within.end().min(1 << 32), part).min(block + (1 << log2));
                (start <= from && from < end).then(|| Extent::new(start, end - start))?
            };
            farther(best, run())
        })
    }

    fn step(&self, place: Extent) -> Option<NonZero<u64>> {
        (self.smallest..=32).find_map(|log2| {
            let part = if log2 < EIGHTHS { log2 } else { log2 - 3 };
            let inside = place.end() - align_down(place.start(), log2) <= 1 << log2;
            let aligned = [place.start(), place.end()].into_iter().all(|end| align_down(end, part) == end);
            (inside && aligned).then_some(NonZero::new(1 << part))?
        })
    }
}

/// The memory type: TEX, S, C and B (B3.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory7 {
    bits: u8,
}

impl Memory7 {
    /// Shared device memory: TEX 0, S 0, C 0, B 1.
    pub const DEVICE: Self = Self::new(0, false, false, true);
    /// Normal memory, write-back, allocated on reads and writes: TEX 1, S 0, C 1, B 1.
    pub const NORMAL: Self = Self::new(1, false, true, true);
    /// Normal memory that no cache holds, for DMA: TEX 1, S 1, C 0, B 0.
    pub const UNCACHED: Self = Self::new(1, true, false, false);

    /// These bits. TEX counts in its lowest three.
    #[must_use]
    pub const fn new(tex: u8, shareable: bool, cacheable: bool, bufferable: bool) -> Self {
        Self { bits: (tex & 7) << 3 | (shareable as u8) << 2 | (cacheable as u8) << 1 | bufferable as u8 }
    }
}

/// One region.
///
/// - It is a block of 2^k bytes, 32 bytes to 4 GiB, aligned to its size.
/// - The accessible bytes are one run of its eighths, all of it below 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region7 {
    base: u32,
    log2: u8,
    disabled: u8,
    access: u8,
    never_execute: bool,
    memory: Memory7,
}

impl Region7 {
    /// The region that gives exactly these bytes exactly these rights; `None` iff there is none.
    ///
    /// The kernel has what the program has, or more: nothing below `rw-` but above the program's can be expressed.
    /// Execution is permitted to all who may read, or to none.
    #[must_use]
    pub fn new(format: Pmsa7, extent: Extent, rights: Rights, memory: Memory7) -> Option<Self> {
        let (access, never_execute) = encode_rights(rights)?;
        let exact = |log2: u32| {
            let part = if log2 < EIGHTHS { log2 } else { log2 - 3 };
            let base = align_down(extent.start(), log2);
            let aligned = align_down(extent.start(), part) == extent.start()
                && align_down(extent.end(), part) == extent.end();
            if !aligned || extent.end() - base > 1 << log2 {
                return None;
            }
            let disabled = if log2 < EIGHTHS {
                0
            } else {
                let (first, end) = ((extent.start() - base) >> part, (extent.end() - base) >> part);
                !((0xFF << first) & !(0xFF << end)) & 0xFF
            };
            let (base, disabled) = (u32::try_from(base).ok()?, u8::try_from(disabled).ok()?);
            Some(Self { base, log2: u8::try_from(log2).ok()?, disabled, access, never_execute, memory })
        };
        (format.smallest..=32).find_map(exact)
    }

    /// The values of RBAR (with VALID and the number) and RASR. `number` counts in its lowest four bits.
    #[must_use]
    pub const fn encode(self, number: u8) -> (u32, u32) {
        let attributes =
            (self.never_execute as u32) << 28 | (self.access as u32) << 24 | (self.memory.bits as u32) << 16;
        let size = (self.disabled as u32) << 8 | (self.log2 as u32 - 1) << 1 | 1;
        (self.base | 1 << 4 | (number as u32 & 0xF), attributes | size)
    }

    /// What the two values mean; `None` iff the region is off, or its values are reserved or UNPREDICTABLE: a size
    /// below 32 bytes, an address that is not aligned to it, eighths of a small region, a reserved AP, or eighths that
    /// are no run.
    #[must_use]
    pub fn decode(rbar: u32, rasr: u32) -> Option<Self> {
        let log2 = u8::try_from(rasr >> 1 & 0x1F).ok()? + 1;
        let disabled = u8::try_from(rasr >> 8 & 0xFF).ok()?;
        let base = rbar & !0x1F;
        let access = u8::try_from(rasr >> 24 & 7).ok()?;
        let aligned = log2 >= 5 && align_down(base.into(), log2.into()) == base.into();
        let on = !disabled;
        let run = on != 0 && (u16::from(on >> on.trailing_zeros()) + 1).is_power_of_two();
        let valid = rasr & 1 != 0 && aligned && access != 4 && run && (log2 >= 8 || disabled == 0);
        let memory = Memory7 { bits: u8::try_from(rasr >> 16 & 0x3F).ok()? };
        // AP 6 and 7 mean the same.
        let access = if access == 7 { 6 } else { access };
        valid.then_some(Self { base, log2, disabled, access, never_execute: rasr >> 28 & 1 != 0, memory })
    }

    /// The accessible bytes.
    #[must_use]
    pub fn extent(self) -> Option<Extent> {
        let base = u64::from(self.base);
        if self.log2 < 8 {
            return Extent::new(base, 1 << self.log2);
        }
        let on = !self.disabled;
        let part = 1_u64 << (self.log2 - 3);
        Extent::new(base + u64::from(on.trailing_zeros()) * part, u64::from(on.count_ones()) * part)
    }

    /// What it permits.
    #[must_use]
    pub fn rights(self) -> Rights {
        let (kernel, user) = match self.access {
            0 => (NONE, NONE),
            1 => (RW, NONE),
            2 => (RW, READ),
            3 => (RW, RW),
            5 => (READ, NONE),
            _ => (READ, READ),
        };
        let with_execute = |data: Permissions| {
            if self.never_execute || data.is_empty() { data } else { data | Permissions::EXECUTE }
        };
        Rights { kernel: with_execute(kernel), user: with_execute(user) }
    }
}

const NONE: Permissions = Permissions::empty();
const READ: Permissions = Permissions::READ;
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

/// AP and XN.
fn encode_rights(rights: Rights) -> Option<(u8, bool)> {
    let data = |of: Permissions| of & RW;
    let access = match (data(rights.kernel), data(rights.user)) {
        (NONE, NONE) => 0,
        (RW, NONE) => 1,
        (RW, READ) => 2,
        (RW, RW) => 3,
        (READ, NONE) => 5,
        (READ, READ) => 6,
        _ => return None,
    };
    let executes = |of: Permissions| of.contains(Permissions::EXECUTE);
    let reads = |of: Permissions| of.contains(Permissions::READ);
    let none = !executes(rights.kernel) && !executes(rights.user);
    let all_who_read =
        executes(rights.kernel) == reads(rights.kernel) && executes(rights.user) == reads(rights.user);
    (none || all_who_read).then_some((access, none))
}
