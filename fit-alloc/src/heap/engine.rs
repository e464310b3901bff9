//! Good fit in a constant number of steps: segregated lists, immediate coalescing, two holes kept outside the lists.
//!
//! ```text
//!  a request of n granules takes, in this order
//!    0. the recent run, if it has n                     freed last, and kept apart until a free elsewhere
//!    1. the first hole of exactly n, if n is small      a perfect fit, no remainder
//!    2. the active hole, if n is small                  the last remainder: neighbours in time become neighbours
//!    3. the first hole of the floor bin, if it fits;      in space
//!       else the first of the next occupied bin
//!    4. the top: the hole at the region's end           untouched memory last
//! ```
//! The active hole and the top have their map bits, but no list and no words in memory: taking from their front moves
//! a number and a bit. A [compact](Shape::COMPACT) shape has neither them nor a recent run: all holes are listed, and
//! every request is served as one with an alignment is.
#![expect(unsafe_code, reason = "works on raw regions")]

use super::bins::{Bins, bin_of, exact, head_mark, marked_bin};
use super::region::Region;
use super::shape::{Shape, Word};

/// A hole: an index and a size in granules. Size 0, with start 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

impl Hole {
    pub(crate) const NONE: Self = Self { start: 0, size: 0 };

    #[inline]
    pub(crate) fn end(self) -> usize {
        self.start + self.size
    }
}

/// The granules of one region, free or taken.
///
/// Invariants:
/// * E1: the map's bits are set exactly on the first and last granule of each hole;
/// * E2: no two holes touch, and none touches the map;
/// * E3: each hole is in the list of its size's bin, or is `active`, or is `top`; nothing else is;
/// * E4: a listed hole's words are its neighbours in the list (the first one's back link is its bin's mark) and, twice,
///   its size;
/// * E5: `free` is the sum of the holes;
/// * E6: `recent` is, to the map, of blocks;
/// * E7: `top`, if there is one, ends where the region does.
#[derive(Debug)]
pub(crate) struct Engine<S: Shape> {
    pub(crate) region: Region<S>,
    pub(crate) bins: Bins<S>,
    pub(crate) active: Hole,
    pub(crate) top: Hole,
    /// The block that was freed last, with those freed before it that it touches: allocated in the map, in no list, not
    /// counted in `free`.
    pub(crate) recent: Hole,
    /// Free granules in all holes.
    pub(crate) free: usize,
    /// The least that `free` has been since the region last changed, without its present value.
    pub(crate) least_free: usize,
    /// Granules that can be handed out when nothing is allocated.
    pub(crate) capacity: usize,
    /// What a back link is written to when there is no next hole: one store instead of an unpredictable branch.
    sink: S::Word,
}

impl<S: Shape> Engine<S> {
    pub(crate) const EMPTY: Self = Self {
        region: Region::NONE,
        bins: Bins::EMPTY,
        active: Hole::NONE,
        top: Hole::NONE,
        recent: Hole::NONE,
        free: 0,
        least_free: 0,
        capacity: 0,
        sink: S::Word::ZERO,
    };

