//! PMSAv8: the MPU of Cortex-M23, M33 and later (ARMv8-M Architecture Reference Manual, B11).
//!
//! ```text
//!  RBAR  ┌31 ────── base ────── 5┬4 3┬2 1┬0─┐        RLAR ┌31 ──── last block ──── 5┬4──┬3 ── 1┬0─┐
//!        │  in blocks of 32      │SH │AP │XN│             │  whose bytes still count│PXN│ Attr │EN│
//!        └───────────────────────┴───┴───┴──┘             └─────────────────────────┴───┴──────┴──┘
//!  Any multiple of 32 bytes. Two regions that both hold an address make the access fault.
//! ```
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Extent, Permissions};

use super::{RegionFormat, Rights, align_down, align_up};

/// The regions that such an MPU can express: whole blocks of 32 bytes.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{Extent, Permissions};
/// use hectare_segmentation::protect::{Pmsa8, Region8, RegionFormat, Rights, Shareability};
///
/// // 5000 bytes for a program, anywhere from 0x2000_0104 on: at most 31 bytes are wasted at an end.
/// let ram = Extent::new(0x2000_0104, 0x8000).expect("not empty");
/// let place = Pmsa8.fit(ram, NonZero::new(5000).expect("not 0")).expect("there is room");
/// assert_eq!((place.start(), place.length()), (0x2000_0120, 5024));
///
/// let both = Permissions::READ | Permissions::WRITE;
/// let rights = Rights { kernel: both, user: both };
/// let region = Region8::new(place, rights, 0, Shareability::None).expect("whole blocks, rights that exist");
/// // RLAR holds the start of the last block; attribute 0 says which byte of MAIR0 is the kind of memory.
/// assert_eq!(region.encode(), (0x2000_0123, 0x2000_14A1));
///
/// // A program that may write what the kernel may only read cannot be had: refused, not weakened.
/// let odd = Rights { kernel: Permissions::READ, user: both };
/// assert_eq!(Region8::new(place, odd, 0, Shareability::None), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pmsa8;

impl RegionFormat for Pmsa8 {
    fn fit(&self, available: Extent, length: NonZero<u64>) -> Option<Extent> {
        let extent = Extent::new(align_up(available.start(), 5)?, align_up(length.get(), 5)?)?;
        // Inside what is available *after* the start was rounded up.
        (extent.end() <= available.end().min(1 << 32)).then_some(extent)
    }

    fn reach(&self, within: Extent, from: u64) -> Option<Extent> {
        let start = align_up(within.start(), 5)?;
        let end = align_down(within.end().min(1 << 32), 5);
        (start <= from && from < end).then(|| Extent::new(start, end - start))?
    }

    fn step(&self, place: Extent) -> Option<NonZero<u64>> {
        (self.reach(place, place.start()) == Some(place)).then_some(NonZero::new(32))?
    }
}

/// Who sees the memory (SH).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Shareability {
    /// One core.
    None = 0,
    /// Everything in the system.
    Outer = 2,
    /// The cores of one cluster.
    Inner = 3,
}

/// One region: at least 32 bytes, both ends multiples of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region8 {
    base: u32,
    last: u32,
    /// The number of the memory attribute in MAIR0 and MAIR1, 0 to 7.
    attribute: u8,
    shareability: Shareability,
    access: u8,
    never_execute: bool,
}

impl Region8 {
    /// The region that gives exactly these bytes exactly these rights; `None` iff there is none, or `attribute`
    /// exceeds 7.
    ///
    /// Both privileges have the same rights, or the program has none. Execution is permitted to all who may read, or to
    /// none.
    #[must_use]
    pub fn new(extent: Extent, rights: Rights, attribute: u8, shareability: Shareability) -> Option<Self> {
        let data = |of: Permissions| of & RW;
        let access = match (data(rights.kernel), data(rights.user)) {
            (RW, NONE) => 0,
            (RW, RW) => 1,
            (READ, NONE) => 2,
            (READ, READ) => 3,
            _ => return None,
        };
        let executes = |of: Permissions| of.contains(Permissions::EXECUTE);
        let reads = |of: Permissions| of.contains(Permissions::READ);
        let none = !executes(rights.kernel) && !executes(rights.user);
        let all_who_read = executes(rights.kernel) && executes(rights.user) == reads(rights.user);
        let aligned =
            align_down(extent.start(), 5) == extent.start() && align_down(extent.end(), 5) == extent.end();
        if attribute > 7 || !(none || all_who_read) || !aligned {
            return None;
        }
        let (base, last) = (u32::try_from(extent.start()).ok()?, u32::try_from(extent.end() - 32).ok()?);
        Some(Self { base, last, attribute, shareability, access, never_execute: none })
    }

    /// The values of RBAR and RLAR.
    #[must_use]
    pub const fn encode(self) -> (u32, u32) {
        let rbar = self.base
            | (self.shareability as u32) << 3
            | (self.access as u32) << 1
            | self.never_execute as u32;
        (rbar, self.last | (self.attribute as u32) << 1 | 1)
    }

    /// What the two values mean; `None` iff the region is off or empty, or its shareability is the reserved one. The
    /// PXN bit of ARMv8.1-M is not kept.
    #[must_use]
    pub fn decode(rbar: u32, rlar: u32) -> Option<Self> {
        let (base, last) = (rbar & !0x1F, rlar & !0x1F);
        let shareability = match rbar >> 3 & 3 {
            0 => Shareability::None,
            2 => Shareability::Outer,
            3 => Shareability::Inner,
            _ => return None,
        };
        let (attribute, access) = (u8::try_from(rlar >> 1 & 7).ok()?, u8::try_from(rbar >> 1 & 3).ok()?);
        let on = rlar & 1 != 0 && base <= last;
        on.then_some(Self { base, last, attribute, shareability, access, never_execute: rbar & 1 != 0 })
    }

    /// The accessible bytes.
    #[must_use]
    pub fn extent(self) -> Option<Extent> {
        Extent::new(self.base.into(), u64::from(self.last - self.base) + 32)
    }

    /// What it permits.
    #[must_use]
    pub fn rights(self) -> Rights {
        let (kernel, user) = match self.access {
            0 => (RW, NONE),
            1 => (RW, RW),
            2 => (READ, NONE),
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
