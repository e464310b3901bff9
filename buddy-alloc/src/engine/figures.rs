//! What is free: by order, by hole, in figures.
#![forbid(unsafe_code)]

use hectare_core::{Figures, Fragmentation, Frame, FrameRun, Ratio, Usage};

use crate::census::Census;
use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::row::{Runs, bit, bit_number, full};

impl<G: Geometry> Engine<'_, G> {
    /// The free blocks by order. O(rows).
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::EMPTY;
        for level in 0..self.layout.count {
            let here = self.level(level);
            let lowest = G::LOG2 as usize * level;
            for row in here.first..here.first + here.rows {
                let word = self.settled(level, row);
                if word == G::Word::ZERO || word == full::<G>() {
                    continue;
                }
                let runs = Runs::<G>::of(word);
                for class in 0..G::LOG2 {
                    census.add(lowest + class as usize, runs.maximal(class).ones().into());
                }
            }
        }
        census
    }

    /// The free blocks of one order, from the lowest address up. O(rows of its level).
    pub fn free_blocks(&self, order: hectare_core::Order) -> impl Iterator<Item = Frame> + '_ {
        let (level, class) = Self::place_of(order.get().into());
        let here = if level < self.layout.count { *self.level(level) } else { *self.level(0) };
        let rows = if level < self.layout.count { here.rows } else { 0 };
        (here.first..here.first + rows).flat_map(move |row| {
            let word = self.settled(level, row);
            let word = if word == full::<G>() { G::Word::ZERO } else { word };
            let mut starts = Runs::<G>::of(word).maximal(class);
            core::iter::from_fn(move || {
                let position = if starts == G::Word::ZERO { return None } else { starts.lowest() };
                starts = starts & !(G::Word::ONE << position);
                let unit = row << G::LOG2 | position as usize;
                Some(self.frame(unit << (G::LOG2 as usize * level)))
            })
        })
    }

    /// The maximal runs of free frames, from the lowest address up. O(rows) for all of them.
    pub fn free_runs(&self) -> impl Iterator<Item = FrameRun> + '_ {
        let here = self.level(0);
        let (mut at, end) = (here.first << G::LOG2, (here.first + here.rows) << G::LOG2);
        core::iter::from_fn(move || {
            while at < end {
                let free = self.free_bits(at >> G::LOG2) >> bit_number::<G>(at);
                if free != G::Word::ZERO {
                    at += free.lowest() as usize;
                    break;
                }
                at = (at >> G::LOG2 << G::LOG2) + (1 << G::LOG2);
            }
            let start = at;
            while at < end {
                let used = (!self.free_bits(at >> G::LOG2) & full::<G>()) >> bit_number::<G>(at);
                if used != G::Word::ZERO {
                    at += used.lowest() as usize;
                    break;
                }
                at = (at >> G::LOG2 << G::LOG2) + (1 << G::LOG2);
            }
            FrameRun::new(self.frame(start), (at - start) as u64)
        })
    }

    /// Whether a frame is free; `false` outside the banks. O(levels).
    #[must_use]
    pub fn is_free(&self, frame: Frame) -> bool {
        let offset = self.offset(frame);
        self.banks.hold(frame, 1) && self.free_bits(offset >> G::LOG2) & bit::<G>(offset) != G::Word::ZERO
    }

    /// The frames of a row of level 0 that are free.
    pub(super) fn free_bits(&self, row: usize) -> G::Word {
        if self.is_whole(0, row) && !self.is_free_as_a_whole(0, row) {
            G::Word::ZERO
        } else {
            self.row(0, row)
        }
    }

    /// A row as it is when the rows at hand that are full have gone to their parents.
    pub(super) fn settled(&self, level: usize, row: usize) -> G::Word {
        let mut word = self.row(level, row);
        for (lower, mut child) in self.full_at_hand().filter(|(lower, _)| *lower < level) {
            for _ in lower + 1..level {
                child >>= G::LOG2;
            }
            if child >> G::LOG2 == row && self.settled(level - 1, child) == full::<G>() {
                word = word | bit::<G>(child);
            }
        }
        word
    }
}

impl<G: Geometry> Figures for Engine<'_, G> {
    /// In frames: the unit is 1, because the engine does not know how large a frame is. O(1).
    fn usage(&self) -> Usage {
        let mut usage = Usage::new(1, self.capacity(), self.capacity().saturating_sub(self.free.now()));
        usage.peak_allocated = self.capacity().saturating_sub(self.free.least());
        usage.failures.out_of_memory = self.refused.0;
        usage.failures.fragmented = self.refused.1;
        usage
    }

    /// Of holes in the sense of address space, not of blocks. O(rows).
    fn fragmentation(&self) -> Fragmentation {
        let (mut largest, mut holes) = (0, 0);
        for run in self.free_runs() {
            largest = run.count().max(largest);
            holes += 1;
        }
        Fragmentation::new(self.free.now(), largest, holes)
    }

    /// Counted in blocks: the share of the free frames that no block of the order that holds `units` contains. O(rows).
    fn unusable(&self, units: u64) -> Ratio {
        self.census().unusable(units)
    }
}
