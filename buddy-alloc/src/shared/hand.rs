//! Who calls: a CPU with a slot of its own, or anybody without one; and what it carries meanwhile.
#![forbid(unsafe_code)]

use hectare_core::Slot;
use hectare_core::sync::atomic::AtomicU64;
use hectare_core::sync::atomic::Ordering::{Relaxed, Release};

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::layout::SLOT_WORDS;

/// Words of a record; see the [layout](super::layout).
const MOVES: usize = 0;
pub(super) const ROW: usize = 1;
const TREE: usize = 2;
pub(super) const BIG: usize = 3;
const LOCK: usize = 4;
pub(super) const STOCK: usize = 8;
pub(super) const TAKEN: usize = 9;
pub(super) const GIVEN: usize = 10;
const SHORT: usize = 11;
const SCATTERED: usize = 12;
const LAST: usize = 13;

/// Counts in a word of a slot's record: no other CPU writes there.
#[inline(always)]
pub(super) fn count(word: &AtomicU64, amount: u64) {
    word.store(word.load(Relaxed).wrapping_add(amount), Release);
}

/// A caller, for the length of one call.
#[derive(Debug)]
pub(super) struct Hand {
    /// Its record.
    record: usize,
    /// The number of its slot + 1; 0 without a slot.
    pub(super) owner: u64,
    /// How many moves it is in, one inside the other.
    depth: u32,
    /// Whether it moved anything in them.
    moved: bool,
    /// How many it has ended.
    ended: u64,
    /// The [moves](Rows::moves) when it last found nothing.
    pub(super) seen: Option<u64>,
}

impl Hand {
    /// Whether the record is its own.
    #[inline(always)]
    pub(super) fn has_slot(&self) -> bool {
        self.owner != 0
    }

    /// Whether it is in a move.
    #[inline(always)]
    pub(super) fn is_moving(&self) -> bool {
        self.depth > 0
    }
}

/// One unit of the common record's count of moves that have ended; below it, those that have not.
const ENDED: u64 = 1 << 32;

