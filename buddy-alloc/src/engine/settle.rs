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
        let mut kept = None;
        // A full row goes to its parent, which comes to hand.
        while let Some(last) = self.hand.lengths[list].checked_sub(1) {
            let (level, row) = Hand::apart(self.hand.rows[list][last % ROWS]);
            self.hand.lengths[list] = last;
            if self.settle_row(level, row) {
                kept = Some(row);
            }
        }
        if let Some(row) = kept {
            self.push(0, row);
        }
    }

    /// No row is at hand any more, and the index knows all.
    pub(super) fn put_all_back(&mut self) {
        self.hand.set_hint(0, NONE);
        // From below: full rows go up.
        self.settle(0);
        self.settle(1);
    }

    /// The index learns of one row at hand; the list keeps it, and nobody minds.
    #[inline(never)]
    pub(super) fn settle_one(&mut self, level: usize, row: usize) {
        if self.settle_row(level, row) {
            self.add(level, row);
        }
    }

    /// Whether there are more than `most` rows at hand of which the index may not know all: on level 0, or above.
    pub(super) fn is_unsettled(&self, level: usize, most: usize) -> bool {
        let list = Hand::list(level);
        let (length, hint) = (self.hand.lengths[list], self.hand.hint(0));
        // The planted fault: the index is asked as it is.
        if length <= most || cfg!(hectare_plant = "buddy_unsettled") {
            return false;
        }
        // The row of order 0's hint is there always.
        length > 1 || list != 0 || hint == NONE || self.is_news(hint)
    }

    /// Whether the index does not know what a row of level 0 has.
    fn is_news(&self, at: usize) -> bool {
        let word = self.word_at(at);
        // The planted fault: the row is overlooked.
        if cfg!(hectare_plant = "buddy_no_news") {
            return false;
        }
        word == full::<G>() || self.noted(0, at.wrapping_sub(self.level(0).shift)) != Self::class(word)
    }

    /// The index learns of a row that is, or was, at hand; a full one goes to its parent. Whether it is the row of order 0's
    /// hint. Without a branch on what there is to learn: that is as good as random.
    #[inline]
    fn settle_row(&mut self, level: usize, row: usize) -> bool {
        let (note, shift) = self.note_of(level, row);
        let notes = self.word_at(note);
        #[expect(clippy::cast_possible_truncation, reason = "four bits")]
        let noted = (notes >> shift).widen() as u32 & 15;
        let at = self.slot(level, row);
        let word = self.word_at(at);
        if word == full::<G>() && noted >> AT_HAND == 0 {
            // A whole by now.
            return false;
        }
        let some = (word != G::Word::ZERO) & (word != full::<G>());
        let class = (Runs::<G>::of(word).largest() + 1) * u32::from(some);
        let (kept, new) =
            (notes & !(G::Word::truncate(15) << shift), G::Word::truncate(class.into()) << shift);
        self.set_word_at(note, kept | new);
        self.move_in_index(level, row, noted & 7, class);
        if word == full::<G>() {
            self.forget(level, row);
            self.fill(level, row);
            return false;
        }
        at == self.hand.hint(0)
    }

    /// The rows at hand that are full.
    pub(super) fn full_at_hand(&self) -> impl Iterator<Item = (usize, usize)> + use<'_, G> {
        self.hand
            .iter()
            .filter(|(level, row)| self.is_at_hand(*level, *row) && self.row(*level, *row) == full::<G>())
    }
}
