//! Allocation: from the index downwards, or at a place.
#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::layout::{MAX_LEVELS, NONE};
use crate::row::{Runs, bit, bit_number, full, low};

impl<G: Geometry> Engine<'_, G> {
    /// Takes a block of 2^order frames; its offset. O(levels).
    #[inline]
    pub(super) fn take_order(&mut self, order: u32) -> Option<usize> {
        if order == 0 {
            if let Some(offset) = self.take_hot() {
                return Some(offset);
            }
        } else if order == G::HUGE {
            if let Some(offset) = self.take_hot_huge() {
                return Some(offset);
            }
        }
        let offset = self.take_units(order)?;
        self.count_taken(1 << order);
        Some(offset)
    }

    /// Takes the lowest frame of the row at hand.
    #[inline(always)]
    pub(super) fn take_hot(&mut self) -> Option<usize> {
        let here = self.level(0);
        let (at, shift) = (here.hot, here.shift);
        let word = self.word_at(at);
        if word == G::Word::ZERO {
            return None;
        }
        let position = word.lowest();
        self.set_word_at(at, word & !(G::Word::ONE << position));
        self.count_taken(1);
        Some(at.wrapping_sub(shift) << G::LOG2 | position as usize)
    }

    /// Takes all frames of a run if all are free; whether it did. Puts hot rows back. O(blocks × levels).
    pub(super) fn take_run(&mut self, offset: usize, count: u64) -> bool {
        self.put_all_back();
        if !self.is_run_free(offset, count) {
            return false;
        }
        for (at, order) in self.blocks(offset, count) {
            self.take_block(at, order);
        }
        self.count_taken(count);
        true
    }

    /// Whether all frames of a run inside the banks are free. O(blocks × levels).
    pub(super) fn is_run_free(&self, offset: usize, count: u64) -> bool {
        self.blocks(offset, count).all(|(at, order)| self.is_block_free(at, order))
    }

    /// Puts every hot row back into the index.
    pub(super) fn put_all_back(&mut self) {
        for level in 0..self.layout.count {
            self.put_back(level);
        }
    }

    #[inline(always)]
    pub(super) fn count_taken(&mut self, frames: u64) {
        self.free -= frames;
        self.least_free = self.least_free.min(self.free);
    }

    #[inline]
    fn take_units(&mut self, order: u32) -> Option<usize> {
        let (wanted, class) = Self::place_of(order);
        if order != G::HUGE && order != 0 {
            let fitting = self.level(wanted).classes >> class;
            if wanted < self.layout.count && fitting != 0 {
                return self.take_indexed(wanted, class, class + fitting.trailing_zeros());
            }
        }
        self.take_split(order)
    }

    /// Takes the lowest huge page of the row at hand. Apart from the rest, because its level and class are constants.
    #[inline(always)]
    pub(super) fn take_hot_huge(&mut self) -> Option<usize> {
        let (level, class) = const { ((G::HUGE / G::LOG2) as usize, G::HUGE % G::LOG2) };
        let here = self.level(level);
        let (at, shift) = (here.hot, here.shift);
        let word = self.word_at(at);
        let starts = Runs::<G>::of(word).of_class(class);
        if starts == G::Word::ZERO {
            return None;
        }
        let position = starts.lowest();
        self.set_word_at(at, word & !(low::<G>(class) << position));
        self.count_taken(1 << G::HUGE);
        let row = at.wrapping_sub(shift);
        Some((row << G::LOG2 | position as usize) << (G::LOG2 as usize * level))
    }

    /// Takes a run of `class` from the lowest row of class `found`.
    #[inline(always)]
    fn take_indexed(&mut self, level: usize, class: u32, found: u32) -> Option<usize> {
        let row = self.lowest(level, found);
        let at = self.slot(level, row);
        let word = self.word_at(at);
        let runs = Runs::<G>::of(word);
        let position = runs.place(class)?;
        let rest = word & !(low::<G>(class) << position);
        self.set_word_at(at, rest);
        // Another run of the row's class: it stays where it is in the index.
        let broken = G::Word::ONE << (position >> found << found);
        if runs.of_class(found) & !broken == G::Word::ZERO {
            self.leave(level, row, found);
            if rest != G::Word::ZERO {
                self.enter(level, row, Runs::<G>::of(rest).largest());
            }
        }
        Some((row << G::LOG2 | position as usize) << (G::LOG2 as usize * level))
    }

    /// Takes a block from the level's own rows or by splitting a unit of a higher one; a row that serves single frames
    /// or huge pages becomes hot.
    #[inline(never)]
    fn take_split(&mut self, order: u32) -> Option<usize> {
        let (wanted, class) = Self::place_of(order);
        let keeps_hot = order == 0 || order == G::HUGE;
        let (mut level, mut row, found) = self.find(wanted, class)?;
        // The row that was found: it gives a unit to split, or the block itself.
        let taken = if level == wanted { class } else { 0 };
        let word = self.row(level, row);
        let position = Runs::<G>::of(word).place(taken)?;
        let mut rest = word & !(low::<G>(taken) << position);
        let mut indexed = Some(found);
        let mut unit = row << G::LOG2 | position as usize;
        // Each row below is full and comes to the index, less what goes further down.
        while level > wanted {
            self.reindex(level, row, indexed, rest);
            level -= 1;
            row = unit;
            rest = full::<G>() & !low::<G>(if level == wanted { class } else { 0 });
            indexed = None;
            unit = row << G::LOG2;
        }
        if keeps_hot {
            self.put_back(level);
            if let Some(class) = indexed {
                self.leave(level, row, class);
            }
            let at = self.slot(level, row);
            self.set_word_at(at, rest);
            self.layout.levels[level % MAX_LEVELS].hot = at;
        } else {
            self.reindex(level, row, indexed, rest);
        }
        Some(unit << (G::LOG2 as usize * wanted))
    }

    /// The row to take a run of `class` on level `wanted` from, or a unit above it: level, row, and the row's class.
    #[inline]
    fn find(&mut self, wanted: usize, class: u32) -> Option<(usize, usize, u32)> {
        let (mut level, mut least) = (wanted, class);
        while level < self.layout.count {
            let fitting = self.level(level).classes >> least;
            if fitting != 0 {
                let found = least + fitting.trailing_zeros();
                return Some((level, self.lowest(level, found), found));
            }
            if !self.put_back_for(level, least) {
                (level, least) = (level + 1, 0);
            }
        }
        None
    }

    /// Puts back those hot rows that hold, or complete, a run of `class` on `level`; whether there was one.
    fn put_back_for(&mut self, level: usize, class: u32) -> bool {
        let mut any = false;
        for lower in 0..=level {
            let word = self.word_at(self.level(lower).hot);
            let helps = word == full::<G>()
                || lower == level && Self::class(word).is_some_and(|largest| largest >= class);
            if helps {
                self.put_back(lower);
                any = true;
            }
        }
        any
    }

    /// Puts the hot row of a level back into the index, or into its parent if it is full.
    fn put_back(&mut self, level: usize) {
        let Some(row) = self.hot_row(level) else { return };
        self.layout.levels[level % MAX_LEVELS].hot = NONE;
        let word = self.row(level, row);
        if word == full::<G>() {
            self.fill(level, row);
        } else if let Some(class) = Self::class(word) {
            self.enter(level, row, class);
        }
    }

    /// Writes a row that is not hot, and moves it in the index from the class it is indexed under.
    #[inline(always)]
    pub(super) fn reindex(&mut self, level: usize, row: usize, indexed: Option<u32>, word: G::Word) {
        self.set_word_at(self.slot(level, row), word);
        let class = Self::class(word);
        if indexed != class {
            if let Some(class) = indexed {
                self.leave(level, row, class);
            }
            if let Some(class) = class {
                self.enter(level, row, class);
            }
        }
    }

    /// Whether a block is free. With hot rows it may say no to one that they complete.
    fn is_block_free(&self, offset: usize, order: u32) -> bool {
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let mask = low::<G>(class) << bit_number::<G>(unit);
        self.row(level, row) & mask == mask
            && (!self.is_whole(level, row) || self.is_free_as_a_whole(level, row))
    }

    /// Takes a block that is free; no row is hot.
    pub(super) fn take_block(&mut self, offset: usize, order: u32) {
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let mask = low::<G>(class) << bit_number::<G>(unit);
        self.split_above(level, row);
        let word = self.row(level, row);
        self.reindex(level, row, Self::class(word), word & !mask);
    }

    /// Makes a full row that is free speak for itself: its parents are split. O(levels).
    fn split_above(&mut self, level: usize, row: usize) {
        if self.row(level, row) != full::<G>() || level + 1 >= self.layout.count {
            return;
        }
        let parent = row >> G::LOG2;
        self.split_above(level + 1, parent);
        let word = self.row(level + 1, parent);
        self.reindex(level + 1, parent, Self::class(word), word & !bit::<G>(row));
    }
}
