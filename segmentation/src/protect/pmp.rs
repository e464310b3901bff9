//! RISC-V physical memory protection (The RISC-V Instruction Set Manual, volume II, 3.7).
//!
//! ```text
//!  pmpcfg  ┌7─┬6 5┬4 3┬2┬1┬0┐     A = 0 OFF     nothing, but its address can start the next entry's range
//!          │L │ 0 │ A │X│W│R│         1 TOR     from the address before (0 for entry 0) up to this one
//!          └──┴───┴───┴─┴─┴─┘         2 NA4     four bytes
//!  pmpaddr  address >> 2              3 NAPOT   2^(n + 3) bytes, n the number of trailing ones of pmpaddr
//! ```
//! The lowest number that holds a byte of the access decides, and must hold all of it. TOR cannot include the topmost
//! word of the address space; "everything" is NAPOT with all ones.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Extent, Permissions};

use super::{RegionFormat, align_down, align_up, better, farther};

/// What a hart's protection unit can express. Probe it: write all ones to a pmpaddr that is off, and count the trailing
/// zeroes that are read back; some cores lack TOR, some lack NAPOT.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{Extent, Permissions};
/// use hectare_segmentation::protect::{Pmp, RegionFormat};
///
/// let rights = Permissions::READ | Permissions::WRITE;
/// let memory = Extent::new(0x8000_0000, 0x10_0000).expect("not empty");
///
/// // A program asks for 3000 bytes. One entry can have 4 KiB, if they lie at a multiple of 4 KiB.
/// let place = Pmp::RV32.fit(memory, NonZero::new(3000).expect("not 0")).expect("there is room");
/// assert_eq!((place.start(), place.length()), (0x8000_0000, 4096));
/// let entry = Pmp::RV32.power_of_two(place, rights, false).expect("a power of two, aligned to itself");
/// assert_eq!(entry.encode(), (0b11_011, 0x2000_01FF)); // pmpcfg: NAPOT, W, R; pmpaddr: nine ones, for 2^12 bytes
///
/// // 12 KiB are no power of two: they take two entries, the first of which is off and only says where.
/// let exact = Extent::new(0x8000_1000, 0x3000).expect("not empty");
/// assert_eq!(Pmp::RV32.power_of_two(exact, rights, false), None);
/// let [off, top] = Pmp::RV32.from_to(exact, rights, false).expect("multiples of four bytes");
/// assert_eq!((off.encode(), top.encode()), ((0, 0x2000_0400), (0b01_011, 0x2000_1000)));
/// assert_eq!(top.extent(off.encode().1), Some(exact));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pmp {
    grain: u32,
    address_bits: u32,
}

impl Pmp {
    /// RV32: addresses of 34 bits. RV64: of 56 bits. Both with a grain of four bytes.
    pub const RV32: Self = Self { grain: 2, address_bits: 34 };
    /// See [`Self::RV32`].
    pub const RV64: Self = Self { grain: 2, address_bits: 56 };

    /// The same with a grain of 2^`log2` bytes; `None` below 4 bytes or above the address space.
    #[must_use]
    pub const fn with_grain(self, log2: u32) -> Option<Self> {
        if log2 < 2 || log2 >= self.address_bits { None } else { Some(Self { grain: log2, ..self }) }
    }

    const fn end(self) -> u64 {
        1 << self.address_bits
    }

    /// The one entry (NAPOT or NA4) for exactly these bytes; `None` iff they are no power of two of at least a grain,
    /// aligned to itself. [`PmpEntry::from_top`] takes others.
    #[must_use]
    pub fn power_of_two(self, extent: Extent, rights: Permissions, locked: bool) -> Option<PmpEntry> {
        let (start, length) = (extent.start(), extent.length());
        let log2 = length.trailing_zeros();
        let exact = length.is_power_of_two() && log2 >= self.grain && align_down(start, log2) == start;
        if !exact || extent.end() > self.end() {
            return None;
        }
        let (mode, ones) =
            if log2 == 2 { (PmpMode::FourBytes, 0) } else { (PmpMode::PowerOfTwo, (length >> 3) - 1) };
        PmpEntry::new(mode, start >> 2 | ones, rights, locked)
    }

