//! Which rows probably have a run of which length. Hints may be wrong: what is taken is taken from the rows themselves,
//! and nothing is refused before they have been looked at.
#![forbid(unsafe_code)]

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::bits::{bit, class, number};

impl<G: Geometry> Rows<'_, G> {
    /// A row changed: it is hinted at under its new class.
    #[inline]
    pub(super) fn reindex(&self, level: usize, row: usize, before: u64, after: u64) {
        self.rehint(level, row, class::<G>(before), class::<G>(after));
    }

    /// The same, by class.
    #[inline]
    pub(super) fn rehint(&self, level: usize, row: usize, before: Option<u32>, after: Option<u32>) {
        if before != after && level + 1 < self.layout.count {
            if let Some(class) = after {
                self.enter(level, row, class);
            }
            if let Some(class) = before {
                self.leave(level, row, class);
            }
        }
    }

    /// Hints at a row. O(levels), mostly one word.
    #[inline]
    pub(super) fn enter(&self, level: usize, row: usize, class: u32) {
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
    pub(super) fn leave(&self, level: usize, row: usize, hinted: u32) {
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
