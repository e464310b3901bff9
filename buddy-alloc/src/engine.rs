//! The engine of a single owner: rows of bits, and for each level an index of its rows.
#![forbid(unsafe_code)]

use hectare_core::{AllocError, Frame, FrameRun, FreeError, Order, RegionError};

use crate::banks::Banks;
use crate::engine::free_count::Free;
use crate::engine::hand::Hand;
use crate::geometry::{Geometry, Rows64, Word};
use crate::layout::{Layout, Level, MAX_LEVELS};
use crate::row::bit;

mod check;
mod exact;
mod figures;
mod free;
mod free_count;
mod hand;
mod index;
mod recover;
mod request;
mod settle;
mod take;

/// A buddy system over page frames, for one owner (`&mut self`).
///
/// It deals in numbers only and never touches a frame. Blocks are 2^k frames at multiples of 2^k, counted from frame
/// 0, whatever region it manages. Partial frees are legal: frames are given back by any run, whole blocks or parts; an
/// [exact](Geometry::EXACT) geometry refuses them and costs 1 bit a frame.
///
/// ```text
///  level 2   ··01                             1 bit = 4096 frames
///              │└──────────────────────┐
///  level 1   0011···01               1111···11        1 bit = 64 frames
///              ││    └───────┐        the parent's bit is set: free as a whole, a block of order 12 or more
///  level 0   0110···10     1111···11                  1 bit = 1 frame, set = free
///            split row     its bit is set: free as a whole
///
///  orders 0 to 5 live on level 0, 6 to 11 on level 1, …: no free list, no split or merge loop
///
///  index     for each level and class c: the rows whose largest aligned run of set bits has length 2^c
/// ```
/// A unit that is not split is a *whole*, free or allocated: its parent's bits say which, and the row below it says nothing.
/// So a large block changes one bit, and a row that fills up is merged by setting one.
///
/// A request is served from the row with the smallest class that fits, of those the one at the lowest address, and in it
/// from the lowest run that breaks no larger one; single frames from the lowest up, until it is empty. Rows whose bits changed are kept *at hand*, and the index learns of them
/// later, so that most calls change one word (`engine/hand.rs` tells more). All are settled before a request is refused.
///
/// # Invariants
/// * a set bit of a split row is a free frame or unit inside a bank, and no frame outside the banks is free
/// * a unit is a whole iff its bit among the wholes is set: then the row below is full, with only wholes below
/// * a unit's bit is set only if it is a whole, and then all of it is free
/// * the index has exactly the rows that are noted to be in it, each under the class of its note
/// * a row that is not at hand is noted under its class, or under none if it is empty or a whole
/// * a summary bit of the index is set iff its group has a row of that class
/// * the count of free frames is that of the bits
/// * if the geometry is exact: blocks begin at allocated frames of the banks, and allocated frames begin with a block
///
/// # Complexity
/// An order is allocated and freed in O(levels), at most 8 and for 64 GiB 5, and settling at most 256 rows besides: each of
/// them was brought to hand by a call that had less to do for it.
/// Memory use is [`words_for`](crate::words_for) words: 0.150 bytes a frame for a gibibyte of 4 KiB frames.
#[derive(Debug)]
pub struct Engine<'m, G: Geometry = Rows64> {
    pub(super) words: &'m mut [G::Word],
    pub(super) layout: Layout,
    pub(super) hand: Hand,
    /// What the layout covers.
    pub(super) span: Option<FrameRun>,
    pub(super) banks: Banks<'m>,
    pub(super) free: Free,
    /// Refused requests: too little was free, no block was found.
    pub(super) refused: (u64, u64),
}

