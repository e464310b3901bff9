//! The figures of a heap, in bytes, a walk over it, and the check of its invariants.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, Figures, Fragmentation, Ratio, Usage, Violation};

use super::engine::Engine;
use super::index::HoleIndex;
use super::map;
use super::memory::{GRANULE, Hole};
use super::{Placement, PolicyHeap};
use crate::heap::Run;

fn bytes(granules: u32) -> u64 {
    u64::from(granules) * GRANULE as u64
}

impl<P: Placement, const REGIONS: usize> PolicyHeap<P, REGIONS> {
    fn used_engines(&self) -> impl Iterator<Item = &Engine<P>> {
        self.engines.iter().take(self.count)
    }

    /// The bytes of the largest hole, exact: a request for them without an alignment succeeds, one for more fails (half
    /// fit: the largest power of two in it). By size or by address O(1), half fit: linear in the holes of the highest
    /// octave.
    #[must_use]
    pub fn largest_free(&self) -> usize {
        let largest = self.used_engines().map(|engine| engine.holes.largest(&engine.memory)).max();
        largest.unwrap_or(0) as usize * GRANULE
    }

    /// The holes and used runs of every region, in the order of addresses. O(map) in all.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        self.used_engines().flat_map(|engine| {
            let (memory, mut at) = (&engine.memory, 0);
            core::iter::from_fn(move || {
                if at == memory.span() {
                    return None;
                }
                let (start, free) = (at, map::is_free(memory.map(), at));
                at = map::next(memory.map(), at, memory.span(), !free);
                let (pointer, size) = (memory.pointer(start), (at - start) as usize * GRANULE);
                Some(if free { Run::Hole(pointer, size) } else { Run::Used(pointer, size) })
            })
        })
    }
}

/// `usage` is O(REGIONS), `fragmentation` and `unusable` are O(map). The peak is the sum of the regions' peaks.
impl<P: Placement, const REGIONS: usize> Figures for PolicyHeap<P, REGIONS> {
    fn usage(&self) -> Usage {
        let sum =
            |figure: fn(&Engine<P>) -> u32| self.used_engines().map(|engine| bytes(figure(engine))).sum();
        let capacity: u64 = sum(|engine| engine.capacity);
        let mut usage = Usage::new(1, capacity, capacity - sum(|engine| engine.free));
        usage.peak_allocated = capacity - sum(|engine| engine.least_free);
        usage.metadata_bytes = sum(|engine| engine.memory.reserved());
        usage.failures = self.failures;
        usage
    }

    fn fragmentation(&self) -> Fragmentation {
        let holes = self.used_engines().flat_map(Engine::walk);
        let (free, largest, count) = holes.fold((0, 0, 0), |(free, largest, count), hole| {
            (free + bytes(hole.size), bytes(hole.size).max(largest), count + 1)
        });
        Fragmentation::new(free, largest, count)
    }

    fn unusable(&self, units: u64) -> Ratio {
        let holes = self.used_engines().flat_map(Engine::walk).map(|hole| bytes(hole.size));
        let small = holes.filter(|size| *size < units).sum();
        Ratio::new(small, self.used_engines().map(|engine| bytes(engine.free)).sum())
    }
}

/// Violations name the address of a hole, or a section, class or granule where the rule is about one.
impl<P: Placement, const REGIONS: usize> CheckInvariants for PolicyHeap<P, REGIONS> {
    fn check_invariants(&self) -> Result<(), Violation> {
        let mut end = 0;
        for engine in self.used_engines() {
            let addresses = engine.memory.addresses();
            let at = addresses.start as u64;
            Violation::unless(addresses.start >= end, "the regions are in the order of addresses", at)?;
            end = addresses.end;
            engine.check()?;
        }
        Ok(())
    }
}

impl<P: Placement> Engine<P> {
    fn check(&self) -> Result<(), Violation> {
        let (memory, mut free, mut holes) = (&self.memory, 0, 0);
        let start = memory.addresses().start as u64;
        let reserved = map::all(memory.map(), 0, memory.reserved(), false);
        Violation::unless(reserved, "M2: the tables are never free", start)?;
        for hole in self.walk() {
            let at = memory.pointer(hole.start).addr().get() as u64;
            let sized =
                memory.hole_from(hole.start) == Some(hole) && memory.hole_before(hole.end()) == Some(hole);
            Violation::unless(sized, "P3: each hole has its size at both of its ends", at)?;
            Violation::unless(self.holes.holds(memory, hole), "P1: every hole is in the index", at)?;
            free += hole.size;
            holes += 1;
        }
        Violation::unless(free == self.free, "P5: `free` is the sum of the holes", free.into())?;
        Violation::unless(self.least_free <= free, "P5: `least_free` is at most `free`", free.into())?;
        let all = self.capacity + memory.reserved();
        Violation::unless(all == memory.span(), "P5: capacity and tables make up the region", all.into())?;
        let largest = self.walk().map(|hole: Hole| hole.size).max().unwrap_or(0);
        Violation::unless(
            self.holes.largest(memory) == largest,
            "the largest hole is exact",
            largest.into(),
        )?;
        self.holes.check(memory, holes)
    }
}
