//! Abstract ranges: first fit over a sorted list of holes.
#![forbid(unsafe_code)]

use hectare_core::{
    AllocError, CheckInvariants, Extent, FreeError, PlacedRangeSource, RangeRequest, RangeSource, Violation,
};

/// A source of ranges that is obviously right. Every operation is O(live + holes).
///
/// # Invariants
/// * holes and live ranges, each in order, together tile the space
/// * no two holes touch
#[derive(Clone, Debug)]
pub struct NaiveRanges {
    space: Extent,
    holes: Vec<Extent>,
    live: Vec<Extent>,
}

impl NaiveRanges {
    /// All of `space`, free.
    #[must_use]
    pub fn new(space: Extent) -> Self {
        Self { space, holes: vec![space], live: Vec::new() }
    }

    /// The holes, in order.
    #[must_use]
    pub fn holes(&self) -> &[Extent] {
        &self.holes
    }

    /// The ranges handed out, in order.
    #[must_use]
    pub fn live(&self) -> &[Extent] {
        &self.live
    }
}

impl RangeSource for NaiveRanges {
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError> {
        let length = request.length.get();
        let fit = |hole: &Extent| {
            let start = hole.start().checked_next_multiple_of(request.align.get())?;
            Extent::new(start, length).filter(|extent| hole.contains(*extent))
        };
        let Some((index, taken)) =
            self.holes.iter().enumerate().find_map(|(index, hole)| Some((index, fit(hole)?)))
        else {
            let free: u64 = self.holes.iter().map(|hole| hole.length()).sum();
            return Err(if free < length { AllocError::OutOfMemory } else { AllocError::Fragmented });
        };
        self.take(index, taken);
        Ok(taken)
    }

    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError> {
        if !self.space.contains(extent) {
            return Err(FreeError::Foreign);
        }
        let Some(index) = self.live.iter().position(|live| *live == extent) else {
            let same_start = self.live.iter().any(|live| live.start() == extent.start());
            return Err(if same_start { FreeError::WrongSize } else { FreeError::NotAllocated });
        };
        self.live.remove(index);
        let at = self.holes.partition_point(|hole| hole.start() < extent.start());
        let joins_before = at > 0 && self.holes[at - 1].end() == extent.start();
        let joins_after = self.holes.get(at).is_some_and(|hole| hole.start() == extent.end());
        let from = at - usize::from(joins_before);
        let to = at + usize::from(joins_after);
        let start = if joins_before { self.holes[from].start() } else { extent.start() };
        let end = if joins_after { self.holes[at].end() } else { extent.end() };
        self.holes.splice(from..to, Extent::new(start, end - start));
        Ok(())
    }
}

impl PlacedRangeSource for NaiveRanges {
    fn allocate_range_at(&mut self, extent: Extent) -> Result<(), AllocError> {
        if !self.space.contains(extent) {
            return Err(AllocError::TooLarge);
        }
        let index = self.holes.iter().position(|hole| hole.contains(extent)).ok_or(AllocError::Fragmented)?;
        self.take(index, extent);
        Ok(())
    }
}

impl NaiveRanges {
    /// Cuts `taken` out of the hole at `index`, which contains it.
    fn take(&mut self, index: usize, taken: Extent) {
        let hole = self.holes[index];
        let before = Extent::new(hole.start(), taken.start() - hole.start());
        let after = Extent::new(taken.end(), hole.end() - taken.end());
        self.holes.splice(index..=index, before.into_iter().chain(after));
        let at = self.live.partition_point(|live| live.start() < taken.start());
        self.live.insert(at, taken);
    }
}

impl CheckInvariants for NaiveRanges {
    /// O((live + holes) log). `at` is a unit.
    fn check_invariants(&self) -> Result<(), Violation> {
        let touching = self.holes.windows(2).find(|pair| pair[0].end() >= pair[1].start());
        Violation::unless(
            touching.is_none(),
            "no two holes touch",
            touching.map_or(0, |pair| pair[1].start()),
        )?;
        let mut tiles: Vec<_> = self.holes.iter().chain(&self.live).copied().collect();
        tiles.sort_by_key(|tile| tile.start());
        let mut from = self.space.start();
        for tile in tiles {
            Violation::unless(tile.start() == from, "holes and live ranges tile the space", tile.start())?;
            from = tile.end();
        }
        Violation::unless(from == self.space.end(), "holes and live ranges tile the space", from)
    }
}
