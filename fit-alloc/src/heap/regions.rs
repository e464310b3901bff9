//! Adding, extending, truncating and removing regions.
#![expect(unsafe_code, reason = "works on raw regions")]

use core::ptr::NonNull;

use hectare_core::RegionError;

use super::engine::{Engine, Hole};
use super::good_fit::GoodFit;
use super::region::{GUARD, Region, granules_in, map_granules};
use super::shape::{Mode, Shape, Word};

impl<S: Shape, const REGIONS: usize, M: Mode> GoodFit<S, REGIONS, M> {
    /// Adds a region. Its first bytes become its map. O(map).
    ///
    /// # Safety
    /// As [`RegionHeap::add_region`](hectare_core::RegionHeap::add_region).
    pub(crate) unsafe fn add(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError> {
        let (start, span) = granules_in::<S>(memory)?;
        let map_span = map_granules::<S>(span, M::HARDENED);
        if span <= map_span {
            return Err(RegionError::TooSmall);
        }
        if !indexable::<S>(span) {
            return Err(RegionError::TooLarge);
        }
        let (low, high) = (start.addr().get(), start.addr().get() + (span << S::LOG2_GRANULE));
        if self.engines.iter().take(self.count).any(|engine| engine.region.meets(low, high)) {
            return Err(RegionError::Overlap);
        }
        let Some(engine) = self.engines.get_mut(self.count) else { return Err(RegionError::TableFull) };
        // It is empty: only the first `count` are not.
        // SAFETY: (1) the caller vouches for the memory; (2), (3) `granules_in` and the check above.
        engine.region = unsafe { Region::lay(start, span, M::HARDENED) };
        // SAFETY: the granules after the map, which nobody uses yet.
        unsafe { engine.give_new(engine.region.first() + map_span, span - map_span) };
        self.count += 1;
        Ok(())
    }

    /// Lengthens the region that ends where `memory` begins. Its map moves into the new memory if it must grow.
    ///
    /// O(map). Fails, and the memory is untouched, if no region ends there ([`RegionError::Unknown`]), if the memory
    /// cannot hold the larger map ([`RegionError::TooSmall`]), if it overlaps another region, or if the region would
    /// exceed what the links can hold ([`RegionError::TooLarge`]).
    ///
    /// # Safety
    /// As [`RegionHeap::add_region`](hectare_core::RegionHeap::add_region), and the memory continues the region's own
    /// allocation: pointers derived from the region may be used for both.
    ///
    /// # Errors
    /// As above.
    pub unsafe fn extend_region(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError> {
        let (start, more) = granules_in::<S>(memory)?;
        let (low, high) = (start.addr().get(), start.addr().get() + (more << S::LOG2_GRANULE));
        if self.engines.iter().take(self.count).any(|engine| engine.region.meets(low, high)) {
            return Err(RegionError::Overlap);
        }
        let ends_here = |engine: &&mut Engine<S>| engine.region.pointer(engine.region.end()).addr() == low;
        let found = self.engines.iter_mut().take(self.count).find(ends_here);
        let Some(engine) = found else { return Err(RegionError::Unknown) };
        // SAFETY: the caller vouches for the memory, which begins where the region ends.
        unsafe { engine.extend_region(more, M::HARDENED) }
    }

    /// Takes the memory from `from` to its region's end back. Returns what was taken back: it begins at the first
    /// granule boundary at or after `from`.
    ///
    /// O(1). Fails if a block or the region's map lies there ([`RegionError::InUse`]), if not a granule would be taken
    /// ([`RegionError::TooSmall`]), or if `from` is in no region ([`RegionError::Unknown`]).
    ///
    /// # Errors
    /// As above; nothing is changed then.
    pub fn truncate_region(&mut self, from: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        let address = from.addr().get();
        let slot = self.slot_of(address).ok_or(RegionError::Unknown)?;
        let engine = self.engines.get_mut(slot).ok_or(RegionError::Unknown)?;
        let rounded = address.checked_add(S::GRANULE - 1).ok_or(RegionError::BadRange)? & !(S::GRANULE - 1);
        let cut = engine.region.index_of(rounded).ok_or(RegionError::TooSmall)?;
        engine.settle();
        let hole = engine.last_hole().filter(|hole| hole.start <= cut).ok_or(RegionError::InUse)?;
        let region = engine.region;
        // SAFETY: E3: one of the engine's holes.
        unsafe { engine.take_new(hole) };
        engine.region = region.with_span(cut - region.first());
        if hole.start < cut {
            // SAFETY: the rest of the hole, which ends where the region does now; its map has a bit for that.
            unsafe { engine.give_new(hole.start, cut - hole.start) };
        }
        // SAFETY: `cut` is a granule of the region as it was.
        let start = unsafe { region.block(cut) };
        Ok(NonNull::slice_from_raw_parts(start, (region.end() - cut) << S::LOG2_GRANULE))
    }

    /// Takes the region that contains `inside` back. Returns its memory, without what alignment cut off.
    ///
    /// O(REGIONS). Fails if a block is live in it ([`RegionError::InUse`]), or if `inside` is in no region
    /// ([`RegionError::Unknown`]).
    ///
    /// # Errors
    /// As above; nothing is changed then.
    pub fn remove_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        let slot = self.slot_of(inside.addr().get()).ok_or(RegionError::Unknown)?;
        let engines = self.engines.get_mut(slot..self.count).ok_or(RegionError::Unknown)?;
        let engine = engines.first_mut().ok_or(RegionError::Unknown)?;
        engine.settle();
        if engine.free != engine.capacity {
            return Err(RegionError::InUse);
        }
        let region = engine.region;
        *engine = Engine::EMPTY;
        // The order of the others stays: it is the order in which they are used.
        engines.rotate_left(1);
        self.count -= 1;
        // SAFETY: the first granule of the region.
        let start = unsafe { region.block(region.first()) };
        Ok(NonNull::slice_from_raw_parts(start, region.span() << S::LOG2_GRANULE))
    }
}

impl<S: Shape> Engine<S> {
    /// Makes the region `more` granules longer.
    ///
    /// # Safety
    /// They follow its last one, and are the heap's as `add_region` says.
    unsafe fn extend_region(&mut self, more: usize, hardened: bool) -> Result<(), RegionError> {
        let old = self.region;
        let Some(span) = old.span().checked_add(more).filter(|span| indexable::<S>(*span)) else {
            return Err(RegionError::TooLarge);
        };
        let needed = map_granules::<S>(span, hardened);
        // The second map lies right after the first, so that neither can grow in place.
        let stays = needed <= old.map_span() && !hardened;
        let map_span = if stays { 0 } else { needed };
        if more <= map_span {
            return Err(RegionError::TooSmall);
        }
        let end = old.end();
        if self.top.size != 0 {
            // It no longer ends where the region does.
            let top = core::mem::take(&mut self.top);
            // SAFETY: a hole with its bits, in no list.
            unsafe { self.insert(top) };
        }
        if stays {
            self.region = old.with_span(span);
        } else {
            // SAFETY: (1) the caller vouches for the new granules; (2) the new map lies in them.
            self.region = unsafe { old.relay(span, end) };
            // SAFETY: the old map's granules, which nothing uses any more.
            unsafe { self.give_new(old.map_first(), old.map_span()) };
        }
        // SAFETY: the new granules after the new map.
        unsafe { self.give_new(end + map_span, more - map_span) };
        Ok(())
    }

