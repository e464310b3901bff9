//! What comes back: a freed block lengthens the recent run or becomes it, and the run before it a hole that joins the holes
//! beside it.
#![expect(unsafe_code, reason = "works on raw regions")]

use super::bins::{bin_of, exact};
use super::engine::{Engine, Hole};
use super::prefetch::prefetch;
use super::shape::Shape;

impl<S: Shape> Engine<S> {
    /// Counts granules that become a hole or a part of one.
    #[inline]
    pub(crate) fn count_given(&mut self, size: usize) {
        self.least_free = self.least_free();
        self.free += size;
    }

    /// The least that `free` has been since the region last changed.
    pub(crate) fn least_free(&self) -> usize {
        self.least_free.min(self.free)
    }

    /// Gives `[start, start + size)` back: it lengthens the recent run, or becomes it, and the one before it a hole.
    ///
    /// The holes beside it, which it will be joined with when it is no longer the most recent, are far away in memory
    /// more often than not. They are asked for now, one free ahead.
    ///
    /// # Safety
    /// The granules are of a block that nothing uses any more.
    #[inline]
    pub(crate) unsafe fn give(&mut self, start: usize, size: usize) {
        if S::COMPACT {
            // SAFETY: the caller's promise is the one asked for.
            return unsafe { self.give_hole(start, size) };
        }
        let recent = self.recent;
        prefetch(self.region.pointer(start - 1).addr());
        prefetch(self.region.pointer(start + size).addr());
        if start == recent.end() {
            self.recent.size += size;
        } else if start + size == recent.start {
            self.recent = Hole { start, size: recent.size + size };
        } else {
            self.recent = Hole { start, size };
            if recent.size != 0 {
                // SAFETY: the recent run is of blocks that nothing uses.
                unsafe { self.give_now(recent.start, recent.size) };
            }
        }
    }

    /// As [`give`](Self::give), out of line; and settled if that is asked for.
    ///
    /// # Safety
    /// As [`give`](Self::give).
    #[inline(never)]
    pub(crate) unsafe fn give_tail(&mut self, start: usize, size: usize, settled: bool) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.give(start, size) };
        if settled {
            self.settle();
        }
    }

    /// Makes the recent run a hole. For whoever looks at the holes.
    #[inline(never)]
    pub(crate) fn settle(&mut self) {
        if S::COMPACT {
            return;
        }
        let recent = core::mem::take(&mut self.recent);
        if recent.size != 0 {
            // SAFETY: the recent run is of blocks that nothing uses.
            unsafe { self.give_hole(recent.start, recent.size) };
        }
    }

    /// As [`give_now`](Self::give_now), out of line.
    ///
    /// # Safety
    /// As [`give_now`](Self::give_now).
    #[inline(never)]
    pub(crate) unsafe fn give_hole(&mut self, start: usize, size: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.give_now(start, size) };
    }

    /// Makes `[start, start + size)` a hole and joins it with the holes beside it.
    ///
    /// # Safety
    /// The granules are of blocks that nothing uses any more.
    #[inline]
    pub(crate) unsafe fn give_now(&mut self, start: usize, size: usize) {
        // SAFETY: `start + size` is at most the region's end, which has a bit.
        let hole_after = unsafe { self.region.bit(start + size) };
        // SAFETY: `start` is above the region's map, so `start − 1` has a bit.
        let hole_before = unsafe { self.region.bit(start - 1) };
        if S::COMPACT {
            // SAFETY: the caller's promise is the one asked for.
            return unsafe { self.give_compact(start, size, hole_before, hole_after) };
        }
        if hole_after | hole_before | (size >= exact::<S>()) {
            // SAFETY: the caller's promise is the one asked for.
            return unsafe { self.give_joining(start, size, hole_before, hole_after) };
        }
        self.count_given(size);
        // SAFETY: the caller vouches for the granules.
        unsafe { self.region.set_ends(start, start + size - 1) };
        // SAFETY: the bits are set; it was a block, so it is in no list.
        unsafe { self.insert(Hole { start, size }) };
    }

    /// As [`give_now`](Self::give_now), with what the map says about the neighbours. Each side changes one bit of the map.
    ///
    /// # Safety
    /// As [`give_now`](Self::give_now), and the flags are the map's.
    #[inline(never)]
    unsafe fn give_joining(&mut self, start: usize, size: usize, hole_before: bool, hole_after: bool) {
        self.count_given(size);
        let mut hole = Hole { start, size };
        let mut joins_active = false;
        if hole_after {
            let end = hole.end();
            joins_active = end == self.active.start;
            // SAFETY: E1: a hole begins at `end`.
            let after = unsafe { self.detach_from(end) }.size;
            // SAFETY: its first granule, which is its last one only if there is one.
            unsafe { self.region.clear_if(end, after != 1) };
            hole.size += after;
        } else {
            // SAFETY: the block's last granule, now the hole's.
            unsafe { self.region.set(hole.end() - 1) };
        }
        if hole_before && !cfg!(hectare_plant = "heap_no_join_before") {
            let is_active = start == self.active.end();
            let before = if is_active {
                core::mem::take(&mut self.active).size
            } else {
                // SAFETY: E1, E3: a listed hole ends at `start`.
                unsafe { self.region.size_before(start) }
            };
            // SAFETY: its last granule, which is its first one only if there is one.
            unsafe { self.region.clear_if(start - 1, before != 1) };
            hole = Hole { start: start - before, size: hole.size + before };
            if is_active {
                joins_active = true;
            } else {
                if !joins_active && bin_of::<S>(before) == bin_of::<S>(hole.size) && !self.is_top(hole) {
                    // SAFETY: it keeps its start, and so its place in the list of the same bin.
                    return unsafe { self.region.write_size(hole.start, hole.size) };
                }
                // SAFETY: E3: it was neither active nor the top, so it is listed.
                unsafe { self.unlink(hole.start) };
            }
        } else {
            // SAFETY: the block's first granule, now the hole's.
            unsafe { self.region.set(start) };
        }
        if self.is_top(hole) {
            self.top = hole;
        } else if joins_active {
            self.active = hole;
        } else {
            // SAFETY: the hole has its bits; its parts are in no list any more.
            unsafe { self.insert(hole) };
        }
    }

    /// Whether a joined hole ends where the region does.
    #[inline]
    fn is_top(&self, hole: Hole) -> bool {
        hole.end() == self.region.end()
    }
}
