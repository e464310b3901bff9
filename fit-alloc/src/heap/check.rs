//! The engine's invariants, checked: for tests, fuzzing and a user's watchdog.
#![expect(unsafe_code, reason = "reads the maps and the lists")]

use hectare_core::{CheckInvariants, Violation};

use super::bins::{bin_of, head_mark};
use super::engine::{Engine, Hole};
use super::good_fit::GoodFit;
use super::shape::{Mode, Shape, Word};

/// Violations name an address, or a bin where the rule is about bins.
impl<S: Shape, const REGIONS: usize, M: Mode> CheckInvariants for GoodFit<S, REGIONS, M> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.used_engines().try_for_each(Engine::check)
    }
}

impl<S: Shape> Engine<S> {
    fn check(&self) -> Result<(), Violation> {
        let (mut free, mut holes, mut last_end) = (0, 0, 0);
        for hole in self.mapped_holes(self.region.first()) {
            self.check_hole(hole, last_end)?;
            last_end = hole.end();
            free += hole.size;
            holes += 1;
        }
        Violation::unless(free == self.free, "E5: `free` is the sum of the holes", as_u64(free))?;
        let all = self.capacity + self.region.map_span();
        Violation::unless(all == self.region.span(), "E5: capacity and map make up the region", as_u64(all))?;
        let mut listed = 0;
        for bin in 0..S::BINS {
            Violation::unless(
                self.bins.is_consistent(bin),
                "a bin is occupied iff it has a head",
                as_u64(bin),
            )?;
            listed += self.check_list(bin, holes)?;
        }
        let held = usize::from(self.active.size != 0) + usize::from(self.top.size != 0);
        Violation::unless(
            listed + held == holes,
            "E3: each hole is listed once or held",
            as_u64(listed + held),
        )?;
        let top_ends = self.top.size == 0 || self.top.end() == self.region.end();
        let recent = self.recent;
        let inside =
            recent.size == 0 || (self.region.first() <= recent.start && recent.end() <= self.region.end());
        Violation::unless(inside, "E6: the recent run is in the region", as_u64(recent.start))?;
        let meets = |hole: Hole| hole.start < recent.end() && recent.start < hole.end();
        let is_block = !self.mapped_holes(self.region.first()).any(meets);
        Violation::unless(is_block, "E6: the recent run meets no hole", as_u64(recent.start))?;
        Violation::unless(top_ends, "E7: the top ends where the region does", as_u64(self.top.end()))
    }

    /// E1 and E2 for one hole that follows a hole with the end `last_end`.
    fn check_hole(&self, hole: Hole, last_end: usize) -> Result<(), Violation> {
        let region = &self.region;
        let at = as_u64(region.pointer(hole.start).addr());
        let inside = hole.size != 0 && hole.end() <= region.end();
        Violation::unless(inside, "E4: a hole's size leads to its end inside the region", at)?;
        Violation::unless(hole.start != last_end, "E2: no two holes touch", at)?;
        let map_end = region.map_first() + region.map_span();
        let apart = hole.end() <= region.map_first() || map_end <= hole.start;
        Violation::unless(apart, "E2: no hole touches the map", at)?;
        for index in hole.start..hole.end() {
            let is_end = index == hole.start || index == hole.end() - 1;
            // SAFETY: a granule of the region (`inside`).
            let bit = unsafe { region.bit(index) };
            Violation::unless(bit == is_end, "E1: bits are set exactly on a hole's ends", at)?;
        }
        if hole == self.active || hole == self.top {
            return Ok(());
        }
        // SAFETY: E3: a listed hole ends there, as the checks above found.
        let again = unsafe { region.size_before(hole.end()) };
        Violation::unless(again == hole.size, "E4: a hole's two sizes are equal", at)
    }

    /// E3 and E4 for one list of at most `most` holes. Returns its length.
    fn check_list(&self, bin: usize, most: usize) -> Result<usize, Violation> {
        let (mut length, mut previous, mut index) = (0, 0, self.bins.head(bin));
        while index != 0 {
            let at = as_u64(index);
            Violation::unless(length < most, "E3: a list has no more holes than there are", at)?;
            let region = &self.region;
            let inside = region.first() <= index && index < region.end();
            Violation::unless(inside, "E3: a link leads into the region", at)?;
            // SAFETY: a granule of the region.
            let begins = unsafe { region.bit(index) };
            Violation::unless(begins, "E1: a listed hole has its bit", at)?;
            // SAFETY: the three words at a granule of the region.
            let (next, back) = unsafe { self.links(index) };
            let expected = if previous == 0 { head_mark::<S>(bin).to_index() } else { previous };
            Violation::unless(back == expected, "E4: a hole's back link is the hole before it", at)?;
            // SAFETY: as above.
            let size = unsafe { region.size_from(index) };
            Violation::unless(bin_of::<S>(size) == bin, "E3: a hole is in the bin of its size", at)?;
            let held = index == self.active.start || index == self.top.start;
            Violation::unless(!held, "E3: a held hole is in no list", at)?;
            previous = index;
            index = next;
            length += 1;
        }
        Ok(length)
    }

    /// The links in the words at `index`.
    ///
    /// # Safety
    /// It is a granule of the region, and a hole begins there.
    unsafe fn links(&self, index: usize) -> (usize, usize) {
        let node = self.region.node(index);
        // SAFETY: the first word of a hole.
        let next = unsafe { node.read() };
        // SAFETY: the second word of a hole.
        let back = unsafe { node.wrapping_add(1).read() };
        (next.to_index(), back.to_index())
    }
}

fn as_u64(number: usize) -> u64 {
    number as u64
}
