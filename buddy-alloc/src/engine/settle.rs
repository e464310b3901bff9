//! Settling: the index learns of what came and went in the rows at hand.
#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::engine::hand::{AT_HAND, Hand, ROWS};
use crate::geometry::{Geometry, Word};
use crate::layout::NONE;
use crate::row::{Runs, full};

impl<G: Geometry> Engine<'_, G> {
    /// The index learns of every change on level 0, or on all those above. No such row is at hand then but that of order
    /// 0's hint.
    #[inline(never)]
    pub(super) fn settle(&mut self, level: usize) {
        let list = Hand::list(level);
        // A full row goes to its parent, which comes to hand.
        while let Some(last) = self.hand.lengths[list].checked_sub(1) {
            let (level, row) = Hand::apart(self.hand.rows[list][last % ROWS]);
            self.hand.lengths[list] = last;
            self.settle_row(level, row);
        }
        if let (0, Some(row)) = (list, self.row_of_frames()) {
            self.settle_row(0, row);
        }
    }

    /// No row is at hand any more, and the index knows all.
    pub(super) fn put_all_back(&mut self) {
        self.let_go();
        // From below: full rows go up.
        self.settle(0);
        self.settle(1);
    }

    /// The row of order 0's hint is at hand no more.
    #[inline(always)]
    pub(super) fn let_go(&mut self) {
        let Some(row) = self.row_of_frames() else { return };
        self.hand.set_hint(0, NONE);
        if self.row(0, row) == G::Word::ZERO {
            self.forget(0, row);
        } else {
            self.settle_one(0, row);
        }
    }

    /// The index learns of one row at hand; if a list has it, it keeps it, and nobody minds.
    #[inline(never)]
    pub(super) fn settle_one(&mut self, level: usize, row: usize) {
        self.settle_row(level, row);
    }

    /// Whether there are more than `most` rows at hand of which the index may not know all: on level 0, or above.
    pub(super) fn is_unsettled(&self, level: usize, most: usize) -> bool {
        let list = Hand::list(level);
        let (length, hint) = (self.hand.lengths[list], self.hand.hint(0));
        // The planted fault: the index is asked as it is.
        if length < most || cfg!(hectare_plant = "buddy_unsettled") {
            return false;
        }
        length != 0 || list == 0 && hint != NONE && self.is_news(hint)
    }

    /// Whether the index does not know what a row of level 0 has.
    fn is_news(&self, at: usize) -> bool {
        let word = self.word_at(at);
        // The planted fault: the row is overlooked.
        if cfg!(hectare_plant = "buddy_no_news") {
            return false;
        }
        let row = at.wrapping_sub(self.level(0).shift);
        self.is_at_hand(0, row) && (word == full::<G>() || self.noted(0, row) != Self::class(word))
    }

    /// The index learns of a row that is, or was, at hand; a full one goes to its parent. That of order 0's hint stays at hand.
    /// Without a branch on what there is to learn: that is as good as random.
    #[inline]
    fn settle_row(&mut self, level: usize, row: usize) {
        let (note, shift) = self.note_of(level, row);
        let notes = self.word_at(note);
        #[expect(clippy::cast_possible_truncation, reason = "four bits")]
        let noted = (notes >> shift).widen() as u32 & 15;
        let at = self.slot(level, row);
        let word = self.word_at(at);
        if noted >> AT_HAND == 0 {
            // It is known, or a whole by now.
            return;
        }
        let some = (word != G::Word::ZERO) & (word != full::<G>());
        let class = (Runs::<G>::of(word).largest() + 1) * u32::from(some);
        let new = class | u32::from(at == self.hand.hint(0)) << AT_HAND;
        let others = notes & !(G::Word::truncate(15) << shift);
        self.set_word_at(note, others | G::Word::truncate(new.into()) << shift);
        self.move_in_index(level, row, noted & 7, class);
        if word == full::<G>() {
            self.forget(level, row);
            self.fill(level, row);
        }
    }

    /// The rows at hand that are full.
    pub(super) fn full_at_hand(&self) -> impl Iterator<Item = (usize, usize)> + use<'_, G> {
        let listed = self.hand.iter().chain(self.row_of_frames().map(|row| (0, row)));
        listed.filter(|(level, row)| self.is_at_hand(*level, *row) && self.row(*level, *row) == full::<G>())
    }
}
