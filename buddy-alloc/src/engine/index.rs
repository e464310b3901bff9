//! The index of rows by class: which row with a run of that class has the lowest address.
#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::layout::MAX_LEVELS;
use crate::row::{Runs, bit, bit_number, full};

impl<G: Geometry> Engine<'_, G> {
    /// A group of tier 0 has a row of this class now: the tiers above learn of it.
    #[inline(never)]
    fn enter_above(&mut self, level: usize, mut number: usize, class: u32) {
        let here = &mut self.layout.levels[level % MAX_LEVELS];
        for tier in here.tiers.iter().take(here.depth).skip(1) {
            let Some(word) = self.words.get_mut(Self::entry(*tier, number, class)) else { return };
            let before = *word;
            *word = before | bit::<G>(number);
            if before != G::Word::ZERO {
                return;
            }
            number >>= G::LOG2;
        }
        here.classes |= 1 << class;
    }

    /// Row `row` of `level` leaves the index. O(depth), mostly one word.
    #[inline(always)]
    pub(super) fn leave(&mut self, level: usize, row: usize, class: u32) {
        let here = self.level(level);
        let number = row.wrapping_sub(here.first);
        let Some(word) = self.words.get_mut(Self::entry(here.tiers[0], number, class)) else { return };
        let after = *word & !bit::<G>(number);
        *word = after;
        if after == G::Word::ZERO {
            self.leave_above(level, number >> G::LOG2, class);
        }
    }

    /// Row `row` of `level` goes from one class to another; 0 is none, else they are one more than the class. O(depth).
    ///
    /// Without a branch on either: whether a row was in the index, and will be, is as good as random.
    #[inline(always)]
    pub(super) fn move_in_index(&mut self, level: usize, row: usize, from: u32, to: u32) {
        let here = self.level(level);
        let (number, tier) = (row.wrapping_sub(here.first), here.tiers[0]);
        let mask = |so: bool| G::Word::truncate(u64::from(so)) << bit_number::<G>(number);
        let (left, entered) = (mask((from != 0) & (from != to)), mask((to != 0) & (from != to)));
        let (from, to) = (from.saturating_sub(1), to.saturating_sub(1));
        let (leaves, enters) = (Self::entry(tier, number, from), Self::entry(tier, number, to));
        let before = self.word_at(leaves);
        let after = before & !left;
        self.set_word_at(leaves, after);
        if after == G::Word::ZERO && before != G::Word::ZERO {
            self.leave_above(level, number >> G::LOG2, from);
        }
        let before = self.word_at(enters);
        let after = before | entered;
        self.set_word_at(enters, after);
        if before == G::Word::ZERO && after != G::Word::ZERO {
            self.enter_above(level, number >> G::LOG2, to);
        }
    }

    /// A group of tier 0 has no row of this class any more: the tiers above learn of it.
    #[inline(never)]
    fn leave_above(&mut self, level: usize, mut number: usize, class: u32) {
        let here = &mut self.layout.levels[level % MAX_LEVELS];
        for tier in here.tiers.iter().take(here.depth).skip(1) {
            let Some(word) = self.words.get_mut(Self::entry(*tier, number, class)) else { return };
            let after = *word & !bit::<G>(number);
            *word = after;
            if after != G::Word::ZERO {
                return;
            }
            number >>= G::LOG2;
        }
        here.classes &= !(1 << class);
    }

    /// Where a tier keeps the bit of member `number` for a class.
    #[inline(always)]
    pub(super) fn entry(tier: usize, number: usize, class: u32) -> usize {
        tier.wrapping_add((number >> G::LOG2) * G::LOG2 as usize).wrapping_add(class as usize)
    }

    /// The lowest indexed row of a class that has one. O(depth).
    #[inline]
    pub(super) fn lowest(&self, level: usize, class: u32) -> usize {
        let here = self.level(level);
        let (mut number, mut tier) = (0, here.depth);
        while tier > 0 {
            tier -= 1;
            let word = self.word_at(Self::entry(here.tiers[tier % MAX_LEVELS], number << G::LOG2, class));
            number = number << G::LOG2 | word.lowest() as usize;
        }
        number + here.first
    }

    /// The lowest indexed row of a class from row `from` on. O(depth).
    pub(super) fn lowest_from(&self, level: usize, class: u32, from: usize) -> Option<usize> {
        let here = self.level(level);
        let mut number = from.saturating_sub(here.first);
        let word = |tier: usize, group: usize| {
            let at = here.tiers.get(tier).map(|at| at + group * G::LOG2 as usize + class as usize);
            at.map_or(G::Word::ZERO, |at| self.word_at(at))
        };
        if here.classes >> class & 1 == 0 || number >= here.rows {
            return None;
        }
        // Up, until a group has something at or after the number; then down again.
        for tier in 0..here.depth {
            let rest = word(tier, number >> G::LOG2) & (full::<G>() << bit_number::<G>(number));
            if rest == G::Word::ZERO {
                number = (number >> G::LOG2) + 1;
                let groups = here.rows.div_ceil(1 << (G::LOG2 as usize * (tier + 1)));
                if number >= groups {
                    return None;
                }
                continue;
            }
            number = number >> G::LOG2 << G::LOG2 | rest.lowest() as usize;
            for lower in (0..tier).rev() {
                number = number << G::LOG2 | word(lower, number).lowest() as usize;
            }
            return Some(number + here.first);
        }
        None
    }

    /// The class by which a row is indexed; `None` for empty rows (nothing to find) and full ones (their parent has
    /// them).
    #[inline(always)]
    pub(super) fn class(word: G::Word) -> Option<u32> {
        if word == G::Word::ZERO || word == full::<G>() { None } else { Some(Runs::<G>::of(word).largest()) }
    }
}