    /// Gives granules that were not part of the capacity.
    ///
    /// # Safety
    /// As [`give_hole`](Self::give_hole).
    unsafe fn give_new(&mut self, start: usize, size: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.give_hole(start, size) };
        self.capacity += size;
        self.least_free += size;
    }

    /// Takes a hole that leaves the capacity.
    ///
    /// # Safety
    /// It is one of the engine's.
    unsafe fn take_new(&mut self, hole: Hole) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.detach_from(hole.start) };
        // SAFETY: its bits.
        unsafe { self.region.clear_ends(hole.start, hole.end() - 1) };
        self.least_free = self.least_free().saturating_sub(hole.size);
        self.free -= hole.size;
        self.capacity -= hole.size;
    }

    /// The hole that ends where the region does.
    fn last_hole(&self) -> Option<Hole> {
        let end = self.region.end();
        // SAFETY: the last granule of the region.
        if !unsafe { self.region.bit(end - 1) } {
            return None;
        }
        if let Some(held) = [self.top, self.active].into_iter().find(|held| held.end() == end) {
            return Some(held);
        }
        // SAFETY: E1, E3: a listed hole ends there.
        let size = unsafe { self.region.size_before(end) };
        Some(Hole { start: end - size, size })
    }
}

/// Whether the links can hold the indices of `span` granules, below the marks of the bins.
fn indexable<S: Shape>(span: usize) -> bool {
    span < S::Word::MAX_INDEX - S::BINS - GUARD
}