    /// Takes `size` granules, at least 1. Returns the first one's index; 0 if the bounded search finds no hole.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> usize {
        if size == self.recent.size {
            return core::mem::take(&mut self.recent).start;
        }
        if size >= exact::<S>() {
            return self.search(size);
        }
        let index = self.bins.head(size);
        if index != 0 {
            // SAFETY: E3 and E4: the head of an exact bin is a hole of this size.
            unsafe { self.take_exact(index, size) };
            return index;
        }
        let hole = if self.active.size >= size {
            &mut self.active
        } else if self.top.size >= size && self.bins.none_from(size) {
            &mut self.top
        } else {
            return self.search(size);
        };
        let index = hole.start;
        let taken = carve(hole, size);
        self.free -= size;
        // SAFETY: E1, E3: the held hole, as it was.
        unsafe { move_start(&self.region, taken, size) };
        index
    }

    /// Takes the first hole of an exact bin, whole.
    ///
    /// # Safety
    /// `index` is the head of the exact bin `size`.
    #[inline]
    unsafe fn take_exact(&mut self, index: usize, size: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.unlink_head(size, index) };
        // SAFETY: the hole is (E1).
        unsafe { self.region.clear_ends(index, index + size - 1) };
        self.free -= size;
    }

    /// Steps 3 and 4, and step 2 for a large request.
    #[inline(never)]
    fn search(&mut self, size: usize) -> usize {
        let small = size < exact::<S>();
        let (bin, listed) = self.find_listed(size);
        if self.active.size >= size && !small && (listed.size == 0 || self.active.size <= listed.size) {
            let hole = self.active;
            carve(&mut self.active, size);
            self.free -= size;
            // SAFETY: E1, E3: the active hole, as it was.
            unsafe { move_start(&self.region, hole, size) };
            return hole.start;
        }
        if listed.size != 0 {
            // SAFETY: E3: the hole is the head of this bin.
            unsafe { self.unlink_head(bin, listed.start) };
            // SAFETY: E1: a hole, no longer listed.
            unsafe { move_start(&self.region, listed, size) };
            self.free -= size;
            if listed.size > size {
                let rest = Hole { start: listed.start + size, size: listed.size - size };
                // SAFETY: the rest has its bits (`move_start`) and is in no list.
                unsafe { self.keep_rest(rest, small) };
            }
            return listed.start;
        }
        if self.top.size >= size {
            let hole = self.top;
            carve(&mut self.top, size);
            self.free -= size;
            // SAFETY: E1, E3: the top, as it was.
            unsafe { move_start(&self.region, hole, size) };
            return hole.start;
        }
        0
    }

    /// A listed hole of at least `size` granules that heads its bin: of the floor bin, or of the next occupied one.
    ///
    /// Whether the floor bin is occupied is not asked: that could not be predicted. Only its holes may be too small.
    #[inline]
    fn find_listed(&mut self, size: usize) -> (usize, Hole) {
        let mut bin = self.bins.next_occupied(bin_of::<S>(size));
        if bin == S::BINS {
            return (bin, Hole::NONE);
        }
        let mut start = self.bins.head(bin);
        // SAFETY: E3, E4: a listed hole.
        let mut found = unsafe { self.region.size_from(start) };
        if found < size {
            bin = self.bins.next_occupied(bin + 1);
            if bin == S::BINS {
                return (bin, Hole::NONE);
            }
            start = self.bins.head(bin);
            // SAFETY: E3, E4: a listed hole.
            found = unsafe { self.region.size_from(start) };
        }
        (bin, Hole { start, size: found })
    }

    /// Lists a remainder, or makes it the active hole.
    ///
    /// # Safety
    /// It is a hole with its bits set, and in no list.
    #[inline]
    unsafe fn keep_rest(&mut self, rest: Hole, activate: bool) {
        if !activate {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.insert(rest) };
            return;
        }
        let old = core::mem::replace(&mut self.active, rest);
        if old.size != 0 {
            // SAFETY: E1, E3: the old active hole has its bits and is in no list.
            unsafe { self.insert(old) };
        }
    }

    /// Takes the hole that begins at `start` out of its list or out of `active` or `top`; its bits stay.
    ///
    /// # Safety
    /// A hole begins there.
    #[inline]
    pub(crate) unsafe fn detach_from(&mut self, start: usize) -> Hole {
        if !S::COMPACT && start == self.active.start {
            return core::mem::take(&mut self.active);
        }
        if !S::COMPACT && start == self.top.start {
            return core::mem::take(&mut self.top);
        }
        // SAFETY: E3: it is listed.
        unsafe { self.unlink(start) };
        // SAFETY: E4: its words are in its memory.
        Hole { start, size: unsafe { self.region.size_from(start) } }
    }

    /// Puts a hole at the head of its bin's list.
    ///
    /// # Safety
    /// It is a hole with its bits set, and in no list.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, hole: Hole) {
        let bin = bin_of::<S>(hole.size);
        let next = self.bins.head(bin);
        // SAFETY: the caller vouches for the hole.
        unsafe { self.region.write_hole(hole.start, hole.size, next, head_mark::<S>(bin)) };
        // SAFETY: a listed hole's second word, or the sink.
        unsafe { self.back_link(next).write(S::Word::from_index(hole.start)) };
        *self.bins.head_mut(bin) = S::Word::from_index(hole.start);
        self.bins.occupy(bin);
    }

    /// Takes the first hole of a bin out of its list; its bits stay.
    ///
    /// # Safety
    /// `start` is the head of the bin.
    #[inline]
    unsafe fn unlink_head(&mut self, bin: usize, start: usize) {
        // SAFETY: E4: the first word of a listed hole.
        let next = unsafe { self.region.node(start).read() };
        // SAFETY: a listed hole's second word, or the sink.
        unsafe { self.back_link(next.to_index()).write(head_mark::<S>(bin)) };
        *self.bins.head_mut(bin) = next;
        self.bins.vacate_if(bin, next == S::Word::ZERO);
    }

    /// Takes a hole out of its list; its bits stay.
    ///
    /// # Safety
    /// A listed hole begins at `start`.
    #[inline]
    pub(crate) unsafe fn unlink(&mut self, start: usize) {
        let node = self.region.node(start);
        // SAFETY: E4: the first word of a listed hole.
        let next = unsafe { node.read() };
        // SAFETY: E4: the second word of a listed hole.
        let back = unsafe { node.wrapping_add(1).read() };
        // SAFETY: a listed hole's second word, or the sink.
        unsafe { self.back_link(next.to_index()).write(back) };
        let bin = marked_bin::<S>(back);
        let is_first = bin < S::BINS;
        let previous = self.region.node(back.to_index());
        let head: *mut S::Word = self.bins.head_mut(bin);
        let forward = if is_first { head } else { previous };
        // SAFETY: the bin's head, or the first word of the hole before.
        unsafe { forward.write(next) };
        self.bins.vacate_if(bin, is_first & (next == S::Word::ZERO));
    }

    /// Where the back link of the listed hole `index` is; for 0, the sink.
    #[inline]
    fn back_link(&mut self, index: usize) -> *mut S::Word {
        let real = self.region.node(index).wrapping_add(1);
        let sink: *mut S::Word = &raw mut self.sink;
        if index == 0 { sink } else { real }
    }
}

/// Takes the first `size` granules of a held hole. Returns it as it was.
#[inline]
pub(crate) fn carve(hole: &mut Hole, size: usize) -> Hole {
    let before = *hole;
    let rest = before.size - size;
    *hole = Hole { start: if rest == 0 { 0 } else { before.start + size }, size: rest };
    before
}

/// Moves the map bit of a hole's start `size` granules up; if that is all of it, clears both of its bits.
///
/// # Safety
/// It was a hole, with at least `size` granules.
#[inline]
pub(crate) unsafe fn move_start<S: Shape>(region: &Region<S>, hole: Hole, size: usize) {
    if hole.size == size {
        // SAFETY: the caller vouches for the hole.
        unsafe { region.clear_ends(hole.start, hole.end() - 1) };
    } else {
        // SAFETY: as above.
        unsafe { region.clear(hole.start) };
        // SAFETY: the new start is inside the hole.
        unsafe { region.set(hole.start + size) };
    }
}
