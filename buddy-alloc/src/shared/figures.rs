//! What is free. All of it is exact while nobody calls, and near enough otherwise.
#![forbid(unsafe_code)]

use hectare_core::{CpuPin, Figures, Fragmentation, Frame, FrameRun, Ratio, Usage};

use crate::census::Census;
use crate::geometry::{Geometry, Word};
use crate::row::Runs;
use crate::shared::bits::{bit, full, number};
use crate::shared::{Rows, Shared};

impl<C, G: Geometry> Shared<'_, C, G> {
    /// The free blocks by order. Stocks are counted as if they were put back, but not merged with others. O(rows).
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::EMPTY;
        for level in 0..self.rows.layout.count {
            let here = self.rows.layout.level(level);
            let lowest = G::LOG2 as usize * level;
            for row in here.first..here.first + here.rows {
                let word = if level == 0 { self.rows.with_stock(row) } else { self.rows.row(level, row) };
                if word == full::<G>() {
                    // Not put back yet: a unit that the row above does not have.
                    let whole = level == 0 && self.rows.row(0, row) != full::<G>();
                    census.add(G::LOG2 as usize, u64::from(whole));
                    continue;
                }
                let runs = Runs::<G>::of(G::Word::truncate(word));
                for class in 0..G::LOG2 {
                    census.add(lowest + class as usize, runs.maximal(class).ones().into());
                }
            }
        }
        census
    }

    /// The maximal runs of free frames, from the lowest address up; stocks are free. O(rows × slots) for all of them.
    pub fn free_runs(&self) -> impl Iterator<Item = FrameRun> + '_ {
        let rows = self.rows.layout.level(0);
        let (mut at, end) = (rows.first << G::LOG2, (rows.first + rows.rows) << G::LOG2);
        let free = move |at: usize| at < end && self.rows.free_with_stock(at >> G::LOG2) & bit::<G>(at) != 0;
        core::iter::from_fn(move || {
            while at < end && !free(at) {
                let rest = self.rows.free_with_stock(at >> G::LOG2) >> number::<G>(at);
                at = if rest == 0 { ((at >> G::LOG2) + 1) << G::LOG2 } else { at + 1 };
            }
            let start = at;
            while free(at) {
                at += 1;
            }
            FrameRun::new(self.rows.frame(start), (at - start) as u64)
        })
    }

    /// Whether a frame is free; `false` outside the banks. O(levels + slots).
    #[must_use]
    pub fn is_free(&self, frame: Frame) -> bool {
        let offset = self.rows.offset(frame);
        self.rows.manages(frame, 1) && self.rows.free_with_stock(offset >> G::LOG2) & bit::<G>(offset) != 0
    }
}

impl<G: Geometry> Rows<'_, G> {
    /// The stock that some slot has of a row.
    pub(super) fn stock_in(&self, row: usize) -> u64 {
        let stocks = (0..self.layout.slot_count).filter_map(|slot| self.stock_at_rest(slot));
        stocks.filter(|stock| stock.0 == row).fold(0, |all, stock| all | stock.1)
    }

    pub(super) fn with_stock(&self, row: usize) -> u64 {
        self.row(0, row) | self.stock_in(row)
    }

    pub(super) fn free_with_stock(&self, row: usize) -> u64 {
        self.free_bits(row) | self.stock_in(row)
    }
}

impl<C: CpuPin, G: Geometry> Figures for Shared<'_, C, G> {
    /// In frames: the unit is 1, because the engine does not know how large a frame is. The peak is what is allocated
    /// now: nobody counts more on the common path. O(slots).
    fn usage(&self) -> Usage {
        let mut usage = Usage::new(1, self.capacity(), self.rows.used().min(self.capacity()));
        (usage.failures.out_of_memory, usage.failures.fragmented) = self.rows.refused();
        usage
    }

    /// Of holes in the sense of address space, not of blocks. O(frames).
    fn fragmentation(&self) -> Fragmentation {
        let (mut largest, mut holes) = (0, 0);
        let free = self.free_runs().fold(0, |free, run| {
            largest = run.count().max(largest);
            holes += 1;
            free + run.count()
        });
        Fragmentation::new(free, largest, holes)
    }

    /// Counted in blocks: the share of the free frames that no block of the order that holds `units` contains. O(rows).
    fn unusable(&self, units: u64) -> Ratio {
        self.census().unusable(units)
    }
}
