//! The shadow: which extents are handed out, and where there would be room.
#![forbid(unsafe_code)]

use core::iter::once;
use core::ops::Range;
use std::collections::BTreeMap;

use hectare_core::AllocError;

use super::Breach;

/// Regions, and the live extents in them.
///
/// # Invariants
/// * the live extents are not empty, disjoint, and each lies in one region
#[derive(Clone, Debug, Default)]
pub struct Space {
    regions: Vec<Range<u64>>,
    /// The end of each live extent, by its start.
    live: BTreeMap<u64, u64>,
}

impl Space {
    /// A space of these regions, in which nothing lives.
    #[must_use]
    pub fn new(regions: Vec<Range<u64>>) -> Self {
        Self { regions, live: BTreeMap::new() }
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> &[Range<u64>] {
        &self.regions
    }

    /// Other regions. No live extent may lie outside them.
    pub(super) fn set_regions(&mut self, regions: Vec<Range<u64>>) {
        self.regions = regions;
    }

    /// The live extents, by their start.
    #[must_use]
    pub fn live(&self) -> impl DoubleEndedIterator<Item = Range<u64>> {
        self.live.iter().map(|(start, end)| *start..*end)
    }

    /// Some live extent that shares units with `[start, end)`. O(log live).
    #[must_use]
    pub fn overlapping(&self, start: u64, end: u64) -> Option<Range<u64>> {
        let (other, other_end) = self.live.range(..end).next_back()?;
        (*other_end > start).then_some(*other..*other_end)
    }

    /// An extent of `length` units (0 counts as 1) comes to life.
    pub(super) fn insert(&mut self, start: u64, length: u64, align: u64) -> Result<(), Breach> {
        if !start.is_multiple_of(align) {
            return Err(Breach::Misaligned { start, align });
        }
        let end = start.saturating_add(length.max(1));
        if !self.regions.iter().any(|region| region.start <= start && end <= region.end) {
            return Err(Breach::Outside { start, end });
        }
        if let Some(other) = self.overlapping(start, end) {
            return Err(Breach::Overlap { start, end, other: other.start });
        }
        self.live.insert(start, end);
        Ok(())
    }

    /// The extent that begins at `start` dies.
    pub(super) fn remove(&mut self, start: u64) {
        self.live.remove(&start);
    }

    /// A request was refused: right only if no place would do.
    pub(super) fn refused(&self, size: u64, align: u64, error: AllocError) -> Result<(), Breach> {
        if self.has_room(size, align, 1) {
            return Err(Breach::Refused { size, align, error, reason: "there is room".into() });
        }
        Ok(())
    }

    /// Whether `size` units at a multiple of `align` (a power of two, or any number if `granule` is 1) would find room, if everything lies at multiples
    /// of `granule` (a power of two) and takes whole granules. O(live).
    #[must_use]
    pub fn has_room(&self, size: u64, align: u64, granule: u64) -> bool {
        let (up, down) = (|at: u64| at.checked_next_multiple_of(granule), |at: u64| at - at % granule);
        let Some(size) = up(size.max(1)) else { return false };
        self.regions.iter().any(|region| {
            let Some(mut from) = up(region.start) else { return false };
            let inside = self.live.range(region.start..region.end).map(|(start, end)| *start..*end);
            inside.chain(once(region.end..region.end)).any(|next| {
                let start = from.checked_next_multiple_of(align.max(granule));
                let end = start.and_then(|start| start.checked_add(size));
                from = from.max(up(next.end).unwrap_or(u64::MAX));
                end.is_some_and(|end| end <= down(next.start))
            })
        })
    }
}