impl<G: Geometry> Rows<'_, G> {
    #[inline(always)]
    pub(super) fn hand(&self, slot: Option<Slot>) -> Hand {
        let number = slot.map_or(self.layout.slot_count, |slot| usize::from(slot.number()));
        let owner = if number < self.layout.slot_count { number as u64 + 1 } else { 0 };
        Hand { record: self.layout.record(number), owner, depth: 0, moved: false, ended: 0, seen: None }
    }

    /// The record of a slot that has one: all of its words, so that each is found without a look at the slice's length.
    #[inline(always)]
    pub(super) fn record_of(&self, slot: Option<Slot>) -> Option<&[AtomicU64; SLOT_WORDS]> {
        let number = usize::from(slot?.number());
        if number < self.layout.slot_count {
            self.words.get(self.layout.record(number)..)?.first_chunk()
        } else {
            None
        }
    }

    /// From here to [`end`](Self::end) the caller may hold free frames that stand in no word.
    #[inline]
    pub(super) fn begin(&self, hand: &mut Hand) {
        hand.depth += 1;
        if hand.depth > 1 {
            return;
        }
        let at = hand.record + MOVES;
        if hand.has_slot() {
            // Seen by whoever sees the first word that the move changes.
            self.store(at, self.peek(at) + 1);
        } else {
            self.add(at, 1);
        }
    }

    /// What was held stands in words again; whether anything was. A search that found nothing is no move: otherwise two
    /// callers would wait for each other before they refuse.
    #[inline]
    pub(super) fn end(&self, hand: &mut Hand, moved: bool) {
        hand.depth -= 1;
        hand.moved |= moved;
        if hand.depth > 0 {
            return;
        }
        let moved = core::mem::take(&mut hand.moved);
        hand.ended += u64::from(moved);
        let at = hand.record + MOVES;
        if hand.has_slot() {
            let began = self.peek(at);
            self.store(at, if moved { began + 1 } else { began - 1 });
        } else {
            self.add(at, if moved { ENDED - 1 } else { u64::MAX });
        }
    }

    /// A number that is another after every move of another caller; `None` while there is one. O(slots).
    pub(super) fn moves(&self, hand: &Hand) -> Option<u64> {
        let common = self.load(self.layout.record(self.layout.slot_count) + MOVES);
        let (mut own, mut ended) = (0, 0);
        if !hand.has_slot() {
            (own, ended) = (u64::from(hand.depth > 0), hand.ended);
        }
        if common % ENDED != own {
            return None;
        }
        let others = (0..self.layout.slot_count).filter(|slot| *slot as u64 + 1 != hand.owner);
        others.map(|slot| self.load(self.layout.record(slot) + MOVES)).try_fold(
            (common / ENDED).wrapping_sub(ended),
            |sum, moves| {
                if moves % 2 == 0 { Some(sum.wrapping_add(moves)) } else { None }
            },
        )
    }

    /// The row that the caller's stock is of.
    #[inline(always)]
    pub(super) fn stock_row(&self, hand: &Hand) -> Option<usize> {
        usize::try_from(self.peek(hand.record + ROW)).ok()?.checked_sub(1)
    }

    /// The caller's stock.
    #[inline(always)]
    pub(super) fn stock(&self, hand: &Hand) -> u64 {
        self.peek(hand.record + STOCK)
    }

    #[inline(always)]
    pub(super) fn set_stock(&self, hand: &Hand, stock: u64) {
        self.store(hand.record + STOCK, stock);
    }

    /// The stock is now of this row. Inside a move.
    #[inline(always)]
    pub(super) fn set_stock_row(&self, hand: &Hand, row: Option<usize>) {
        self.store(hand.record + ROW, row.map_or(0, |row| row as u64 + 1));
    }

    /// The row of level 0 that the caller gave frames to last, other than its stock.
    pub(super) fn last_row(&self, hand: &Hand) -> Option<usize> {
        if !hand.has_slot() {
            return None;
        }
        usize::try_from(self.peek(hand.record + LAST)).ok()?.checked_sub(1)
    }

    pub(super) fn set_last_row(&self, hand: &Hand, row: usize) {
        if hand.has_slot() {
            self.store(hand.record + LAST, row as u64 + 1);
        }
    }

    /// A row's word, and which of its frames a slot has in stock. `None` if frames went from one to the other meanwhile.
    pub(super) fn with_stock_of(&self, slot: usize, row: usize) -> Option<(u64, u64)> {
        let record = self.layout.record(slot);
        let before = self.load(record + MOVES);
        let word = self.row(0, row);
        let is_here = self.load(record + ROW) == row as u64 + 1;
        let stock = if is_here { self.load(record + STOCK) } else { 0 };
        // The planted fault: the stock may be another row's by now.
        let torn = cfg!(hectare_plant = "shared_stock_torn");
        let unchanged = torn || before % 2 == 0 && self.load(record + MOVES) == before;
        if unchanged { Some((word, stock)) } else { None }
    }

    /// The row and the stock of a slot, for who knows that it rests.
    pub(super) fn stock_at_rest(&self, slot: usize) -> Option<(usize, u64)> {
        let record = self.layout.record(slot);
        let row = usize::try_from(self.load(record + ROW)).ok()?.checked_sub(1)?;
        Some((row, self.load(record + STOCK)))
    }

    /// The tree that the caller works in; with `big`, that of its large blocks.
    #[inline(always)]
    pub(super) fn tree(&self, hand: &Hand, big: bool) -> Option<usize> {
        if !hand.has_slot() {
            return None;
        }
        usize::try_from(self.peek(hand.record + if big { BIG } else { TREE })).ok()?.checked_sub(1)
    }

    pub(super) fn set_tree(&self, hand: &Hand, big: bool, tree: Option<usize>) {
        self.store(hand.record + if big { BIG } else { TREE }, tree.map_or(0, |tree| tree as u64 + 1));
    }

    #[inline(always)]
    pub(super) fn count_taken(&self, hand: &Hand, frames: u64) {
        self.count(hand, TAKEN, frames);
    }

    #[inline(always)]
    pub(super) fn count_given(&self, hand: &Hand, frames: u64) {
        self.count(hand, GIVEN, frames);
    }

    pub(super) fn count_refused(&self, hand: &Hand, short: bool) {
        self.count(hand, if short { SHORT } else { SCATTERED }, 1);
    }

    #[inline(always)]
    fn count(&self, hand: &Hand, word: usize, amount: u64) {
        let at = hand.record + word;
        if hand.has_slot() {
            self.store(at, self.peek(at).wrapping_add(amount));
        } else {
            self.add(at, amount);
        }
    }

    /// Frames taken and not given back. What was given back is read first, so that it is never less than nothing.
    pub(super) fn used(&self) -> u64 {
        if cfg!(hectare_plant = "shared_used_order") {
            // The planted fault: what was given back in between counts twice.
            let taken = self.sum(TAKEN);
            return taken.wrapping_sub(self.sum(GIVEN));
        }
        let given = self.sum(GIVEN);
        self.sum(TAKEN).wrapping_sub(given)
    }

    /// Requests refused so far: too little was free, no block was found.
    pub(super) fn refused(&self) -> (u64, u64) {
        (self.sum(SHORT), self.sum(SCATTERED))
    }

    fn sum(&self, word: usize) -> u64 {
        let words = (0..=self.layout.slot_count).map(|slot| self.load(self.layout.record(slot) + word));
        words.fold(0, u64::wrapping_add)
    }

    /// Counts from now on.
    pub(super) fn forget_counts(&self) {
        for slot in 0..=self.layout.slot_count {
            for word in [TAKEN, GIVEN, SHORT, SCATTERED] {
                self.store(self.layout.record(slot) + word, 0);
            }
        }
    }

    /// Tries to take the lock of those who look for runs across blocks.
    pub(super) fn try_lock(&self) -> bool {
        let at = self.layout.record(self.layout.slot_count) + LOCK;
        self.peek(at) == 0 && self.exchange(at, 0, 1).is_ok()
    }

    pub(super) fn unlock(&self) {
        self.store(self.layout.record(self.layout.slot_count) + LOCK, 0);
    }
}
