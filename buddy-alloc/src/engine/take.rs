//! Allocation: from the index downwards, or at a place.
#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::geometry::Geometry;
use crate::row::{Runs, bit, bit_number, full, low};

impl<G: Geometry> Engine<'_, G> {
    /// Takes a block of 2^order frames; its offset. O(levels).
    #[inline]
    pub(super) fn take_order(&mut self, order: u32) -> Option<usize> {
        if order == 0 {
            return self
                .take_frame_at_hand()
                .or_else(|| self.take_next_frame())
                .or_else(|| self.take_found_frame());
        }
        self.take_recent(order).or_else(|| self.take_found(order))
    }

    /// Takes all frames of a run if all are free; whether it did. Puts rows at hand back. O(blocks × levels).
    pub(super) fn take_run(&mut self, offset: usize, count: u64) -> bool {
        self.put_all_back();
        if !self.is_run_free(offset, count) {
            return false;
        }
        for (at, order) in self.blocks(offset, count) {
            self.take_block(at, order);
        }
        self.free.take(count);
        true
    }

    /// Whether all frames of a run inside the banks are free. O(blocks × levels).
    pub(super) fn is_run_free(&self, offset: usize, count: u64) -> bool {
        self.blocks(offset, count).all(|(at, order)| self.is_block_free(at, order))
    }

    /// Takes a block from the row that the index says, or by splitting a unit of a higher level.
    #[inline(never)]
    pub(super) fn take_found(&mut self, order: u32) -> Option<usize> {
        self.take_found_of(order)
    }

    /// Takes a frame from the row that the index says, which gives the next ones, too. No frame is at hand.
    #[inline(never)]
    pub(super) fn take_found_frame(&mut self) -> Option<usize> {
        self.take_found_of(0)
    }

    #[inline(always)]
    fn take_found_of(&mut self, order: u32) -> Option<usize> {
        let (wanted, class) = Self::place_of(order);
        let (mut level, mut row) = loop {
            let (level, row) = self.find(wanted, class)?;
            if order == 0 && level == 0 {
                self.let_go();
                self.hold(row);
                return self.take_frame_at_hand();
            }
            if self.bring(level, row) {
                break (level, row);
            }
        };
        // The row that was found: it gives a unit to split, or the block itself.
        let taken = if level == wanted { class } else { 0 };
        let mut at = self.slot(level, row);
        let word = self.word_at(at);
        let position = Runs::<G>::of(word).place(taken)?;
        self.set_word_at(at, word & !(low::<G>(taken) << position));
        let mut unit = row << G::LOG2 | position as usize;
        // Each row below was a whole; now it speaks for itself, less what goes further down.
        while level > wanted {
            self.clear_whole(level, unit);
            (level, row) = (level - 1, unit);
            at = self.slot(level, row);
            if order == 0 && level == 0 {
                self.let_go();
                self.hold(row);
            } else {
                self.add(level, row);
            }
            self.set_word_at(at, full::<G>() & !low::<G>(if level == wanted { class } else { 0 }));
            unit = row << G::LOG2;
        }
        if order != 0 {
            self.hand.set_hint(order, at);
        }
        self.free.take(1 << order);
        Some(unit << (G::LOG2 as usize * wanted))
    }

    /// The row to take a run of `class` on level `wanted` from, or a unit above it: level and row.
    ///
    /// The index may offer rows that have no such run any more, and learns of them then. What it does not know of is free
    /// besides; so it is believed at once only if nothing smaller could be hidden.
    #[inline(always)]
    fn find(&mut self, wanted: usize, class: u32) -> Option<(usize, usize)> {
        let (mut level, mut least) = (wanted, class);
        while level < self.layout.count {
            let fitting = self.level(level).classes >> least;
            if fitting & 1 == 0 && self.is_unsettled(level, if fitting == 0 { 0 } else { G::AT_HAND / 32 }) {
                self.settle(level);
                (level, least) = (wanted, class);
            } else if fitting == 0 {
                (level, least) = (level + 1, 0);
                // Full rows of level 0 go up.
                if level == self.layout.count && self.is_unsettled(0, 0) {
                    self.settle(0);
                    (level, least) = (wanted, class);
                }
            } else {
                let class = least + fitting.trailing_zeros();
                let row = self.lowest(level, class);
                if !self.is_at_hand(level, row) || Self::class(self.row(level, row)) == Some(class) {
                    return Some((level, row));
                }
                self.settle_one(level, row);
            }
        }
        None
    }

    /// The index learns what a row has, which is not full.
    #[inline(always)]
    pub(super) fn reindex(&mut self, level: usize, row: usize, word: G::Word) {
        let (before, class) = (self.noted(level, row), Self::class(word));
        let number = |class: Option<u32>| class.map_or(0, |class| class + 1);
        self.move_in_index(level, row, number(before), number(class));
        self.note(level, row, class);
    }

    /// A row that is not at hand loses these bits.
    fn clear(&mut self, level: usize, row: usize, mask: G::Word) {
        let word = self.row(level, row) & !mask;
        self.set_word_at(self.slot(level, row), word);
        self.reindex(level, row, word);
    }

    /// Whether a block is free. With rows at hand it may say no to one that they complete.
    fn is_block_free(&self, offset: usize, order: u32) -> bool {
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let mask = low::<G>(class) << bit_number::<G>(unit);
        self.row(level, row) & mask == mask
            && (!self.is_whole(level, row) || self.is_free_as_a_whole(level, row))
    }

    /// Takes a block that is free; no row is at hand.
    pub(super) fn take_block(&mut self, offset: usize, order: u32) {
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let mask = low::<G>(class) << bit_number::<G>(unit);
        self.split_above(level, row);
        self.clear(level, row, mask);
    }

    /// Makes a row that is free as a whole speak for itself: its parents are split. O(levels).
    fn split_above(&mut self, level: usize, row: usize) {
        if !self.is_whole(level, row) {
            return;
        }
        let parent = row >> G::LOG2;
        self.split_above(level + 1, parent);
        self.clear_whole(level + 1, row);
        self.clear(level + 1, parent, bit::<G>(row));
    }
}