    /// The two entries (one that is off, then TOR) for exactly these bytes; `None` iff an end is no multiple of the
    /// grain or lies beyond what an address register holds. The first entry is not needed if the entry before holds the
    /// same address.
    #[must_use]
    pub fn from_to(self, extent: Extent, rights: Permissions, locked: bool) -> Option<[PmpEntry; 2]> {
        let aligned = |at: u64| align_down(at, self.grain) == at;
        // The register's greatest value is one word below the end.
        if !aligned(extent.start()) || !aligned(extent.end()) || extent.end() >= self.end() {
            return None;
        }
        let off = PmpEntry::new(PmpMode::Off, extent.start() >> 2, Permissions::empty(), locked)?;
        Some([off, PmpEntry::new(PmpMode::Top, extent.end() >> 2, rights, locked)?])
    }
}

impl RegionFormat for Pmp {
    /// By one power of two.
    fn fit(&self, available: Extent, length: NonZero<u64>) -> Option<Extent> {
        (self.grain..=self.address_bits).fold(None, |best, log2| {
            let place = || {
                let extent = Extent::new(align_up(available.start(), log2)?, 1 << log2)?;
                let inside = extent.end() <= available.end().min(self.end());
                (inside && extent.length() >= length.get()).then_some(extent)
            };
            better(best, place())
        })
    }

    /// By one power of two.
    fn reach(&self, within: Extent, from: u64) -> Option<Extent> {
        (self.grain..=self.address_bits).fold(None, |best, log2| {
            let block = Extent::new(align_down(from, log2), 1 << log2);
            farther(best, block.filter(|&block| within.contains(block) && block.end() <= self.end()))
        })
    }

    /// A power of two cannot be shortened: [`Pmp::from_to`] does that, with two entries.
    fn step(&self, _place: Extent) -> Option<NonZero<u64>> {
        None
    }
}

/// How an entry matches addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PmpMode {
    /// Not at all.
    Off = 0,
    /// TOR.
    Top = 1,
    /// NA4.
    FourBytes = 2,
    /// NAPOT.
    PowerOfTwo = 3,
}

/// One entry: a byte of pmpcfg and a pmpaddr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmpEntry {
    mode: PmpMode,
    address: u64,
    rights: Permissions,
    locked: bool,
}

impl PmpEntry {
    /// An entry with this address register; `None` iff the rights are write without read, which is reserved. Of the
    /// rights, read, write and execute count.
    ///
    /// A locked entry binds the machine mode too, and holds until a reset.
    #[must_use]
    pub const fn new(mode: PmpMode, address: u64, rights: Permissions, locked: bool) -> Option<Self> {
        let rights = rights.difference(Permissions::USER);
        if rights.contains(Permissions::WRITE) && !rights.contains(Permissions::READ) {
            return None;
        }
        Some(Self { mode, address, rights, locked })
    }

    /// The upper end of a TOR entry.
    #[must_use]
    pub const fn from_top(top: u64, rights: Permissions, locked: bool) -> Option<Self> {
        if top & 3 != 0 { None } else { Self::new(PmpMode::Top, top >> 2, rights, locked) }
    }

    /// The byte of pmpcfg and the value of pmpaddr.
    #[must_use]
    pub const fn encode(self) -> (u8, u64) {
        (self.rights.bits() & 7 | (self.mode as u8) << 3 | (self.locked as u8) << 7, self.address)
    }

    /// What the two mean; `None` iff the rights are the reserved ones. Bits 5 and 6 are ignored.
    #[must_use]
    pub const fn decode(config: u8, address: u64) -> Option<Self> {
        let mode = match config >> 3 & 3 {
            0 => PmpMode::Off,
            1 => PmpMode::Top,
            2 => PmpMode::FourBytes,
            _ => PmpMode::PowerOfTwo,
        };
        Self::new(mode, address, Permissions::from_bits_truncate(config & 7), config >> 7 != 0)
    }

    /// The bytes that it matches after an entry with the address register `before` (0 for entry 0); `None` if it matches
    /// none. What exceeds 2^63 bytes is everything, but for the very last byte, which an extent cannot have.
    #[must_use]
    pub fn extent(self, before: u64) -> Option<Extent> {
        match self.mode {
            PmpMode::Off => None,
            PmpMode::Top => Extent::new(before << 2, self.address.checked_sub(before)? << 2),
            PmpMode::FourBytes => Extent::new(self.address << 2, 4),
            PmpMode::PowerOfTwo => {
                let log2 = self.address.trailing_ones() + 3;
                match 1_u64.checked_shl(log2) {
                    Some(length) => Extent::new(self.address << 2 & !(length - 1), length),
                    None => Extent::new(0, u64::MAX),
                }
            }
        }
    }

    /// What it permits.
    #[must_use]
    pub const fn rights(self) -> Permissions {
        self.rights
    }
}
