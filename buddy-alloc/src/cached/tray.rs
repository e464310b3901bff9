//! What one CPU keeps of one order: the block that came last, and others as bits of their groups.
//!
//! ```text
//!   hand    block 0x40·64 + 7        the one given last, if it lies no higher than the last batch: the next one taken
//!
//!   place    0     1     2           place i is for groups whose number is i modulo 64
//!   group   0x40  0x11  0x22  …
//!   here    0110  0001  0000         bit set = the block is here
//!   away    1001  1110  0111         bit set = it is not, and lies in a bank: it may be given
//!             ▲
//!           open: further blocks come from here, the lowest first
//! ```
//! A block that is given joins the others of its group, if that has its place; else the group that is there goes back to
//! the source whole, in one call. So most calls change one word, neighbours go back together, and a block that is given
//! twice is seen.
//!
//! When the open group is used up, the next is opened if it lies no higher than the last batch: the source would choose
//! it, too. What lies higher waits to go back, so that the source goes on choosing where blocks lie: a stack of the blocks
//! given last would hand out holes at random, and the memory would be broken up.
#![forbid(unsafe_code)]

use hectare_core::FreeError;

use crate::group::Group;

/// Places: as many as a word has bits.
const PLACES: usize = 64;

/// No block: no frame has so high a number.
pub(super) const NOTHING: u64 = u64::MAX;

/// Blocks by number: that of the first frame, divided by the block's length.
///
/// # Invariants
/// * a group is in the place of its number
/// * no block is in hand and in its group, too; no block is both here and away
/// * `room` and the number of blocks that are here, but for the one in hand, are `most`
/// * a block that is away lies in a bank
/// * a place with blocks has its bit in `filled`
#[derive(Clone, Copy, Debug)]
pub(super) struct Tray {
    hand: u64,
    /// The place that blocks are taken from.
    open: usize,
    /// The place that was emptied last.
    next: usize,
    /// How many more blocks it may keep.
    room: i32,
    most: i32,
    /// The group of the last batch from the source.
    last: u64,
    numbers: [u64; PLACES],
    here: [u64; PLACES],
    away: [u64; PLACES],
    /// Bit i: place i may have blocks. Cleared by who finds that it has none.
    filled: u64,
}

impl Tray {
    pub(super) const EMPTY: Self = Self {
        hand: NOTHING,
        open: 0,
        next: 0,
        room: 0,
        most: 0,
        last: 0,
        numbers: [NOTHING; PLACES],
        here: [0; PLACES],
        away: [0; PLACES],
        filled: 0,
    };

    /// How many blocks it keeps, but for the one in hand.
    pub(super) fn count(&self) -> u32 {
        (self.most - self.room) as u32
    }

    /// Whether there is no room for one block more.
    pub(super) fn is_full(&self) -> bool {
        self.room <= 0
    }

    /// Takes the block in hand, or the lowest of the open group; or [`NOTHING`], which is compared faster than an `Option`.
    #[inline(always)]
    pub(super) fn take_at_hand(&mut self) -> u64 {
        let block = self.hand;
        if block != NOTHING {
            self.hand = NOTHING;
            return block;
        }
        let at = self.open % PLACES;
        let blocks = self.here[at];
        if blocks == 0 {
            return NOTHING;
        }
        let rest = blocks & (blocks - 1);
        self.here[at] = rest;
        self.away[at] |= blocks ^ rest;
        self.room += 1;
        self.numbers[at] << Group::LOG2 | u64::from(blocks.trailing_zeros())
    }

