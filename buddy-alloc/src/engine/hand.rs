//! The rows at hand: what the index will learn of them later.
//!
//! ```text
//!   notes    for each row 4 bits: under which class the index has it, and whether it is at hand
//!   rows     row 0x40 of level 0 │ row 0x02 of level 1 │ …        those at hand, at most 128 of level 0 and of the others
//!   hints    order 0 → row 0x40 │ order 1 → – │ …                 where the last block of an order was found
//!   recent   order 0 → – │ order 1 → 0x1234, 0x1002 │ …           blocks given back
//! ```
//! A block that goes back to a row at hand, or comes from one, changes one word: the index keeps the row under the class
//! that it had. It learns of the row when it names it as a place for a block, when it knows of no better place, or when too
//! many rows are at hand: then the rows are *settled*, each once, however many blocks came and went meanwhile.
//!
//! The row that gives single frames is on no list: it is left when it is empty, and then there is nothing to learn of it.
//!
//! A block given back is remembered if it does not lie behind the place where the last one of its order was found. It is
//! taken again before the index is asked, unless that would break a larger free block: so blocks still go to the lowest
//! addresses, and what is free in one piece stays so.
#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::layout::{MAX_LEVELS, NONE};
use crate::row::{Runs, bit, bit_number, full, low};

/// The most rows at hand in any geometry.
pub(super) const ROWS: usize = 128;

/// The orders whose last places are known, from 0 up. Larger blocks are searched for.
const ORDERS: usize = 24;

/// How many blocks of an order are remembered; a power of two.
pub(super) const RECENT: usize = 8;

/// The bit of a note that says that the row is at hand; below it are 0 or the class and 1.
pub(super) const AT_HAND: u32 = 3;

/// Which rows are at hand, and where to look first.
///
/// # Invariants
/// * a row is noted to be at hand iff it is that of order 0's hint or among the first of `rows`, where others may be, too
/// * no row at hand is a whole: its parent does not speak for it
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hand {
    /// [Numbers with levels](Self::with_level): of level 0, and of those above.
    pub(super) rows: [[usize; ROWS]; 2],
    pub(super) lengths: [usize; 2],
    /// For each order the place of the row that gave the last block that was searched for.
    pub(super) hints: [usize; ORDERS],
    /// For each order the blocks given back last, none of them behind the hint; each may be taken again or merged since.
    pub(super) recent: [[usize; RECENT]; ORDERS],
    /// For each order the place after its last one, modulo the length.
    pub(super) tops: [u8; ORDERS],
}

impl Hand {
    pub(crate) const EMPTY: Self = Self {
        rows: [[0; ROWS]; 2],
        lengths: [0; 2],
        hints: [NONE; ORDERS],
        recent: [[NONE; RECENT]; ORDERS],
        tops: [0; ORDERS],
    };

    /// The place of the row that gave the last block of an order, or [`NONE`].
    #[inline(always)]
    pub(super) fn hint(&self, order: u32) -> usize {
        self.hints.get(order as usize).copied().unwrap_or(NONE)
    }

    #[inline(always)]
    pub(super) fn set_hint(&mut self, order: u32, at: usize) {
        if let Some(hint) = self.hints.get_mut(order as usize) {
            *hint = at;
        }
    }

    /// Remembers a block that was given back, if `so`. Without a branch: it is as good as random.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below the length")]
    pub(super) fn remember(&mut self, order: u32, offset: usize, so: bool) {
        if let Some(top) = self.tops.get_mut(order as usize) {
            let place = usize::from(*top) % RECENT;
            *top = ((place + usize::from(so)) % RECENT) as u8;
            let recent = &mut self.recent[order as usize][place];
            *recent = if so { offset } else { *recent };
        }
    }

    /// The block that was given back last, and forgets it; or [`NONE`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below the length")]
    fn recall(&mut self, order: u32) -> usize {
        let Some(top) = self.tops.get_mut(order as usize) else { return NONE };
        let place = usize::from(*top).wrapping_sub(1) % RECENT;
        *top = place as u8;
        core::mem::replace(&mut self.recent[order as usize][place], NONE)
    }

    /// Level and number of the rows that are, or were, at hand.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let lists = self.rows.iter().zip(self.lengths);
        lists.flat_map(|(rows, length)| rows.iter().take(length)).map(|packed| Self::apart(*packed))
    }

    /// A row's number and level in one.
    #[inline(always)]
    fn with_level(level: usize, row: usize) -> usize {
        row * MAX_LEVELS + level
    }

    /// Level and number.
    #[inline(always)]
    pub(super) fn apart(packed: usize) -> (usize, usize) {
        (packed % MAX_LEVELS, packed / MAX_LEVELS)
    }

    /// Which list has the rows of a level.
    #[inline(always)]
    pub(super) fn list(level: usize) -> usize {
        usize::from(level != 0)
    }

    /// Whether a list has room for one row more.
    #[inline(always)]
    fn has_room<G: Geometry>(&self, level: usize) -> bool {
        self.lengths[Self::list(level)] < G::AT_HAND
    }

    #[inline(always)]
    fn push(&mut self, level: usize, row: usize) {
        let length = &mut self.lengths[Self::list(level)];
        self.rows[Self::list(level)][*length % ROWS] = Self::with_level(level, row);
        *length += 1;
    }
}

