//! The free of a compact shape: every case the same way, in few instructions rather than few steps.
#![expect(unsafe_code, reason = "works on raw regions")]

use super::engine::{Engine, Hole};
use super::shape::Shape;

impl<S: Shape> Engine<S> {
    /// As `give_joining`: takes the holes beside the block out of their lists and lists all as one.
    ///
    /// # Safety
    /// As `give_now`, and the flags are the map's.
    #[inline]
    pub(crate) unsafe fn give_compact(
        &mut self,
        start: usize,
        size: usize,
        hole_before: bool,
        hole_after: bool,
    ) {
        self.count_given(size);
        let mut hole = Hole { start, size };
        if hole_after {
            // SAFETY: E1: a hole begins there.
            hole.size += unsafe { self.take_out(hole.end()) };
        }
        if hole_before && !cfg!(hectare_plant = "heap_no_join_before") {
            // SAFETY: E1, E3: a listed hole ends at `start`.
            let before = unsafe { self.region.size_before(start) };
            // SAFETY: it begins so many granules below.
            unsafe { self.take_out(start - before) };
            hole = Hole { start: start - before, size: hole.size + before };
        }
        // SAFETY: granules of what were blocks and holes.
        unsafe { self.region.set_ends(hole.start, hole.end() - 1) };
        // SAFETY: the hole has its bits; its parts are in no list any more.
        unsafe { self.insert(hole) };
    }

    /// Makes the hole that begins at `start` none, wherever it is kept. Returns its size.
    ///
    /// # Safety
    /// A hole begins there.
    #[inline(never)]
    pub(crate) unsafe fn take_out(&mut self, start: usize) -> usize {
        // SAFETY: the caller's promise is the one asked for.
        let hole = unsafe { self.detach_from(start) };
        // SAFETY: E1: its bits.
        unsafe { self.region.clear_ends(start, hole.end() - 1) };
        hole.size
    }
}