    /// The same.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u64> {
        Some(self.take_at_hand()).filter(|block| *block != NOTHING)
    }

    /// Opens the next group that has blocks, if it lies no higher than the last batch came from, or `any`; its lowest block.
    pub(super) fn take_from_other(&mut self, any: bool) -> Option<u64> {
        let at = self.next(self.open)?;
        if !any && self.numbers[at] > self.last {
            return None;
        }
        self.open = at;
        self.take()
    }

    /// Keeps blocks from the source, and opens their group; what was in its place before. `known` blocks of the group lie in a
    /// bank.
    #[inline]
    pub(super) fn stock(&mut self, number: u64, blocks: u64, known: u64) -> Option<(u64, u64)> {
        let other = self.make_place(number, known);
        let at = Self::place(number);
        self.here[at] |= blocks;
        self.away[at] &= !blocks;
        self.filled |= 1 << at;
        self.room -= blocks.count_ones() as i32;
        (self.open, self.last) = (at, number);
        other
    }

    /// Keeps a block whose group has its place; whether it did: not if it is kept already, not known to lie in a bank, or one
    /// too many.
    #[inline(always)]
    pub(super) fn give(&mut self, block: u64) -> bool {
        let (number, position) = (block >> Group::LOG2, block & 63);
        let at = Self::place(number);
        // The planted fault: a block is kept twice.
        let trusts = cfg!(hectare_plant = "cache_trusts");
        if self.numbers[at] != number || !trusts && self.away[at] >> position & 1 == 0 {
            return false;
        }
        if self.hand == NOTHING && number <= self.last {
            self.hand = block;
            return true;
        }
        if !trusts && self.hand == block || self.room <= 0 {
            return false;
        }
        self.here[at] |= 1 << position;
        self.filled |= 1 << at;
        self.away[at] &= !(1 << position);
        self.room -= 1;
        true
    }

    /// Makes a place for a block's group, so that it can be given if there is room; what was in that place before. `known`
    /// blocks of the group lie in a bank. At most `most` blocks are kept from now on.
    ///
    /// # Errors
    /// [`FreeError::NotAllocated`] if the block is kept already.
    pub(super) fn prepare(
        &mut self,
        block: u64,
        known: u64,
        most: u32,
    ) -> Result<Option<(u64, u64)>, FreeError> {
        let most = i32::try_from(most).unwrap_or(i32::MAX).max(1);
        self.room += most - self.most;
        self.most = most;
        let (number, bit) = (block >> Group::LOG2, 1 << (block & 63));
        let at = Self::place(number);
        if block == self.hand || self.numbers[at] == number && self.here[at] & bit != 0 {
            return Err(FreeError::NotAllocated);
        }
        Ok(self.make_place(number, known))
    }

    /// Empties one group after the other, the open one last; its number and blocks.
    pub(super) fn spill(&mut self) -> Option<(u64, u64)> {
        // The next in turn, but for the open one if there is another.
        let open = self.open % PLACES;
        let mut at = self.next(self.next)?;
        if at == open {
            at = self.next(open)?;
        }
        self.next = at;
        self.empty(at)
    }

    /// Forgets which blocks lie in a bank; the block in hand, if there is one, as a group.
    pub(super) fn forget(&mut self) -> Option<(u64, u64)> {
        self.away = [0; PLACES];
        let hand = core::mem::replace(&mut self.hand, NOTHING);
        if hand == NOTHING { None } else { Some((hand >> Group::LOG2, 1 << (hand & 63))) }
    }

    /// A group has its place from now on, where `known` blocks of it may be; what was there before.
    #[inline]
    fn make_place(&mut self, number: u64, known: u64) -> Option<(u64, u64)> {
        let at = Self::place(number);
        let other = if self.numbers[at] == number {
            None
        } else {
            let other = self.empty(at);
            (self.numbers[at], self.away[at]) = (number, 0);
            other
        };
        self.away[at] |= known & !self.here[at];
        other
    }

    fn empty(&mut self, at: usize) -> Option<(u64, u64)> {
        let blocks = core::mem::take(&mut self.here[at]);
        self.away[at] |= blocks;
        self.room += blocks.count_ones() as i32;
        if blocks == 0 { None } else { Some((self.numbers[at], blocks)) }
    }

    /// The first place with blocks that comes after `at`, and after the last place the first one.
    #[inline]
    fn next(&mut self, at: usize) -> Option<usize> {
        while self.filled != 0 {
            let behind = self.filled & (!1 << (at % PLACES));
            let from = if behind == 0 { self.filled } else { behind };
            let place = from.trailing_zeros() as usize;
            if self.here[place % PLACES] != 0 {
                return Some(place);
            }
            self.filled &= !(1 << place);
        }
        None
    }

    /// The place of a group.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn place(number: u64) -> usize {
        number as usize % PLACES
    }
}

#[cfg(test)]
mod tests;