impl<'m, G: Geometry> Engine<'m, G> {
    /// An engine without frames. It refuses everything; `const`, so that a `static` can hold it until memory is known.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            words: &mut [],
            layout: Layout::EMPTY,
            hand: Hand::EMPTY,
            banks: Banks::new(&mut []),
            free: Free::NONE,
            refused: (0, 0),
            span: None,
        }
    }

    /// An engine over these banks, all free. `words` need not be cleared; it needs
    /// [`words_for`](crate::words_for)`(banks.span())` words. O(words).
    ///
    /// # Errors
    /// [`RegionError::TooSmall`] iff there is no frame or `words` is too short, [`RegionError::TooLarge`] iff the span
    /// from the first to the last frame is too long for this machine or geometry.
    pub fn new(banks: Banks<'m>, words: &'m mut [G::Word]) -> Result<Self, RegionError> {
        let span = banks.span().ok_or(RegionError::TooSmall)?;
        Self::with_span(span, banks, words)
    }

    /// As [`new`](Self::new), with metadata for all of `span`, so that memory can come [online](Self::online) later.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`RegionError::BadRange`] iff a bank lies outside `span`.
    pub fn with_span(
        span: FrameRun,
        banks: Banks<'m>,
        words: &'m mut [G::Word],
    ) -> Result<Self, RegionError> {
        let mut engine = Self::all_allocated(span, banks, words)?;
        let mut number = 0;
        while let Some(bank) = engine.banks.get(number) {
            engine.give_run(engine.offset(bank.first()), bank.count());
            number += 1;
        }
        engine.put_all_back();
        engine.hand = Hand::EMPTY;
        engine.free.begin();
        Ok(engine)
    }

    /// The frames it manages.
    #[must_use]
    pub fn banks(&self) -> &Banks<'m> {
        &self.banks
    }

    /// How many frames are free. O(1).
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.free.now()
    }

    /// How many frames it manages. O(1).
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.banks.frames()
    }

    /// Takes a block of 2^k frames at a multiple of 2^k. Their contents are unspecified. O(levels).
    ///
    /// # Errors
    /// Fails iff no such block is free: [`AllocError::TooLarge`] if it exceeds all frames together,
    /// [`AllocError::OutOfMemory`] if fewer frames are free, else [`AllocError::Fragmented`].
    #[inline]
    pub fn allocate_order(&mut self, order: Order) -> Result<Frame, AllocError> {
        if order == Order::ZERO {
            if let Some(offset) = self.take_frame_at_hand() {
                self.mark(offset);
                return Ok(self.frame(offset));
            }
        }
        match self.take_block_of(order) {
            Some(offset) => {
                self.mark(offset);
                Ok(self.frame(offset))
            }
            None => Err(self.refuse(order.frames())),
        }
    }

    /// Gives back 2^k frames at a multiple of 2^k: a block, a part of one, or several that fill it. O(levels) and as
    /// many rows as it has on level 0.
    ///
    /// # Errors
    /// [`FreeError::Misaligned`] if the frame is no multiple of 2^k, [`FreeError::Foreign`] if a frame lies outside the
    /// banks, [`FreeError::NotAllocated`] if one is free already, [`FreeError::WrongSize`] if the geometry is exact and
    /// they are not one block. Nothing is changed then.
    #[inline(always)]
    pub fn free_order(&mut self, frame: Frame, order: Order) -> Result<(), FreeError> {
        if order == Order::ZERO
            && self.banks.last_holds(frame, 1)
            && self.give_at_hand::<false>(self.offset(frame), 0)
        {
            return Ok(());
        }
        self.free_block(frame, order)
    }

    /// Gives back any run of allocated frames: a whole one, a part, several side by side. O(blocks in the run × levels).
    ///
    /// # Errors
    /// [`FreeError::Foreign`] if a frame lies outside the banks, [`FreeError::NotAllocated`] if one is free already,
    /// [`FreeError::WrongSize`] if the geometry is exact and they are not one block. Nothing is changed then.
    pub fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.check_block(run)?;
        let offset = self.offset(run.first());
        self.unmark(offset);
        self.give_run(offset, run.count());
        Ok(())
    }

    /// What is not one frame of the row at hand. (The offset alone, because it returns in registers.)
    #[inline(never)]
    fn take_block_of(&mut self, order: Order) -> Option<usize> {
        let order = u32::from(order.get());
        // A path of its own, where the order is a constant.
        if order == G::HUGE {
            return self.take_at_hand(G::HUGE).or_else(|| self.take_huge());
        }
        self.take_order(order)
    }

    /// A block of the order that has a path of its own, from elsewhere than the row that gave the last one. (By itself, so
    /// that the path to that row saves no registers.)
    #[inline(never)]
    fn take_huge(&mut self) -> Option<usize> {
        self.take_recent(G::HUGE).or_else(|| self.take_found(G::HUGE))
    }

    /// What does not go to the row at hand.
    #[inline(never)]
    fn free_block(&mut self, frame: Frame, order: Order) -> Result<(), FreeError> {
        // A path of its own, where the order is a constant.
        if u32::from(order.get()) == G::HUGE
            && frame.is_aligned(order)
            && self.banks.last_holds(frame, 1 << G::HUGE)
            && self.give_at_hand::<false>(self.offset(frame), G::HUGE)
        {
            return Ok(());
        }
        if !frame.is_aligned(order) {
            return Err(FreeError::Misaligned);
        }
        if !self.banks.manage(frame, order.frames()) {
            return Err(FreeError::Foreign);
        }
        let offset = self.offset(frame);
        if self.give_at_hand::<true>(offset, u32::from(order.get())) {
            return Ok(());
        }
        if G::EXACT {
            if !self.is_run_allocated(offset, order.frames()) {
                return Err(FreeError::NotAllocated);
            }
            if !self.is_block(offset, order.frames()) {
                return Err(FreeError::WrongSize);
            }
            self.unmark(offset);
        }
        self.give_order(offset, u32::from(order.get()))
    }

    /// An engine in whose banks nothing is free.
    fn all_allocated(
        span: FrameRun,
        banks: Banks<'m>,
        words: &'m mut [G::Word],
    ) -> Result<Self, RegionError> {
        if banks.iter().any(|bank| !span.contains(bank)) {
            return Err(RegionError::BadRange);
        }
        let layout = Layout::over::<G>(span).ok_or(RegionError::TooLarge)?;
        let words = words.get_mut(..layout.words).ok_or(RegionError::TooSmall)?;
        words.fill(G::Word::ZERO);
        Ok(Self {
            words,
            layout,
            hand: Hand::EMPTY,
            banks,
            free: Free::NONE,
            refused: (0, 0),
            span: Some(span),
        })
    }

    /// Why a request for so many frames cannot be served; it is counted.
    #[cold]
    pub(super) fn refuse(&mut self, frames: u64) -> AllocError {
        if frames > self.free.now() {
            self.refused.0 += 1;
            if frames > self.capacity() { AllocError::TooLarge } else { AllocError::OutOfMemory }
        } else {
            self.refused.1 += 1;
            AllocError::Fragmented
        }
    }

    /// A frame's distance from the origin. Meant for frames in a bank: others wrap.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the layout's distances fit usize")]
    pub(super) fn offset(&self, frame: Frame) -> usize {
        frame.number().wrapping_sub(self.layout.origin) as usize
    }

    /// The frame at a distance from the origin.
    #[inline(always)]
    pub(super) fn frame(&self, offset: usize) -> Frame {
        Frame::new(self.layout.origin.wrapping_add(offset as u64))
    }

    #[inline(always)]
    pub(super) fn level(&self, level: usize) -> &Level {
        &self.layout.levels[level % MAX_LEVELS]
    }

    /// Where a row's word is.
    #[inline(always)]
    pub(super) fn slot(&self, level: usize, row: usize) -> usize {
        row.wrapping_add(self.level(level).shift)
    }

    /// The word at a place; beyond the slice nothing is free.
    #[inline(always)]
    pub(super) fn word_at(&self, at: usize) -> G::Word {
        self.words.get(at).copied().unwrap_or(G::Word::ZERO)
    }

    #[inline(always)]
    pub(super) fn set_word_at(&mut self, at: usize, word: G::Word) {
        if let Some(place) = self.words.get_mut(at) {
            *place = word;
        }
    }

    /// A row's word.
    #[inline(always)]
    pub(super) fn row(&self, level: usize, row: usize) -> G::Word {
        self.word_at(self.slot(level, row))
    }

    /// Whether a row leaves it to its parent to say what it stands for. It is full then, and so are those below it.
    #[inline(always)]
    pub(super) fn is_whole(&self, level: usize, row: usize) -> bool {
        level + 1 < self.layout.count && self.are_wholes(level + 1, row >> G::LOG2, bit::<G>(row))
    }

    /// Whether these units of a row above level 0 are wholes.
    #[inline(always)]
    pub(super) fn are_wholes(&self, level: usize, row: usize, units: G::Word) -> bool {
        self.word_at(row.wrapping_add(self.level(level).wholes)) & units == units
    }

    /// These units of a row above level 0 become wholes.
    #[inline(always)]
    pub(super) fn set_wholes(&mut self, level: usize, row: usize, units: G::Word) {
        let at = row.wrapping_add(self.level(level).wholes);
        self.set_word_at(at, self.word_at(at) | units);
    }

    /// A unit above level 0 is a whole no more.
    #[inline(always)]
    pub(super) fn clear_whole(&mut self, level: usize, unit: usize) {
        let at = (unit >> G::LOG2).wrapping_add(self.level(level).wholes);
        self.set_word_at(at, self.word_at(at) & !bit::<G>(unit));
    }

    /// Whether a row that [is whole](Self::is_whole) is free. O(levels).
    pub(super) fn is_free_as_a_whole(&self, level: usize, row: usize) -> bool {
        let (mut level, mut row) = (level, row);
        while level + 1 < self.layout.count {
            let (parent, unit) = (row >> G::LOG2, bit::<G>(row));
            if self.row(level + 1, parent) & unit == G::Word::ZERO {
                return false;
            }
            if !self.is_whole(level + 1, parent) {
                return true;
            }
            (level, row) = (level + 1, parent);
        }
        true
    }

    /// The row of a level in which a frame lies.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "shifted down, an offset still fits usize")]
    pub(super) fn row_of(level: usize, offset: usize) -> usize {
        // In 64 bits: on narrower machines the shift may exceed the width of usize.
        (offset as u64 >> (G::LOG2 * (level as u32 + 1))) as usize
    }

    /// The unit of a level in which a frame lies.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "shifted down, an offset still fits usize")]
    pub(super) fn unit_of(level: usize, offset: usize) -> usize {
        (offset as u64 >> (G::LOG2 * level as u32)) as usize
    }

    /// The level and the class of an order.
    #[inline(always)]
    pub(super) fn place_of(order: u32) -> (usize, u32) {
        ((order / G::LOG2) as usize, order % G::LOG2)
    }

    /// How many orders its levels have.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 8 levels")]
    pub(super) fn orders(&self) -> u32 {
        self.layout.count as u32 * G::LOG2
    }

    /// The aligned blocks that fill a run, from first to last: offset and order.
    pub(super) fn blocks(&self, offset: usize, count: u64) -> impl Iterator<Item = (usize, u32)> + use<G> {
        let largest = self.orders().saturating_sub(1);
        let (mut at, mut left) = (offset, count);
        core::iter::from_fn(move || {
            let order = left.checked_ilog2()?.min(at.trailing_zeros()).min(largest);
            let block = (at, order);
            at = at.wrapping_add(1 << order);
            left -= 1 << order;
            Some(block)
        })
    }
}

#[cfg(test)]
mod tests;
