//! A firmware's memory map: what is usable, what is not, in bytes and in any order.
//!
//! ```text
//!   usable     ├───────────────────────────┤     ├───────────┤        rounded inward
//!   reserved          ├────┤          ├──────────────┤                rounded outward, wins over usable
//!   banks       ██████        ████████                ███████
//! ```
#![forbid(unsafe_code)]

use hectare_core::{Frame, FrameRun, PageSize, PhysAddr, RegionError};

use crate::banks::{Bank, Banks};

/// The first byte that an ISA device cannot reach: 24 address lines.
pub const DMA_LIMIT: PhysAddr = PhysAddr::new(1 << 24);

/// The first byte that a device with 32 address lines cannot reach.
pub const DMA32_LIMIT: PhysAddr = PhysAddr::new(1 << 32);

/// An entry of a firmware's memory map, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// The first byte.
    pub start: PhysAddr,
    /// How many bytes; 0 is no error, and an end past 2^64 counts as 2^64.
    pub length: u64,
    /// Whether it may be handed out.
    pub usable: bool,
}

impl MapEntry {
    /// Memory to hand out.
    #[must_use]
    pub const fn usable(start: PhysAddr, length: u64) -> Self {
        Self { start, length, usable: true }
    }

    /// Memory that is used already, or none at all.
    #[must_use]
    pub const fn reserved(start: PhysAddr, length: u64) -> Self {
        Self { start, length, usable: false }
    }

    /// The frames that lie wholly inside if it is usable, those that it touches if it is not.
    #[must_use]
    pub fn frames(self, size: PageSize) -> Option<FrameRun> {
        // The last byte rather than the end, which may be 2^64.
        let start = self.start.value();
        let last = start.saturating_add(self.length.checked_sub(1)?);
        let (first, end) = if self.usable {
            let up = start >> size.log2();
            let first = if start & size.offset_mask() == 0 { up } else { up + 1 };
            let whole = last & size.offset_mask() == size.offset_mask();
            (first, (last >> size.log2()) + u64::from(whole))
        } else {
            (start >> size.log2(), (last >> size.log2()).saturating_add(1))
        };
        FrameRun::new(Frame::new(first), end.checked_sub(first)?)
    }
}

impl<'m> Banks<'m> {
    /// The banks of a memory map: frames that lie wholly in usable entries, less those that a reserved entry touches.
    /// Entries may come in any order, touch and overlap; reserved wins. O(entries × banks).
    ///
    /// ```
    /// use hectare_buddy::{Banks, MapEntry};
    /// use hectare_core::{Frame, FrameRun, PageSize, PhysAddr};
    ///
    /// let map = [
    ///     MapEntry::reserved(PhysAddr::new(0x20_0000), 0x1234), // the kernel's image
    ///     MapEntry::usable(PhysAddr::new(0), 0x9_fc00),
    ///     MapEntry::usable(PhysAddr::new(0x10_0000), 0x70_0000),
    /// ];
    /// let mut table = [None; 8];
    /// let banks = Banks::from_map(&mut table, PageSize::SIZE_4K, map)?;
    /// let run = |first, count| FrameRun::new(Frame::new(first), count).unwrap();
    /// assert!(banks.iter().eq([run(0, 0x9f), run(0x100, 0x100), run(0x202, 0x5fe)]));
    /// # Ok::<(), hectare_core::RegionError>(())
    /// ```
    ///
    /// # Errors
    /// [`RegionError::TableFull`] iff the table is too short; the banks of all usable entries must fit too.
    pub fn from_map<I>(table: &'m mut [Bank], size: PageSize, map: I) -> Result<Self, RegionError>
    where
        I: IntoIterator<Item = MapEntry>,
        I::IntoIter: Clone,
    {
        let (mut banks, entries) = (Self::new(table), map.into_iter());
        let runs = |usable| {
            entries
                .clone()
                .filter(move |entry| entry.usable == usable)
                .filter_map(move |entry| entry.frames(size))
        };
        runs(true).try_for_each(|run| banks.add(run))?;
        runs(false).try_for_each(|run| banks.remove(run))?;
        Ok(banks)
    }
}
