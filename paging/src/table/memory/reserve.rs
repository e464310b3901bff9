//! Tables for one operation, all taken before anything is changed.
#![expect(unsafe_code, reason = "makes slices of spare tables")]

use core::marker::PhantomData;
use core::slice;

use hectare_core::FrameSource;

use super::spare::{Spare, Word, give_spare, take_frames};
use crate::table::flush::Freed;
use crate::table::{TableError, TableFormat, TableWindow};

/// Tables that were taken from the source for one operation.
///
/// # Invariants
/// * each was taken from the source, is in no other list and linked nowhere
/// * the window shows it, and an entry and a list link can say its address
pub(in crate::table) struct Reserve<F: TableFormat> {
    list: Freed,
    format: PhantomData<F>,
}

impl<F: TableFormat> Reserve<F> {
    pub(in crate::table) const EMPTY: Self = Self { list: Freed::NONE, format: PhantomData };

    /// `count` tables of any level but the root's, all or none.
    pub(in crate::table) fn take<W: TableWindow, S: FrameSource>(
        count: u64,
        window: &W,
        source: &mut S,
    ) -> Result<Self, TableError> {
        let mut reserve = Self::EMPTY;
        for _ in 0..count {
            if let Err(error) = reserve.take_one(window, source) {
                reserve.give_back(window, source);
                return Err(error);
            }
        }
        Ok(reserve)
    }

    fn take_one<W: TableWindow, S: FrameSource>(
        &mut self,
        window: &W,
        source: &mut S,
    ) -> Result<(), TableError> {
        let address = take_frames::<F, W, S>(F::PAGE.bytes(), window, source)?;
        // The first word alone is written: a slice would need all of them initialised.
        if let Some(pointer) = window.table(address, F::PAGE.bytes()) {
            // SAFETY: (1) the frame was just taken, and the window shows it; (2) a word may have any contents.
            let word = unsafe { pointer.cast::<Word<F>>().as_mut() };
            word.write(self.list.link::<F>());
        }
        self.list = Freed { first: address, level: 0, count: self.list.count + 1 };
        Ok(())
    }

    /// One of them. Its contents are unspecified: every word must be written before it is linked.
    pub(in crate::table) fn pop<'t, W: TableWindow>(
        &mut self,
        window: &'t W,
        level: usize,
    ) -> Option<Spare<'t, F>> {
        self.list.count.checked_sub(1)?;
        let address = self.list.first;
        let pointer = window.table(address, F::PAGE.bytes())?.cast::<Word<F>>();
        // SAFETY: a table of this list is exclusively ours.
        let word = unsafe { pointer.as_ref() };
        // SAFETY: its first word was written by `take_one`.
        let word = unsafe { word.read() };
        self.list = self.list.rest::<F>(word);
        // SAFETY: (1) the window's promise: valid for a page, which holds a table of any level but the root's, and is
        // aligned to it; (2) a `Word` may have any contents; (3) the frame is exclusively ours (first invariant),
        // and left the list.
        let entries =
            unsafe { slice::from_raw_parts_mut(pointer.cast::<Word<F>>().as_ptr(), F::entries(level)) };
        Some(Spare { entries, address })
    }

    /// Takes one back that was popped here and not linked.
    pub(in crate::table) fn push(&mut self, spare: Spare<'_, F>) {
        if let Some(word) = spare.entries.first_mut() {
            word.write(self.list.link::<F>());
        }
        self.list = Freed { first: spare.address, level: 0, count: self.list.count + 1 };
    }

    /// What is left returns to the source.
    pub(in crate::table) fn give_back<W: TableWindow, S: FrameSource>(mut self, window: &W, source: &mut S) {
        while let Some(spare) = self.pop(window, 0) {
            give_spare(spare, source);
        }
    }
}
