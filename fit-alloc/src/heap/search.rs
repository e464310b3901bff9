//! What the engine's fast path leaves out: alignments above the granule, the exhaustive search, growth where a block lies.
#![expect(unsafe_code, reason = "works on raw regions")]

use super::bins::{bin_at_least, bin_of};
use super::engine::{Engine, Hole, carve, move_start};
use super::region::Region;
use super::shape::Shape;

/// How many bins an over-aligned request looks into, at one hole each, before it asks for a hole that certainly fits.
const ALIGNED_PROBES: usize = 4;

/// A planted fault: an aligned block may end this many granules after its hole.
const SLACK: usize = cfg!(hectare_plant = "heap_aligned_short") as usize;

/// The first index of `hole` whose address is a multiple of `align`, if `size` granules from there are in the hole.
fn aligned_in<S: Shape>(region: &Region<S>, hole: Hole, size: usize, align: usize) -> Option<usize> {
    let padding = region.pointer(hole.start).addr().wrapping_neg() & (align - 1);
    let padding = padding >> S::LOG2_GRANULE;
    (hole.size >= size && padding <= hole.size - size + SLACK).then_some(hole.start + padding)
}

impl<S: Shape> Engine<S> {
    /// Takes `size` granules at an address that is a multiple of `align`: for alignments above the granule, and for all
    /// in a compact shape, where the first two holes looked at settle any other request. Returns the first one's index;
    /// 0 if the search, exhaustive or not, finds no hole.
    pub(crate) fn take_aligned(&mut self, size: usize, align: usize, exhaustive: bool) -> usize {
        self.settle();
        let mut bin = bin_of::<S>(size);
        for _ in 0..ALIGNED_PROBES {
            bin = self.bins.next_occupied(bin);
            if bin == S::BINS {
                break;
            }
            let start = self.bins.head(bin);
            // SAFETY: E3, E4: a listed hole.
            let hole = Hole { start, size: unsafe { self.region.size_from(start) } };
            if let Some(index) = self.take_at(hole, size, align) {
                return index;
            }
            bin += 1;
        }
        for hole in [self.active, self.top].into_iter().filter(|_| !S::COMPACT) {
            if let Some(index) = self.take_at(hole, size, align) {
                return index;
            }
        }
        // A hole this large holds the request wherever it begins.
        let certain = size.saturating_add((align >> S::LOG2_GRANULE).saturating_sub(1));
        if certain <= self.free {
            let bin = self.bins.next_occupied(bin_at_least::<S>(certain));
            let start = self.bins.head(bin);
            if bin < S::BINS {
                // SAFETY: E3, E4: a listed hole.
                let hole = Hole { start, size: unsafe { self.region.size_from(start) } };
                if let Some(index) = self.take_at(hole, size, align) {
                    return index;
                }
            }
        }
        if exhaustive { self.take_first_listed(size, align) } else { 0 }
    }

    /// Takes `size` granules from any hole that has them. For when `take` found none.
    pub(crate) fn take_exhaustively(&mut self, size: usize) -> usize {
        self.settle();
        match self.take(size) {
            0 => self.take_first_listed(size, S::GRANULE),
            index => index,
        }
    }

    /// Looks at every listed hole from the floor bin up. Linear in their number.
    fn take_first_listed(&mut self, size: usize, align: usize) -> usize {
        let mut bin = self.bins.next_occupied(bin_of::<S>(size));
        while bin < S::BINS {
            let mut start = self.bins.head(bin);
            while start != 0 {
                // SAFETY: E3, E4: a listed hole.
                let hole = Hole { start, size: unsafe { self.region.size_from(start) } };
                if let Some(index) = self.take_at(hole, size, align) {
                    return index;
                }
                // SAFETY: E4: the first word of a listed hole.
                start = super::shape::Word::to_index(unsafe { self.region.node(start).read() });
            }
            bin = self.bins.next_occupied(bin + 1);
        }
        0
    }

    /// Takes `size` granules at a multiple of `align` out of a hole, if they are in it; what is left stays a hole.
    fn take_at(&mut self, hole: Hole, size: usize, align: usize) -> Option<usize> {
        if hole.size == 0 {
            return None;
        }
        let index = aligned_in(&self.region, hole, size, align)?;
        // SAFETY: E3: it is one of the engine's holes.
        unsafe { self.take_out(hole.start) };
        let end = index + size;
        if index > hole.start {
            // SAFETY: granules of the detached hole; the block after them separates them from the rest.
            unsafe { self.give_hole(hole.start, index - hole.start) };
        }
        if hole.end() > end {
            // SAFETY: as above, before them.
            unsafe { self.give_hole(end, hole.end() - end) };
        }
        self.free -= hole.size;
        Some(index)
    }

