//! Giving back: one compare-and-swap sets the bits; who fills a row carries it into the row above.
#![forbid(unsafe_code)]

use hectare_core::sync::atomic::Ordering::Acquire;
use hectare_core::{FreeError, Slot};

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::bits::{bit, full, low, number, place_of, unit_of};
use crate::shared::hand::{GIVEN, Hand, count};

impl<G: Geometry> Rows<'_, G> {
    /// Takes back 2^order frames that lie in a bank; or changes nothing.
    #[inline]
    pub(super) fn give(&self, hand: &mut Hand, offset: usize, order: u32) -> Result<(), FreeError> {
        let (level, class) = place_of::<G>(order);
        if level >= self.layout.count {
            return Err(FreeError::Foreign);
        }
        let unit = unit_of::<G>(level, offset);
        let (row, mask) = (unit >> G::LOG2, low(class) << number::<G>(unit));
        self.give_mask(hand, level, row, mask)?;
        self.count_given(hand, 1 << order);
        Ok(())
    }

    /// Takes back frames or units of one row that lie in banks, uncounted; or changes nothing.
    #[inline]
    pub(super) fn give_mask(
        &self,
        hand: &mut Hand,
        level: usize,
        row: usize,
        mask: u64,
    ) -> Result<(), FreeError> {
        if level > 0 {
            return self.give_units(hand, level, row, mask);
        }
        // The row of the last frames, once more.
        let again = |hand: &mut Hand| self.last_row(hand) == Some(row) && self.follow(hand, row, mask);
        if !self.give_stock(hand, row, mask) && !again(hand) {
            self.give_row(hand, row, mask)?;
            self.set_last_row(hand, row);
        }
        Ok(())
    }

    /// Takes back a block of the order that has a path of its own, in the usual case: its rows were never split, its row
    /// speaks for itself and does not fill up. Whether it did.
    #[inline(always)]
    pub(super) fn give_huge(&self, slot: Option<Slot>, offset: usize) -> bool {
        let Some(record) = self.record_of(slot) else { return false };
        let (level, class) = place_of::<G>(G::HUGE);
        if level != 1 || self.layout.count < 2 {
            return false;
        }
        let unit = unit_of::<G>(1, offset);
        let (row, mask) = (unit >> G::LOG2, low(class) << number::<G>(unit));
        let word = self.row(1, row);
        let after = word | mask;
        if word & mask != 0 || after == full::<G>() || !self.are_full(unit, 1 << class) {
            return false;
        }
        if self.exchange(self.layout.row(1, row), word, after).is_err() {
            return false;
        }
        self.reindex_after(1, unit, class, word, after);
        count(&record[GIVEN], 1 << G::HUGE);
        true
    }

    /// Whether so many rows of level 0 from `first` on are full.
    #[inline(always)]
    fn are_full(&self, first: usize, count: usize) -> bool {
        let at = self.layout.row(0, first);
        let rows = self.words.get(at..at.wrapping_add(count));
        rows.is_some_and(|rows| rows.iter().all(|row| row.load(Acquire) == full::<G>()))
    }

    /// Takes back frames of one row.
    fn give_row(&self, hand: &mut Hand, row: usize, mask: u64) -> Result<(), FreeError> {
        loop {
            let (word, stock) = self.row_and_stock(hand, row);
            let after = if word == full::<G>() {
                if !self.is_allocated_as_a_whole(hand, 0, row) {
                    return Err(FreeError::NotAllocated);
                }
                // From now on the row speaks for itself, and only these frames are free.
                self.break_up(1, row >> G::LOG2);
                mask
            } else {
                if (word | stock) & mask != 0 {
                    return Err(FreeError::NotAllocated);
                }
                word | mask
            };
            if self.replace(hand, 0, row, word, after).is_ok() {
                return Ok(());
            }
        }
    }

    /// Takes back units of a row above level 0.
    fn give_units(&self, hand: &mut Hand, level: usize, row: usize, mask: u64) -> Result<(), FreeError> {
        loop {
            // The usual case: the rows below were never split, and the row speaks for itself.
            let word = self.row(level, row);
            if word == full::<G>() || word & mask != 0 || !self.are_rows_full(level, row, mask) {
                break;
            }
            if self.replace(hand, level, row, word, word | mask).is_ok() {
                return Ok(());
            }
        }
        if !self.are_units_allocated(hand, level, row, mask) {
            return Err(FreeError::NotAllocated);
        }
        self.break_up(level, row);
        self.fill_units(level, row, mask);
        self.begin(hand);
        self.deposit(hand, level, row, mask);
        self.end(hand, true);
        Ok(())
    }

    /// Sets bits whose frames the caller holds. If that fills the row, its frames are carried up.
    pub(super) fn deposit(&self, hand: &mut Hand, level: usize, row: usize, mask: u64) {
        let at = self.layout.row(level, row);
        let mut word = self.load(at);
        while let Err(now) = self.replace(hand, level, row, word, word | mask) {
            word = now;
        }
    }

    /// The compare-and-swap of a free, and the carry. Only one of those who fill a row sees it become full.
    #[inline]
    fn replace(&self, hand: &mut Hand, level: usize, row: usize, word: u64, after: u64) -> Result<(), u64> {
        let at = self.layout.row(level, row);
        // The planted fault: who looks again after his free may see a row full that another filled.
        let again = cfg!(hectare_plant = "shared_carry_twice");
        if after != full::<G>() {
            self.exchange(at, word, after)?;
            if again && self.row(level, row) == full::<G>() {
                self.deposit(hand, level + 1, row >> G::LOG2, bit::<G>(row));
            }
            self.reindex(level, row, after);
            return Ok(());
        }
        self.begin(hand);
        if cfg!(hectare_plant = "shared_carry_early") {
            // The planted fault: the unit is free before the row is full.
            self.deposit(hand, level + 1, row >> G::LOG2, bit::<G>(row));
            let filled = self.exchange(at, word, after);
            self.end(hand, true);
            return filled;
        }
        let filled = self.exchange(at, word, after);
        if filled.is_ok() {
            self.deposit(hand, level + 1, row >> G::LOG2, bit::<G>(row));
        }
        self.end(hand, filled.is_ok());
        filled
    }

    /// Whether no frame of these units is free.
    pub(super) fn are_units_allocated(&self, hand: &Hand, level: usize, row: usize, mask: u64) -> bool {
        let word = self.row(level, row);
        if word != full::<G>() && word & mask == 0 {
            if level == 0 {
                return self.look_allocated(hand, level, row, mask);
            }
            if self.are_rows_full(level, row, mask) {
                return true;
            }
        }
        self.while_nothing_moves(hand, || self.look_allocated(hand, level, row, mask))
    }

    /// Whether the rows of these units are full.
    #[inline]
    fn are_rows_full(&self, level: usize, row: usize, mask: u64) -> bool {
        Self::units(row, mask).all(|child| self.row(level - 1, child) == full::<G>())
    }

    /// Whether no frame of these units is free, as the words say now.
    fn look_allocated(&self, hand: &Hand, level: usize, row: usize, mask: u64) -> bool {
        let (word, stock) =
            if level == 0 { self.row_and_stock(hand, row) } else { (self.row(level, row), 0) };
        if word == full::<G>() {
            return !self.is_free_as_a_whole(level, row);
        }
        if level == 0 {
            return (word | stock) & mask == 0;
        }
        word & mask == 0
            && Self::units(row, mask).all(|child| {
                // A full row under a unit that is not free is allocated as a whole.
                self.row(level - 1, child) == full::<G>()
                    || self.look_allocated(hand, level - 1, child, full::<G>())
            })
    }

    /// What `look` finds while nobody carries frames from word to word: a full row may be on its way up or down.
    fn while_nothing_moves(&self, hand: &Hand, look: impl Fn() -> bool) -> bool {
        let seen = self.patiently(|| {
            let before = self.moves(hand)?;
            let found = look();
            if self.moves(hand) == Some(before) { Some(found) } else { None }
        });
        seen.unwrap_or_else(look)
    }

    /// Whether a full row is allocated as a whole, not free as a whole.
    pub(super) fn is_allocated_as_a_whole(&self, hand: &Hand, level: usize, row: usize) -> bool {
        self.while_nothing_moves(hand, || !self.is_free_as_a_whole(level, row))
    }

    /// Whether the unit of a full row, or one above it, is free.
    pub(super) fn is_free_as_a_whole(&self, level: usize, row: usize) -> bool {
        let (mut level, mut row) = (level, row);
        while level + 1 < self.layout.count {
            let (parent, unit) = (row >> G::LOG2, bit::<G>(row));
            let word = self.row(level + 1, parent);
            if word != full::<G>() {
                return word & unit != 0;
            }
            (level, row) = (level + 1, parent);
        }
        false
    }

    /// A row that is allocated as a whole comes to speak for itself, with all its units allocated; first those above.
    fn break_up(&self, level: usize, row: usize) {
        if level >= self.layout.count || self.row(level, row) != full::<G>() {
            return;
        }
        self.break_up(level + 1, row >> G::LOG2);
        // Whoever else holds a part of it may have been faster.
        let _ = self.exchange(self.layout.row(level, row), full::<G>(), 0);
    }

    /// The rows of these units, all allocated, become full: they are again parts of a whole.
    fn fill_units(&self, level: usize, row: usize, mask: u64) {
        for child in Self::units(row, mask) {
            if self.row(level - 1, child) != full::<G>() {
                if level > 1 {
                    self.fill_units(level - 1, child, full::<G>());
                }
                self.store(self.layout.row(level - 1, child), full::<G>());
            }
        }
    }

    /// The numbers of a row's units.
    fn units(row: usize, mask: u64) -> impl Iterator<Item = usize> {
        let mut left = mask;
        core::iter::from_fn(move || {
            let unit = left.trailing_zeros() as usize;
            left &= left.checked_sub(1)?;
            Some(row << G::LOG2 | unit)
        })
    }
}
