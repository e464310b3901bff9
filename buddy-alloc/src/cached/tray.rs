//! What one CPU keeps of one order: the block that came last, a batch to take from, and rows of what goes back.
//!
//! ```text
//!   hand    block 0x1234                 the last one given: the next one taken
//!   stock   [ number 0x40 | 0110…0 ]     the batch that came from the engine, by a bit each: taken from next
//!   rows    [ number 0x40 | 1000…0 ]     given and not taken again; row i is for groups whose number is i modulo 16
//!           [ number 0x11 | 0000…1 ]     and goes back whole
//!           …
//! ```
//! What was given goes back rather than out again, so that the engine goes on choosing where blocks lie: a stack of the
//! blocks given last would hand out the oldest holes at random. Rows of bits rather than lists, because a block that is
//! given twice is then seen, and neighbours go back in one call.
#![forbid(unsafe_code)]

use hectare_core::FreeError;

use crate::group::Group;

const ROWS: usize = 16;

/// No block: no frame has so high a number.
const NOTHING: u64 = u64::MAX;

/// Blocks by number: that of the first frame, divided by the block's length.
///
/// # Invariants
/// * `filled` has a bit for each row that keeps a block
/// * no block is in two of hand, stock and rows
/// * `count` is the number of blocks in the rows
#[derive(Clone, Copy, Debug)]
pub(super) struct Tray {
    hand: u64,
    stock: Row,
    rows: [Row; ROWS],
    filled: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    number: u64,
    blocks: u64,
}

impl Row {
    const EMPTY: Self = Self { number: 0, blocks: 0 };

    /// Takes the lowest block of a row that has one.
    #[inline(always)]
    fn take(&mut self) -> u64 {
        let block = self.number << Group::LOG2 | u64::from(self.blocks.trailing_zeros());
        self.blocks &= self.blocks.wrapping_sub(1);
        block
    }

    #[inline(always)]
    fn holds(&self, block: u64) -> bool {
        self.number == block >> Group::LOG2 && self.blocks >> (block & 63) & 1 == 1
    }
}

impl Tray {
    pub(super) const EMPTY: Self =
        Self { hand: NOTHING, stock: Row::EMPTY, rows: [Row::EMPTY; ROWS], filled: 0, count: 0 };

    /// How many blocks the rows keep.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// How many blocks the rows and the stock keep.
    pub(super) fn all(&self) -> u32 {
        self.count + self.stock.blocks.count_ones()
    }

    /// Whether there is a block in hand.
    #[inline(always)]
    pub(super) fn has_hand(&self) -> bool {
        self.hand != NOTHING
    }

    /// Takes the block in hand, or the lowest of the stock.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<u64> {
        let block = core::mem::replace(&mut self.hand, NOTHING);
        if block != NOTHING {
            Some(block)
        } else if self.stock.blocks != 0 {
            Some(self.stock.take())
        } else {
            None
        }
    }

    /// A batch to take from, once the stock is empty.
    pub(super) fn stock(&mut self, number: u64, blocks: u64) {
        debug_assert_eq!(self.stock.blocks, 0, "the stock is empty");
        self.stock = Row { number, blocks };
    }

    /// Takes the lowest block of the first row that has one.
    #[inline]
    pub(super) fn take_row(&mut self) -> Option<u64> {
        let at = self.filled.trailing_zeros();
        let row = self.rows.get_mut(at as usize)?;
        let block = row.take();
        self.filled &= !(u32::from(row.blocks == 0) << at);
        self.count -= 1;
        Some(block)
    }

    /// Keeps a block in hand; the one that was there, if any, must find [a row](Self::keep).
    ///
    /// # Errors
    /// [`FreeError::NotAllocated`] if it is kept already.
    #[inline(always)]
    pub(super) fn give(&mut self, block: u64) -> Result<Option<u64>, FreeError> {
        // The planted fault: a block is kept twice.
        let trusts = cfg!(hectare_plant = "cache_trusts");
        if !trusts && (block == self.hand || self.holds(block)) {
            return Err(FreeError::NotAllocated);
        }
        let before = core::mem::replace(&mut self.hand, block);
        Ok(if before == NOTHING { None } else { Some(before) })
    }

    /// Keeps a block in hand, and the one that was there in a row that keeps others of its group; whether it did: not if
    /// the rows would have `most` blocks then, another group has the row, or it is kept already.
    #[inline(always)]
    pub(super) fn give_near(&mut self, block: u64, most: u32) -> bool {
        let number = self.hand >> Group::LOG2;
        let at = Self::place(number);
        let near = self.rows[at].number == number && self.count + 1 < most;
        let trusts = cfg!(hectare_plant = "cache_trusts");
        if !near || !trusts && (block == self.hand || self.holds(block)) {
            return false;
        }
        self.rows[at].blocks |= 1 << (self.hand & 63);
        self.filled |= 1 << at;
        self.count += 1;
        self.hand = block;
        true
    }

    /// Keeps a block in its row; the row that was in its place, if another was.
    #[inline]
    pub(super) fn keep(&mut self, block: u64) -> Option<(u64, u64)> {
        let number = block >> Group::LOG2;
        let at = Self::place(number);
        let row = &mut self.rows[at];
        let other = if row.number == number { Row::EMPTY } else { core::mem::replace(row, Row::EMPTY) };
        (row.number, row.blocks) = (number, row.blocks | 1 << (block & 63));
        self.filled |= 1 << at;
        self.count = self.count + 1 - other.blocks.count_ones();
        if other.blocks == 0 { None } else { Some((other.number, other.blocks)) }
    }

    /// Empties the last row that keeps a block, or the stock.
    pub(super) fn spill(&mut self) -> Option<(u64, u64)> {
        let Some(at) = self.filled.checked_ilog2() else {
            let stock = core::mem::replace(&mut self.stock, Row::EMPTY);
            return if stock.blocks == 0 { None } else { Some((stock.number, stock.blocks)) };
        };
        let row = self.rows.get_mut(at as usize)?;
        let blocks = core::mem::take(&mut row.blocks);
        self.filled &= !(1 << at);
        self.count -= blocks.count_ones();
        Some((row.number, blocks))
    }

    #[inline(always)]
    fn holds(&self, block: u64) -> bool {
        self.rows[Self::place(block >> Group::LOG2)].holds(block) || self.stock.holds(block)
    }

    /// The place of a group's row, below the number of rows.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn place(number: u64) -> usize {
        number as usize % ROWS
    }
}

#[cfg(test)]
mod tests;
