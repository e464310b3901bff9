//! The tree a slot works in, and the row of it that it keeps for itself.
#![forbid(unsafe_code)]

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::bits::{full, low, place};
use crate::shared::hand::Hand;

/// The half of a tree's word of owners that names who takes large blocks there.
const BIG: u32 = 32;
const HALF: u64 = u32::MAX as u64;

impl<G: Geometry> Rows<'_, G> {
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
