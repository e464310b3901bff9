//! Where blocks begin: what an exact engine knows more, and all of it does nothing in the others.
//!
//! ```text
//!   frames      a a a a b b c d d d · ·      four blocks, then two free frames
//!   heads       1 · · · 1 · 1 1 · · · ·      a block ends where the next begins, at a free frame, or with its bank
//! ```
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{FrameRun, FreeError, Violation};

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::row::{bit, bit_number, full};

impl<G: Geometry> Engine<'_, G> {
    /// Makes two blocks of one: its first `count` frames and the rest, each to be given back by itself. Only engines of
    /// an exact geometry need it; the others take any part. O(blocks in the run × levels).
    ///
    /// # Errors
    /// [`FreeError::WrongSize`] iff the run has no more than `count` frames, or the engine is exact and no block of that
    /// size begins there; else as [`free`](Self::free). Nothing is changed then.
    pub fn split(&mut self, run: FrameRun, count: NonZero<u64>) -> Result<(FrameRun, FrameRun), FreeError> {
        self.check_block(run)?;
        let parts = run.count().checked_sub(count.get()).and_then(|rest| {
            let first = FrameRun::new(run.first(), count.get())?;
            Some((first, FrameRun::new(first.end(), rest)?))
        });
        let (first, rest) = parts.ok_or(FreeError::WrongSize)?;
        self.mark(self.offset(rest.first()));
        Ok((first, rest))
    }

    /// Whether a run may be given back: managed, allocated and, if the engine is exact, one block.
    pub(super) fn check_block(&mut self, run: FrameRun) -> Result<(), FreeError> {
        if !self.banks.manage(run.first(), run.count()) {
            return Err(FreeError::Foreign);
        }
        let offset = self.offset(run.first());
        if !self.is_run_allocated(offset, run.count()) {
            return Err(FreeError::NotAllocated);
        }
        if self.is_block(offset, run.count()) { Ok(()) } else { Err(FreeError::WrongSize) }
    }

    /// A block begins here.
    #[inline(always)]
    pub(super) fn mark(&mut self, offset: usize) {
        if G::EXACT {
            let at = self.heads_of(offset);
            self.set_word_at(at, self.word_at(at) | bit::<G>(offset));
        }
    }

    /// The block that begins here is gone.
    #[inline(always)]
    pub(super) fn unmark(&mut self, offset: usize) {
        if G::EXACT {
            let at = self.heads_of(offset);
            self.set_word_at(at, self.word_at(at) & !bit::<G>(offset));
        }
    }

    /// Whether allocated frames are exactly one block. O(rows of the run).
    #[inline(always)]
    pub(super) fn is_block(&self, offset: usize, count: u64) -> bool {
        !G::EXACT
            || self.is_head(offset) && self.first_head_after(offset, count) && self.ends_at(offset, count)
    }

    /// The words that say where blocks begin; none if the engine is not exact.
    pub(super) fn heads(&self) -> &[G::Word] {
        let here = self.level(0);
        let start = here.first.wrapping_add(self.layout.heads);
        let rows = if G::EXACT { here.rows } else { 0 };
        self.words.get(start..start.wrapping_add(rows)).unwrap_or_default()
    }

    /// As [`heads`](Self::heads), to restore them.
    pub(super) fn heads_mut(&mut self) -> &mut [G::Word] {
        let here = self.level(0);
        let start = here.first.wrapping_add(self.layout.heads);
        let rows = if G::EXACT { here.rows } else { 0 };
        self.words.get_mut(start..start.wrapping_add(rows)).unwrap_or_default()
    }

    /// Blocks begin at allocated frames of the banks, and allocated frames begin with a block.
    pub(super) fn check_heads(&self) -> Result<(), Violation> {
        for (row, heads) in (self.level(0).first..).zip(self.heads()) {
            let mut rest = *heads;
            while rest != G::Word::ZERO {
                let frame = self.frame(row << G::LOG2 | rest.lowest() as usize);
                let held = self.banks.hold(frame, 1) && !self.is_free(frame);
                Violation::unless(held, "a block begins at an allocated frame of a bank", frame.number())?;
                rest = rest & !(G::Word::ONE << rest.lowest());
            }
        }
        if !G::EXACT {
            return Ok(());
        }
        let starts = self.banks.iter().map(FrameRun::first).chain(self.free_runs().map(FrameRun::end));
        for frame in starts.filter(|frame| self.banks.hold(*frame, 1) && !self.is_free(*frame)) {
            let rule = "allocated frames begin with a block";
            Violation::unless(self.is_head(self.offset(frame)), rule, frame.number())?;
        }
        Ok(())
    }

    /// The word that says where blocks begin around a frame.
    #[inline(always)]
    fn heads_of(&self, offset: usize) -> usize {
        (offset >> G::LOG2).wrapping_add(self.layout.heads)
    }

    #[inline(always)]
    fn is_head(&self, offset: usize) -> bool {
        self.word_at(self.heads_of(offset)) & bit::<G>(offset) != G::Word::ZERO
    }

    /// Whether no other block begins inside a run. O(rows of the run).
    #[inline(always)]
    fn first_head_after(&self, offset: usize, count: u64) -> bool {
        let (mut at, mut left) = (offset.wrapping_add(1), count.saturating_sub(1));
        while left > 0 {
            let position = bit_number::<G>(at);
            let length = left.min((G::BITS - position).into());
            let mask = (full::<G>() >> (G::BITS - Self::bits(length))) << position;
            if self.word_at(self.heads_of(at)) & mask != G::Word::ZERO {
                return false;
            }
            at = at.wrapping_add(Self::bits(length) as usize);
            left -= length;
        }
        true
    }

    /// Whether no block reaches beyond the end of these frames.
    #[inline(always)]
    fn ends_at(&self, offset: usize, count: u64) -> bool {
        let end = offset.wrapping_add(Self::distance(count));
        // The planted fault: nobody looks behind the block, and its first part passes for the whole.
        cfg!(hectare_plant = "buddy_exact_end")
            || self.is_head(end)
            || self.is_free(self.frame(end))
            || !self.banks.hold(self.frame(end), 1)
    }

    /// At most the width of a row.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most the width of a row")]
    fn bits(length: u64) -> u32 {
        length as u32
    }
}
