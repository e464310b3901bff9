//! Several blocks at once, by one compare-and-swap for each row.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{AllocError, CpuPin, Frame, Order};

use crate::geometry::Geometry;
use crate::group::Group;
use crate::shared::bits::{full, low, number, place_of, unit_of};
use crate::shared::hand::Hand;
use crate::shared::{Rows, Shared};

impl<C: CpuPin, G: Geometry> Shared<'_, C, G> {
    /// Takes at least 1 and at most `most` frames of one row: the first as [`allocate_order`](Self::allocate_order) does,
    /// the others from the caller's stock, or by one compare-and-swap.
    ///
    /// # Errors
    /// As [`allocate_order`](Self::allocate_order).
    pub fn allocate_frames_of_row(&self, most: NonZero<u32>) -> Result<Group, AllocError> {
        let first = self.allocate_order(Order::ZERO)?;
        let row = self.rows.offset(first) >> G::LOG2;
        let rest = self.pin.with(|slot| self.rows.take_rest(&self.rows.hand(slot), row, most.get() - 1));
        let group = Group::of(first, Order::ZERO);
        // The row's first frame in the group.
        let shift = (first.number() & 63) as u32 & !(G::BITS - 1);
        Ok(Group { blocks: group.blocks | rest << shift, ..group })
    }

    /// Gives all blocks of a group back, also those after one that is refused: by one compare-and-swap, or none, for those of
    /// a row.
    ///
    /// # Errors
    /// How many were refused, if any: each as [`free_order`](Self::free_order) does.
    pub fn free_group(&self, group: Group) -> Result<(), NonZero<u32>> {
        let refused = self.pin.with(|slot| self.rows.give_group(&mut self.rows.hand(slot), group));
        NonZero::new(refused).map_or(Ok(()), Err)
    }
}

impl<G: Geometry> Rows<'_, G> {
    /// Takes the lowest free frames of a row, at most `most`: the bits.
    fn take_rest(&self, hand: &Hand, row: usize, most: u32) -> u64 {
        let in_stock = hand.has_slot() && self.stock_row(hand) == Some(row);
        let at = self.layout.row(0, row);
        let mut word = if in_stock { self.stock(hand) } else { self.load(at) };
        loop {
            if !in_stock && word == full::<G>() {
                return 0;
            }
            let taken = lowest(word, most);
            let result = if taken == 0 {
                Ok(())
            } else if in_stock {
                self.set_stock(hand, word & !taken);
                Ok(())
            } else {
                self.exchange(at, word, word & !taken)
            };
            match result {
                Ok(()) => {
                    self.count_taken(hand, taken.count_ones().into());
                    return taken;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes a group back, row by row; how many of its blocks are refused.
    fn give_group(&self, hand: &mut Hand, group: Group) -> u32 {
        let order = u32::from(group.order.get());
        let (level, class) = place_of::<G>(order);
        let (mut refused, mut blocks) = (0, group.iter().peekable());
        while let Some(first) = blocks.next() {
            let (row, at) = self.unit(level, first);
            let (mut mask, mut last) = (low(class) << at, first);
            while let Some(next) = blocks.next_if(|next| self.unit(level, *next).0 == row) {
                mask |= low(class) << self.unit(level, next).1;
                last = next;
            }
            let length = last.number() - first.number() + group.order.frames();
            let frames = u64::from(mask.count_ones()) << (G::LOG2 as usize * level);
            if level < self.layout.count
                && self.manages(first, length)
                && self.give_mask(hand, level, row, mask).is_ok()
            {
                self.count_given(hand, frames);
                continue;
            }
            // One by one, to know which.
            for block in group.iter().filter(|block| (first..=last).contains(block)) {
                let managed = self.manages(block, group.order.frames());
                let given = managed && self.give(hand, self.offset(block), order).is_ok();
                refused += u32::from(!given);
            }
        }
        refused
    }

    /// The row of a level in which a block begins, and the number of its first unit there.
    fn unit(&self, level: usize, block: Frame) -> (usize, u32) {
        let unit = unit_of::<G>(level, self.offset(block));
        (unit >> G::LOG2, number::<G>(unit))
    }
}

/// The lowest set bits of a word, at most `most`.
fn lowest(word: u64, most: u32) -> u64 {
    if most >= word.count_ones() {
        return word;
    }
    let mut rest = word;
    for _ in 0..most {
        rest &= rest - 1;
    }
    word & !rest
}
