//! Giving back: a bit is set, and a row that fills up is merged into its parent.
#![forbid(unsafe_code)]

use hectare_core::FreeError;

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
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
        if !(allocated && (level == 0 || self.are_wholes(level, row, mask))) {
            self.prepare(level, row, unit, class)?;
        }
        self.set(level, row, mask);
        self.free.give(1 << order);
        if order != 0 {
            self.hand.remember(order, offset, self.slot(level, row) <= self.hand.hint(order));
        }
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
        while self.is_whole(level, row) {
            self.set_word_at(self.slot(level, row), G::Word::ZERO);
            self.clear_whole(level + 1, row);
            (level, row) = (level + 1, row >> G::LOG2);
        }
    }

    /// Units whose bits are clear, each allocated as a whole or in parts, become wholes.
    fn fill_units(&mut self, level: usize, first: usize, count: usize) {
        for row in first..first + count {
            if self.is_whole(level - 1, row) {
                continue;
            }
            if level > 1 {
                self.fill_units(level - 1, row << G::LOG2, 1 << G::LOG2);
            }
            self.forget(level - 1, row);
            self.set_word_at(self.slot(level - 1, row), full::<G>());
            self.set_wholes(level, row >> G::LOG2, bit::<G>(row));
        }
    }

    /// Sets bits in a row that speaks for itself.
    #[inline]
    pub(super) fn set(&mut self, level: usize, row: usize, mask: G::Word) {
        if !self.is_at_hand(level, row) {
            self.add(level, row);
        }
        let at = self.slot(level, row);
        let word = self.word_at(at) | mask;
        self.set_word_at(at, word);
        if word == full::<G>() {
            self.forget(level, row);
            self.fill(level, row);
        }
    }

    /// A row is full and free, neither at hand nor in an index: its parent gets it.
    pub(super) fn fill(&mut self, level: usize, row: usize) {
        // The planted fault: full rows are not merged.
        if level + 1 < self.layout.count && !cfg!(hectare_plant = "buddy_no_merge") {
            let (parent, unit) = (row >> G::LOG2, bit::<G>(row));
            self.set_wholes(level + 1, parent, unit);
            self.set(level + 1, parent, unit);
        }
    }
}
