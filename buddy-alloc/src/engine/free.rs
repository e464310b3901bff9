//! Giving back: a bit is set, and a row that fills up is merged into its parent.
#![forbid(unsafe_code)]

use hectare_core::FreeError;

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::layout::{MAX_LEVELS, NONE};
use crate::row::{bit, bit_number, full, low};

impl<G: Geometry> Engine<'_, G> {
    /// Takes 2^order frames back, which lie in a bank; or changes nothing.
    #[inline]
    pub(super) fn give_order(&mut self, offset: usize, order: u32) -> Result<(), FreeError> {
        if order >= self.orders() {
            return Err(FreeError::Foreign);
        }
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let mask = low::<G>(class) << bit_number::<G>(unit);
        let allocated = self.row(level, row) & mask == G::Word::ZERO;
        if !(allocated && (level == 0 || self.are_units_whole(level, unit, 1 << class))) {
            self.prepare(level, row, unit, class)?;
        }
        self.set(level, row, mask);
        self.free += 1 << order;
        Ok(())
    }

    /// A block that is given back is a part of a larger one, or several smaller ones: makes its row speak for itself, and
    /// the rows of its units full. Or changes nothing, if a frame of it is free.
    #[inline(never)]
    fn prepare(&mut self, level: usize, row: usize, unit: usize, class: u32) -> Result<(), FreeError> {
        if self.row(level, row) & (low::<G>(class) << bit_number::<G>(unit)) == G::Word::ZERO {
            if !self.are_units_allocated(level, unit, 1 << class) {
                return Err(FreeError::NotAllocated);
            }
            self.fill_units(level, unit, 1 << class);
        } else if self.is_allocated_as_a_whole(level, row) {
            self.break_up(level, row);
        } else {
            return Err(FreeError::NotAllocated);
        }
        Ok(())
    }

    /// Takes one frame back if it lies in the row at hand and is allocated; whether it did.
    #[inline(always)]
    pub(super) fn give_hot(&mut self, offset: usize) -> bool {
        let (hot, shift) = (self.level(0).hot, self.level(0).shift);
        if (offset >> G::LOG2).wrapping_add(shift) != hot || !self.is_block(offset, 1) {
            return false;
        }
        // The place of the hot row rather than that of the frame's: it is known earlier.
        let word = self.word_at(hot);
        if word & bit::<G>(offset) != G::Word::ZERO {
            return false;
        }
        self.set_word_at(hot, word | bit::<G>(offset));
        self.free += 1;
        self.unmark(offset);
        true
    }

    /// Takes a huge page back if it lies in the row at hand and was allocated as a whole; whether it did.
    #[inline(always)]
    pub(super) fn give_hot_huge(&mut self, offset: usize) -> bool {
        let (level, class) = const { ((G::HUGE / G::LOG2) as usize, G::HUGE % G::LOG2) };
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let (at, mask) = (self.level(level).hot, low::<G>(class) << bit_number::<G>(unit));
        let word = self.word_at(at);
        if at != self.slot(level, row)
            || word & mask != G::Word::ZERO
            || !self.are_units_whole(level, unit, 1 << class)
            || !self.is_block(offset, 1 << G::HUGE)
        {
            return false;
        }
        self.unmark(offset);
        self.set_word_at(at, word | mask);
        self.free += 1 << G::HUGE;
        true
    }

    /// Takes a run back whose frames all lie in a bank and are allocated.
    pub(super) fn give_run(&mut self, offset: usize, count: u64) {
        for (at, order) in self.blocks(offset, count) {
            let given = self.give_order(at, order);
            debug_assert!(given.is_ok(), "a run was given back that is not allocated");
        }
    }

    /// Whether no frame of a run is free. O(blocks × rows of one).
    pub(super) fn is_run_allocated(&self, offset: usize, count: u64) -> bool {
        self.blocks(offset, count).all(|(at, order)| self.is_block_allocated(at, order))
    }

    /// Whether no frame of a block is free.
    #[inline]
    fn is_block_allocated(&self, offset: usize, order: u32) -> bool {
        let (level, class) = Self::place_of(order);
        let (row, unit) = (Self::row_of(level, offset), Self::unit_of(level, offset));
        let word = self.row(level, row);
        if word & (low::<G>(class) << bit_number::<G>(unit)) == G::Word::ZERO {
            level == 0 || self.are_units_allocated(level, unit, 1 << class)
        } else {
            self.is_allocated_as_a_whole(level, row)
        }
    }

    /// Whether a row is full because it was allocated as a whole.
    fn is_allocated_as_a_whole(&self, level: usize, row: usize) -> bool {
        // The planted fault: whatever a full row stands for is taken for allocated.
        let trusts = cfg!(hectare_plant = "buddy_whole_row");
        self.is_whole(level, row) && (trusts || !self.is_free_as_a_whole(level, row))
    }

    /// Whether the rows of these units, whose bits are clear, are full: they were allocated as a whole.
    #[inline(always)]
    fn are_units_whole(&self, level: usize, first: usize, count: usize) -> bool {
        let below = self.level(level.wrapping_sub(1));
        let start = first.wrapping_add(below.shift);
        let rows = self.words.get(start..start.wrapping_add(count)).unwrap_or_default();
        let all = rows.iter().fold(full::<G>(), |all, word| all & *word);
        rows.len() == count && all == full::<G>() && below.hot.wrapping_sub(start) >= count
    }

    /// Whether no frame of these units, whose bits are clear, is free.
    fn are_units_allocated(&self, level: usize, first: usize, count: usize) -> bool {
        (first..first + count).all(|row| {
            let word = self.row(level - 1, row);
            if word == G::Word::ZERO {
                level == 1 || self.are_units_allocated(level - 1, row << G::LOG2, 1 << G::LOG2)
            } else {
                self.is_whole(level - 1, row)
            }
        })
    }

    /// A row that is allocated as a whole comes to speak for itself, with all its units allocated; so do its parents.
    #[cold]
    fn break_up(&mut self, level: usize, row: usize) {
        let (mut level, mut row) = (level, row);
        while level < self.layout.count && self.is_whole(level, row) {
            self.set_word_at(self.slot(level, row), G::Word::ZERO);
            (level, row) = (level + 1, row >> G::LOG2);
        }
    }

    /// The rows of these units, each allocated as a whole or in parts, become full.
    fn fill_units(&mut self, level: usize, first: usize, count: usize) {
        for row in first..first + count {
            if self.row(level - 1, row) == G::Word::ZERO {
                if level > 1 {
                    self.fill_units(level - 1, row << G::LOG2, 1 << G::LOG2);
                }
                if self.is_hot(level - 1, row) {
                    self.layout.levels[(level - 1) % MAX_LEVELS].hot = NONE;
                }
                self.set_word_at(self.slot(level - 1, row), full::<G>());
            }
        }
    }

    /// Sets bits in a row that speaks for itself.
    #[inline]
    pub(super) fn set(&mut self, level: usize, row: usize, mask: G::Word) {
        let at = self.slot(level, row);
        let before = self.word_at(at);
        let word = before | mask;
        if self.level(level).hot == at {
            self.set_word_at(at, word);
        } else if word == full::<G>() {
            self.set_word_at(at, word);
            if let Some(class) = Self::class(before) {
                self.leave(level, row, class);
            }
            self.fill(level, row);
        } else {
            self.reindex(level, row, Self::class(before), word);
        }
    }

    /// A row is full and free, and in no index: its parent gets it.
    pub(super) fn fill(&mut self, level: usize, row: usize) {
        // The planted fault: full rows are not merged.
        if level + 1 < self.layout.count && !cfg!(hectare_plant = "buddy_no_merge") {
            self.set(level + 1, row >> G::LOG2, bit::<G>(row));
        }
    }
}