impl<G: Geometry> Engine<'_, G> {
    /// Takes a frame from the row that gave the last one.
    #[inline(always)]
    pub(super) fn take_frame_at_hand(&mut self) -> Option<usize> {
        let at = self.hand.hint(0);
        let word = self.word_at(at);
        if word == G::Word::ZERO {
            return None;
        }
        let position = word.lowest();
        self.set_word_at(at, word & !(G::Word::ONE << position));
        self.free.take(1);
        Some(at.wrapping_sub(self.level(0).shift) << G::LOG2 | position as usize)
    }

    /// Takes a frame from the next row of the index, if the one that gave the last is empty and the next is near: both in
    /// one group, and under one class.
    pub(super) fn take_next_frame(&mut self) -> Option<usize> {
        let here = self.level(0);
        let (row, first, tier) = (self.hand.hint(0).wrapping_sub(here.shift), here.first, here.tiers[0]);
        let (number, class) = (row.wrapping_sub(first), self.noted(0, row)?);
        let entry = Self::entry(tier, number, class);
        let others = self.word_at(entry) & !bit::<G>(number);
        if others == G::Word::ZERO {
            return None;
        }
        let next = (number >> G::LOG2 << G::LOG2 | others.lowest() as usize).wrapping_add(first);
        if self.is_at_hand(0, next) && Self::class(self.row(0, next)) != Some(class) {
            return None;
        }
        self.set_word_at(entry, others);
        self.clear_note(0, row);
        self.hold(next);
        self.take_frame_at_hand()
    }

    /// Order 0's hint is this row of level 0 from now on; nobody holds the one before.
    #[inline(always)]
    pub(super) fn hold(&mut self, row: usize) {
        let (at, shift) = self.note_of(0, row);
        self.set_word_at(at, self.word_at(at) | G::Word::truncate(1 << AT_HAND) << shift);
        self.hand.set_hint(0, self.slot(0, row));
    }

    /// The row of order 0's hint.
    #[inline(always)]
    pub(super) fn row_of_frames(&self) -> Option<usize> {
        let at = self.hand.hint(0);
        if at == NONE { None } else { Some(at.wrapping_sub(self.level(0).shift)) }
    }

    /// Takes a block from the row that gave the last one of its order, if it is at hand and has another.
    #[inline(always)]
    pub(super) fn take_at_hand(&mut self, order: u32) -> Option<usize> {
        let at = self.hand.hint(order);
        let (level, class) = Self::place_of(order);
        let word = self.word_at(at);
        let starts = Runs::<G>::of(word).of_class(class);
        let row = at.wrapping_sub(self.level(level).shift);
        if starts == G::Word::ZERO || !self.is_at_hand(level, row) {
            return None;
        }
        let position = starts.lowest();
        self.set_word_at(at, word & !(low::<G>(class) << position));
        self.free.take(1 << order);
        Some((row << G::LOG2 | position as usize) << (G::LOG2 as usize * level))
    }

    /// Takes the block of this order that was given back last, if it is free still and no larger one is.
    #[inline(always)]
    pub(super) fn take_recent(&mut self, order: u32) -> Option<usize> {
        let offset = self.hand.recall(order);
        if offset == NONE {
            return None;
        }
        let (level, class) = Self::place_of(order);
        let unit = Self::unit_of(level, offset);
        let row = unit >> G::LOG2;
        let at = self.slot(level, row);
        let mask = low::<G>(class) << bit_number::<G>(unit);
        let buddy = low::<G>(class) << bit_number::<G>(unit ^ 1 << class);
        let word = self.word_at(at);
        let breaks = word & buddy == buddy && at < self.hand.hint(order);
        if word & mask != mask || breaks || !self.bring(level, row) {
            return None;
        }
        self.set_word_at(at, self.word_at(at) & !mask);
        self.free.take(1 << order);
        Some(offset)
    }

    /// Takes a block back that was allocated as one or in units of its level, if its row is at hand or may come there and
    /// does not fill up; whether it did. `MIXED` says that orders come as they like: then there are no branches on what is as
    /// good as random.
    #[inline(always)]
    pub(super) fn give_at_hand<const MIXED: bool>(&mut self, offset: usize, order: u32) -> bool {
        let (level, class) = Self::place_of(order);
        let unit = Self::unit_of(level, offset);
        let row = unit >> G::LOG2;
        let at = self.slot(level, row);
        let mask = low::<G>(class) << bit_number::<G>(unit);
        let before = self.word_at(at);
        let word = before | mask;
        let hint = self.hand.hint(order);
        // (Level 0 has no wholes, and what is read there says nothing.)
        let are_parts = (level != 0) & !self.are_wholes(level, row, mask);
        // A row that fills up goes to its parent, unless it will give the next block.
        if (before & mask != G::Word::ZERO) | are_parts
            || word == full::<G>() && at != hint
            || !self.is_block(offset, 1 << order)
            || !(!MIXED && self.is_at_hand(level, row) || self.push_if_room(level, row))
        {
            return false;
        }
        self.set_word_at(at, word);
        self.free.give(1 << order);
        self.unmark(offset);
        if order != 0 {
            self.hand.remember(order, offset, at <= hint);
        }
        true
    }

    /// Whether a row is at hand.
    #[inline(always)]
    pub(super) fn is_at_hand(&self, level: usize, row: usize) -> bool {
        let (at, shift) = self.note_of(level, row);
        (self.word_at(at) >> shift >> AT_HAND).widen() & 1 == 1
    }

    /// The class under which the index has a row.
    #[inline(always)]
    pub(super) fn noted(&self, level: usize, row: usize) -> Option<u32> {
        let (at, shift) = self.note_of(level, row);
        #[expect(clippy::cast_possible_truncation, reason = "three bits")]
        ((self.word_at(at) >> shift).widen() as u32 & 7).checked_sub(1)
    }

    /// The index has a row under this class now.
    #[inline(always)]
    pub(super) fn note(&mut self, level: usize, row: usize, class: Option<u32>) {
        let (at, shift) = self.note_of(level, row);
        let word = self.word_at(at) & !(G::Word::truncate(7) << shift);
        let note = class.map_or(0, |class| u64::from(class) + 1);
        self.set_word_at(at, word | G::Word::truncate(note) << shift);
    }

    /// The index does not have a row, and it is not at hand.
    #[inline(always)]
    fn clear_note(&mut self, level: usize, row: usize) {
        let (at, shift) = self.note_of(level, row);
        self.set_word_at(at, self.word_at(at) & !(G::Word::truncate(15) << shift));
    }

    /// Where a row's note is: the place of the word, and the lowest bit.
    #[inline(always)]
    pub(super) fn note_of(&self, level: usize, row: usize) -> (usize, u32) {
        let (log2, number) = (G::LOG2 - 2, bit_number::<G>(row));
        ((row >> log2).wrapping_add(self.level(level).notes), number % (1 << log2) * 4)
    }

    /// A row comes to hand, unless it is full and its parent speaks for it; whether it is there. What is read of it before
    /// may change meanwhile.
    #[inline(always)]
    pub(super) fn bring(&mut self, level: usize, row: usize) -> bool {
        // The row is full if its parent speaks for it.
        self.row(level, row) != full::<G>() && self.push_if_room(level, row) || self.bring_more(level, row)
    }

    #[inline(never)]
    fn bring_more(&mut self, level: usize, row: usize) -> bool {
        if !self.hand.has_room::<G>(level) {
            self.settle(level);
        }
        // The row may have come to hand, and to its parent, while others were settled.
        if self.is_at_hand(level, row) {
            return true;
        }
        if self.row(level, row) == full::<G>() {
            return false;
        }
        self.add(level, row);
        true
    }

    /// A row that speaks for itself comes to hand. O(1), or O(rows at hand) if they are too many.
    #[inline]
    pub(super) fn add(&mut self, level: usize, row: usize) {
        if !self.hand.has_room::<G>(level) {
            self.settle(level);
        }
        self.push(level, row);
    }

    /// A row that speaks for itself comes to hand, if it is not there and there is room; whether it is there. Without a
    /// branch on whether it was: that is as good as random.
    #[inline(always)]
    fn push_if_room(&mut self, level: usize, row: usize) -> bool {
        let (at, shift) = self.note_of(level, row);
        let (note, mark) = (self.word_at(at), G::Word::truncate(1 << AT_HAND) << shift);
        if !self.hand.has_room::<G>(level) {
            return note & mark != G::Word::ZERO;
        }
        self.set_word_at(at, note | mark);
        let length = &mut self.hand.lengths[Hand::list(level)];
        self.hand.rows[Hand::list(level)][*length % ROWS] = Hand::with_level(level, row);
        *length += usize::from(note & mark == G::Word::ZERO);
        true
    }

    /// A row that speaks for itself comes to hand, where there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, level: usize, row: usize) {
        let (at, shift) = self.note_of(level, row);
        self.set_word_at(at, self.word_at(at) | G::Word::truncate(1 << AT_HAND) << shift);
        self.hand.push(level, row);
    }

    /// A row is neither at hand nor in the index any more.
    pub(super) fn forget(&mut self, level: usize, row: usize) {
        if let Some(class) = self.noted(level, row) {
            self.leave(level, row, class);
        }
        self.clear_note(level, row);
        // The planted fault: single frames are still taken from the row.
        if self.hand.hint(0) == self.slot(level, row) && !cfg!(hectare_plant = "buddy_stale_hint") {
            self.hand.set_hint(0, NONE);
        }
    }
}
