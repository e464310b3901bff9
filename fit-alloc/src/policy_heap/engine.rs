//! One region: blocks are cut from holes and become holes again, and the policy's index is told.
#![forbid(unsafe_code)]

use core::ptr::NonNull;

use super::Placement;
use super::index::{HoleIndex, Place, Reach, Request};
use super::map;
use super::memory::{GRANULE, Granules, Hole, Memory};

/// A region under one policy.
///
/// Invariants:
/// * P1, P2: those of the policy's index: it holds exactly the holes;
/// * P3: each hole has its size at both of its ends;
/// * P4: a table of sections has the largest hole of each;
/// * P5: `free` is the sum of the holes, `capacity` all but the reserved granules, `least_free` at most `free`.
#[derive(Debug)]
pub(super) struct Engine<P: Placement> {
    pub(super) memory: Memory,
    pub(super) holes: P::Holes,
    pub(super) capacity: u32,
    pub(super) free: u32,
    pub(super) least_free: u32,
}

impl<P: Placement> Engine<P> {
    /// Without a region.
    pub(super) const EMPTY: Self =
        Self { memory: Memory::NONE, holes: P::Holes::EMPTY, capacity: 0, free: 0, least_free: 0 };

    /// The policy's place for `size` granules at a multiple of `align` bytes.
    #[inline(always)]
    pub(super) fn find(&mut self, size: u32, align: usize, reach: Reach) -> Option<Place> {
        if size > self.free {
            return None;
        }
        if align <= GRANULE {
            return self.holes.find(&self.memory, size, reach);
        }
        let request = Request { size, align: align / GRANULE, base: self.memory.base() };
        self.holes.find_aligned(&self.memory, &request, reach)
    }

    /// Takes a place that was found, and gives the block's address.
    #[inline(always)]
    pub(super) fn take(&mut self, place: Place, size: u32) -> Option<NonNull<u8>> {
        self.cut(place.hole, place.at, size)?;
        self.holes.placed(place.at.wrapping_add(size));
        Some(self.memory.pointer(place.at))
    }

    /// Makes a part of a hole used.
    #[inline(always)]
    fn cut(&mut self, hole: Hole, at: u32, size: u32) -> Option<Granules> {
        self.holes.detach(&mut self.memory, hole);
        let Some(taken) = self.memory.claim(at, size) else {
            // Only a broken size of a hole leads here: see `memory`.
            self.holes.attach(&mut self.memory, hole);
            return None;
        };
        let end = at.wrapping_add(size);
        let below = Hole { start: hole.start, size: at.wrapping_sub(hole.start) };
        let above = Hole { start: end, size: hole.end().wrapping_sub(end) };
        if below.size != 0 {
            self.add(below);
        }
        let mut above_start = 0;
        if above.size != 0 {
            self.add(above);
            above_start = above.start;
        }
        self.holes.settle(&mut self.memory, [hole.start, above_start, 0]);
        self.free -= size;
        self.least_free = self.least_free.min(self.free);
        Some(taken)
    }

    #[inline(always)]
    fn add(&mut self, hole: Hole) {
        self.memory.set_size(hole);
        self.holes.attach(&mut self.memory, hole);
    }

    /// Takes granules back and joins them with the holes beside them.
    #[inline(always)]
    pub(super) fn give(&mut self, granules: Granules) {
        let (mut start, size) = (granules.start(), granules.size());
        let mut end = start.wrapping_add(size);
        self.free += size;
        if let Some(below) = self.memory.hole_before(start) {
            self.holes.detach(&mut self.memory, below);
            start = below.start;
        }
        let mut above_start = 0;
        // The planted fault: the hole above is not joined.
        if let Some(above) =
            self.memory.hole_from(end).filter(|_| !cfg!(hectare_plant = "policy_no_coalesce"))
        {
            self.holes.detach(&mut self.memory, above);
            above_start = above.start;
            end = above.end();
        }
        self.memory.release(granules);
        self.add(Hole { start, size: end.wrapping_sub(start) });
        self.holes.settle(&mut self.memory, [start, above_start, 0]);
    }

    /// Lengthens the block that ends before `end`, if a hole of at least `more` granules begins there.
    pub(super) fn lengthen(&mut self, end: u32, more: u32) -> bool {
        let Some(hole) = self.memory.hole_from(end).filter(|hole| hole.size >= more) else { return false };
        self.cut(hole, end, more).is_some()
    }

    /// The holes, by address, as the map has them. O(map).
    pub(super) fn walk(&self) -> impl Iterator<Item = Hole> {
        let (memory, mut at) = (&self.memory, self.memory.reserved());
        core::iter::from_fn(move || {
            let start = map::next(memory.map(), at, memory.span(), true);
            if start == memory.span() {
                return None;
            }
            at = map::next(memory.map(), start, memory.span(), false);
            Some(Hole { start, size: at - start })
        })
    }
}