    /// Takes the `more` granules from `end`, if a hole that has them begins there.
    ///
    /// # Safety
    /// A block ends at `end`.
    #[inline(always)]
    pub(crate) unsafe fn extend(&mut self, end: usize, more: usize) -> bool {
        if !S::COMPACT && end == self.recent.start {
            if more <= self.recent.size {
                // To the map a run of blocks is one block or another.
                carve(&mut self.recent, more);
                return true;
            }
            self.settle();
        }
        // SAFETY: `end` is at most the region's end, which has a bit.
        if !unsafe { self.region.bit(end) } {
            return false;
        }
        // SAFETY: E1: a hole begins there.
        unsafe { self.extend_into(end, more) }
    }

    /// # Safety
    /// A hole begins at `start`.
    #[inline(never)]
    unsafe fn extend_into(&mut self, start: usize, more: usize) -> bool {
        if S::COMPACT {
            // SAFETY: E4: it is listed.
            let hole = Hole { start, size: unsafe { self.region.size_from(start) } };
            return self.take_at(hole, more, S::GRANULE).is_some();
        }
        let held = if start == self.active.start {
            &mut self.active
        } else if start == self.top.start {
            &mut self.top
        } else {
            // SAFETY: E3: it is listed.
            return unsafe { self.extend_into_listed(start, more) };
        };
        if held.size < more {
            return false;
        }
        let hole = carve(held, more);
        // SAFETY: E1: the held hole's bits.
        unsafe { move_start(&self.region, hole, more) };
        self.free -= more;
        true
    }

    /// # Safety
    /// A listed hole begins at `start`.
    #[inline]
    unsafe fn extend_into_listed(&mut self, start: usize, more: usize) -> bool {
        // SAFETY: E4: it is listed.
        let hole = Hole { start, size: unsafe { self.region.size_from(start) } };
        if hole.size < more {
            return false;
        }
        // SAFETY: E3: in its bin's list.
        unsafe { self.unlink(start) };
        // SAFETY: E1: its bits.
        unsafe { move_start(&self.region, hole, more) };
        if hole.size > more {
            // SAFETY: the rest has its bits and is in no list.
            unsafe { self.insert(Hole { start: start + more, size: hole.size - more }) };
        }
        self.free -= more;
        true
    }

    /// Grows the block `[index, index + old)` to `new` granules by moving its `bytes` bytes down into the hole before
    /// it, with the hole after it if that is needed. Returns the new index; 0, and nothing is changed, if the two holes
    /// are too small.
    ///
    /// # Safety
    /// A block, of the caller's; `bytes` are at most its size; `old < new`.
    pub(crate) unsafe fn extend_down(&mut self, index: usize, old: usize, new: usize, bytes: usize) -> usize {
        self.settle();
        // SAFETY: `index` is above the region's map.
        if !unsafe { self.region.bit(index - 1) } {
            return 0;
        }
        let before = if index == self.active.end() {
            self.active
        } else {
            // SAFETY: E1, E3: a listed hole ends there.
            let size = unsafe { self.region.size_before(index) };
            Hole { start: index - size, size }
        };
        let end = index + old;
        // SAFETY: `end` is at most the region's end.
        let after = if !unsafe { self.region.bit(end) } {
            0
        } else if end == self.active.start {
            self.active.size
        } else if end == self.top.start {
            self.top.size
        } else {
            // SAFETY: E1, E3: a listed hole begins there.
            unsafe { self.region.size_from(end) }
        };
        if before.size + old + after < new {
            return 0;
        }
        // SAFETY: E3: one of the engine's holes.
        unsafe { self.detach_from(before.start) };
        // SAFETY: E1: its bits.
        unsafe { self.region.clear_ends(before.start, index - 1) };
        let from = self.region.pointer(index);
        // SAFETY: (1) the caller vouches for the block's bytes; (2) the granules from `before.start` to its end are the
        // hole's and the block's; (3) overlap is allowed.
        unsafe { self.region.pointer(before.start).copy_from(from, bytes) };
        let have = before.size + old;
        if have > new {
            // SAFETY: the tail of what is now one block.
            unsafe { self.give_hole(before.start + new, have - new) };
        } else if have < new {
            // SAFETY: what is now one block ends at `end`, where a hole of enough granules begins.
            unsafe { self.extend(end, new - have) };
        }
        self.free -= before.size;
        before.start
    }
}
