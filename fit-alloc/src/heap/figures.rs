//! The figures of a heap, in bytes.
#![forbid(unsafe_code)]

use hectare_core::{Figures, Fragmentation, Ratio, Usage};

use super::engine::Engine;
use super::good_fit::GoodFit;
use super::quick::QuickLists;
use super::shape::{Mode, Shape};

/// The peak counts the block freed last as allocated, and is the sum of the regions' peaks. `usage` is O(REGIONS), `fragmentation` and `unusable` are O(map).
impl<S: Shape, const REGIONS: usize, M: Mode> Figures for GoodFit<S, REGIONS, M> {
    fn usage(&self) -> Usage {
        let sum = |figure: fn(&Engine<S>) -> usize| bytes::<S>(self.used_engines().map(figure).sum());
        let capacity = sum(|engine| engine.capacity);
        let mut usage = Usage::new(1, capacity, capacity - sum(|engine| engine.free + engine.recent.size));
        usage.peak_allocated = capacity - sum(Engine::least_free);
        usage.metadata_bytes = sum(|engine| engine.region.map_span());
        usage.failures = self.failures;
        usage
    }

    fn fragmentation(&self) -> Fragmentation {
        let (mut free, mut largest, mut holes) = (0, 0, 0);
        for hole in self.used_engines().flat_map(|engine| engine.holes(engine.region.first())) {
            free += hole.size;
            largest = hole.size.max(largest);
            holes += 1;
        }
        Fragmentation::new(bytes::<S>(free), bytes::<S>(largest), holes)
    }

    fn unusable(&self, units: u64) -> Ratio {
        let holes = self.used_engines().flat_map(|engine| engine.holes(engine.region.first()));
        let too_small: u64 = holes.map(|hole| bytes::<S>(hole.size)).filter(|size| *size < units).sum();
        Ratio::new(
            too_small,
            bytes::<S>(self.used_engines().map(|engine| engine.free + engine.recent.size).sum()),
        )
    }
}

/// As the heap below; blocks in the quick lists count as allocated.
impl<S: Shape, const REGIONS: usize> Figures for QuickLists<S, REGIONS> {
    fn usage(&self) -> Usage {
        self.heap().usage()
    }

    fn fragmentation(&self) -> Fragmentation {
        self.heap().fragmentation()
    }

    fn unusable(&self, units: u64) -> Ratio {
        self.heap().unusable(units)
    }
}

fn bytes<S: Shape>(granules: usize) -> u64 {
    (granules as u64) << S::LOG2_GRANULE
}
