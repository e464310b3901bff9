//! The tree a slot works in, and the row of it that it keeps for itself.
#![forbid(unsafe_code)]

use hectare_core::Slot;
use hectare_core::sync::atomic::Ordering::{Relaxed, Release};

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::bits::{bit, full, low, place};
use crate::shared::hand::{GIVEN, Hand, ROW, STOCK, TAKEN, count};

/// The half of a tree's word of owners that names who takes large blocks there.
const BIG: u32 = 32;
const HALF: u64 = u32::MAX as u64;

impl<G: Geometry> Rows<'_, G> {
    /// Takes a frame from the stock of a slot, and counts it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rows are numbered by usize")]
    pub(super) fn take_frame(&self, slot: Option<Slot>) -> Option<usize> {
        let record = self.record_of(slot)?;
        let stock = record[STOCK].load(Relaxed);
        if stock == 0 {
            return None;
        }
        record[STOCK].store(stock & (stock - 1), Release);
        count(&record[TAKEN], 1);
        // There is a stock, so it is of a row.
        let row = (record[ROW].load(Relaxed) as usize).wrapping_sub(1);
        Some(row << G::LOG2 | stock.trailing_zeros() as usize)
    }

    /// Gives a frame back to the stock of a slot, and counts it, if it is of that row and allocated; whether it did.
    #[inline(always)]
    pub(super) fn give_frame(&self, slot: Option<Slot>, offset: usize) -> bool {
        let Some(record) = self.record_of(slot) else { return false };
        let row = offset >> G::LOG2;
        if record[ROW].load(Relaxed) != row as u64 + 1 {
            return false;
        }
        let stock = record[STOCK].load(Relaxed);
        if (stock | self.row(0, row)) & bit::<G>(offset) != 0 {
            return false;
        }
        record[STOCK].store(stock | bit::<G>(offset), Release);
        count(&record[GIVEN], 1);
        true
    }

    /// Takes 2^class frames from the stock. No other CPU writes there: loads and stores are enough.
    #[inline(always)]
    pub(super) fn take_stock(&self, hand: &Hand, class: u32) -> Option<usize> {
        let stock = self.stock(hand);
        if stock == 0 || !hand.has_slot() {
            return None;
        }
        let position = if class == 0 { stock.trailing_zeros() } else { place::<G>(stock, class)? };
        self.set_stock(hand, stock & !(low(class) << position));
        Some(self.stock_row(hand)? << G::LOG2 | position as usize)
    }

    /// Gives frames back to the stock, if they are of its row and allocated; whether it did.
    #[inline(always)]
    pub(super) fn give_stock(&self, hand: &Hand, row: usize, mask: u64) -> bool {
        if !hand.has_slot() || self.stock_row(hand) != Some(row) {
            return false;
        }
        let stock = self.stock(hand);
        if (stock | self.row(0, row)) & mask != 0 {
            return false;
        }
        self.set_stock(hand, stock | mask);
        true
    }

    /// Puts the stock back into its row; whether there was any.
    pub(super) fn put_back(&self, hand: &mut Hand) -> bool {
        let Some(row) = self.stock_row(hand).filter(|_| hand.has_slot()) else { return false };
        let stock = self.stock(hand);
        self.begin(hand);
        self.set_stock(hand, 0);
        self.set_stock_row(hand, None);
        if cfg!(hectare_plant = "shared_put_back_lost") {
            // The planted fault: what others freed meanwhile is lost.
            self.store(self.layout.row(0, row), self.row(0, row) | stock);
        } else if stock != 0 {
            self.deposit(hand, 0, row, stock);
        }
        self.end(hand, true);
        stock != 0
    }

    /// Takes all that is free in a row of the caller's tree as its new stock; the old one is used up.
    pub(super) fn stock_up(&self, hand: &mut Hand, row: usize) -> bool {
        let at = self.layout.row(0, row);
        let (mut word, mut changed) = (self.load(at), false);
        self.begin(hand);
        let stocked = loop {
            if word == 0 || word == full::<G>() {
                break false;
            }
            self.set_stock_row(hand, Some(row));
            changed = true;
            match self.exchange(at, word, 0) {
                Ok(()) => {
                    self.set_stock(hand, word);
                    break true;
                }
                Err(now) => word = now,
            }
        };
        self.end(hand, changed);
        stocked
    }

    /// Makes a row the stock that is not, and gives these frames of it to it, if they are allocated and the row lies in the
    /// caller's tree or in nobody's; whether it did. Who gives back many frames of a row so pays for the first ones only.
    /// Not what a search gives back: that ends when nothing is in stock.
    pub(super) fn follow(&self, hand: &mut Hand, row: usize, mask: u64) -> bool {
        let at = self.layout.row(0, row);
        if self.layout.count < 2 || hand.is_moving() || self.stock_row(hand) == Some(row) {
            return false;
        }
        if self.load(at) & mask != 0 {
            return false;
        }
        self.begin(hand);
        let adopted = self.adopt(hand, row >> G::LOG2, false);
        let followed = adopted && {
            self.put_back(hand);
            self.set_stock_row(hand, Some(row));
            self.stock_with(hand, at, mask)
        };
        self.end(hand, adopted);
        followed
    }

    /// Takes all that is free in the row of the stock, and these frames, if they are allocated. Nobody else has them in
    /// stock, because the tree is the caller's. Inside a move.
    fn stock_with(&self, hand: &Hand, at: usize, mask: u64) -> bool {
        let mut word = self.load(at);
        // (The row is not full: the caller holds some of it.)
        while word & mask == 0 {
            if cfg!(hectare_plant = "shared_follow_lost") {
                // The planted fault: what others freed meanwhile is lost.
                self.store(at, 0);
                self.set_stock(hand, word | mask);
                return true;
            }
            match if word == 0 { Ok(()) } else { self.exchange(at, word, 0) } {
                Ok(()) => {
                    self.set_stock(hand, word | mask);
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes a row that was claimed as a whole as the new stock, less what `taken` says; the old one is put back. Inside a
    /// move.
    pub(super) fn stock_whole(&self, hand: &mut Hand, row: usize, taken: u64) {
        self.put_back(hand);
        self.set_stock_row(hand, Some(row));
        self.store(self.layout.row(0, row), 0);
        self.set_stock(hand, full::<G>() & !taken);
    }

    /// Makes a tree the caller's, unless it is another's; the old one is given up, and the stock put back. Trees for large
    /// blocks are owned apart.
    pub(super) fn adopt(&self, hand: &mut Hand, tree: usize, big: bool) -> bool {
        if !hand.has_slot() {
            return false;
        }
        let old = self.tree(hand, big);
        if old == Some(tree) {
            return true;
        }
        let shift = if big { BIG } else { 0 };
        let at = self.layout.owners(tree);
        let mut owners = self.load(at);
        loop {
            if owners >> shift & HALF != 0 {
                return false;
            }
            match self.exchange(at, owners, owners | hand.owner << shift) {
                Ok(()) => break,
                Err(now) => owners = now,
            }
        }
        if !big {
            self.put_back(hand);
        }
        if let Some(old) = old {
            self.clear_bits(self.layout.owners(old), HALF << shift);
        }
        self.set_tree(hand, big, Some(tree));
        true
    }

    /// Whether somebody else works where a row lies.
    #[inline]
    pub(super) fn is_others(&self, hand: &Hand, level: usize, row: usize) -> bool {
        let tree = match level {
            0 => row >> G::LOG2,
            1 => row,
            _ => return false,
        };
        let owners = self.peek(self.layout.owners(tree));
        let other = |owner: u64| owner != 0 && owner != hand.owner;
        other(owners & HALF) || other(owners >> BIG)
    }

    /// A row's word, and which of its frames are in the stock of the slot that works there, at one moment: a frame that goes
    /// from one to the other is in one of them.
    #[inline]
    pub(super) fn row_and_stock(&self, hand: &Hand, row: usize) -> (u64, u64) {
        let word = self.row(0, row);
        // The planted fault: nobody looks into the stocks of others.
        if self.layout.count < 2 || cfg!(hectare_plant = "shared_stock_unseen") {
            return (word, 0);
        }
        let owner = self.load(self.layout.owners(row >> G::LOG2)) & HALF;
        if owner == 0 {
            return (word, 0);
        }
        if owner == hand.owner {
            return (word, if self.stock_row(hand) == Some(row) { self.stock(hand) } else { 0 });
        }
        self.patiently(|| self.look_into_stock(row)).unwrap_or((word, 0))
    }

    /// The same with an owner that may go on meanwhile; `None` while that changes what is found.
    fn look_into_stock(&self, row: usize) -> Option<(u64, u64)> {
        let at = self.layout.owners(row >> G::LOG2);
        let owner = self.load(at) & HALF;
        let Some(slot) = usize::try_from(owner).ok().and_then(|owner| owner.checked_sub(1)) else {
            return Some((self.row(0, row), 0));
        };
        let found = self.with_stock_of(slot, row)?;
        if self.load(at) & HALF == owner { Some(found) } else { None }
    }

    /// Whether another slot has in stock what could serve a request for 2^order frames.
    pub(super) fn stocks_could_serve(&self, order: u32) -> bool {
        (0..self.layout.slot_count)
            .filter_map(|slot| self.stock_at_rest(slot))
            .any(|(row, stock)| stock != 0 && (order < G::LOG2 || stock | self.row(0, row) == full::<G>()))
    }
}
