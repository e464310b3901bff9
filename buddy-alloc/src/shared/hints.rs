//! Which rows probably have a run of which length. Hints may be wrong: what is taken is taken from the rows themselves,
//! and nothing is refused before they have been looked at.
#![forbid(unsafe_code)]

use crate::geometry::{Geometry, Word};
use crate::row::Runs;
use crate::shared::Rows;
use crate::shared::bits::{bit, class, low, number};

impl<G: Geometry> Rows<'_, G> {
    /// A row got bits, and is `word` now: it is hinted at under its class. The hint under the class that it had stays, and
    /// who takes bits leaves all hints alone: until [somebody follows one](Self::suits) that is wrong.
    #[inline]
    pub(super) fn reindex(&self, level: usize, row: usize, word: u64) {
        if level + 1 < self.layout.count {
            if let Some(class) = class::<G>(word) {
                self.enter(level, row, class);
            }
        }
    }

    /// The same for a row that got 2^class bits from `unit` on: only if they are the first of their class, or make a longer
    /// run with their other half, does the row need a new hint.
    #[inline(always)]
    pub(super) fn reindex_after(&self, level: usize, unit: usize, class: u32, before: u64, word: u64) {
        let other = low(class) << number::<G>(unit ^ 1 << class);
        let any = Runs::<G>::of(G::Word::truncate(before)).of_class(class) != G::Word::ZERO;
        if !any || before & other == other {
            self.reindex(level, unit >> G::LOG2, word);
        }
    }

    /// Whether to take 2^wanted units from a row that was hinted at under `hinted`: not if its longest run is too short, nor if
    /// it is longer, because the row is hinted at under that, too. A wrong hint is corrected.
    #[inline]
    pub(super) fn suits(&self, level: usize, row: usize, hinted: u32, wanted: u32) -> bool {
        let class = class::<G>(self.row(level, row));
        if class != Some(hinted) {
            self.correct(level, row, hinted);
        }
        class.is_some_and(|class| (wanted..=hinted).contains(&class))
    }

    /// The hint at a row was wrong.
    pub(super) fn correct(&self, level: usize, row: usize, hinted: u32) {
        if level + 1 < self.layout.count {
            self.leave(level, row, hinted);
            self.reindex(level, row, self.row(level, row));
        }
    }

    /// Hints at a row. O(levels), mostly one word.
    #[inline]
    fn enter(&self, level: usize, row: usize, class: u32) {
        let mut unit = row;
        for above in level + 1..self.layout.count {
            let at = self.layout.hint::<G>(level, class, above, unit >> G::LOG2);
            if self.peek(at) & bit::<G>(unit) != 0 || self.set_bits(at, bit::<G>(unit)) != 0 {
                return;
            }
            unit >>= G::LOG2;
        }
    }

    /// Takes the hint at a row away, unless it is right by now. Hints above are taken away by who searches.
    #[inline]
    fn leave(&self, level: usize, row: usize, hinted: u32) {
        let at = self.layout.hint::<G>(level, hinted, level + 1, row >> G::LOG2);
        if self.peek(at) & bit::<G>(row) == 0 {
            return;
        }
        self.clear_bits(at, bit::<G>(row));
        if class::<G>(self.row(level, row)) == Some(hinted) {
            self.enter(level, row, hinted);
        }
    }

    /// The lowest row of a level from `from` on that is hinted at under this class.
    pub(super) fn next(&self, level: usize, hinted: u32, from: usize) -> Option<usize> {
        let top = self.layout.count - 1;
        let row = self.layout.level(top).first;
        if level == top {
            // Nobody hints at the one row at the top.
            return Some(row).filter(|row| *row >= from && class::<G>(self.row(level, *row)) == Some(hinted));
        }
        self.next_below(level, hinted, top, row, from)
    }

    /// The same, under one row above.
    fn next_below(&self, level: usize, hinted: u32, above: usize, row: usize, from: usize) -> Option<usize> {
        let at = self.layout.hint::<G>(level, hinted, above, row);
        let least = from >> (G::LOG2 as usize * (above - 1 - level));
        let mut units = self.peek(at);
        if least >> G::LOG2 == row {
            units &= u64::MAX << number::<G>(least);
        } else if least >> G::LOG2 > row {
            return None;
        }
        while units != 0 {
            let unit = row << G::LOG2 | units.trailing_zeros() as usize;
            if above - 1 == level {
                return Some(unit);
            }
            if let Some(found) = self.next_below(level, hinted, above - 1, unit, from) {
                return Some(found);
            }
            let below = self.layout.hint::<G>(level, hinted, above - 1, unit);
            if self.peek(below) == 0 {
                self.clear_bits(at, bit::<G>(unit));
                if self.load(below) != 0 {
                    self.set_bits(at, bit::<G>(unit));
                }
            }
            units &= units - 1;
        }
        None
    }
}
