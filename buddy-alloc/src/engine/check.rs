//! The invariants of [`Engine`], one by one.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, Violation};

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::layout::NONE;
use crate::row::{bit, full};

impl<G: Geometry> Engine<'_, G> {
    fn check_units(&self, level: usize, row: usize) -> Result<(), Violation> {
        let word = self.row(level, row);
        let rule = "no bit lies outside its row";
        Violation::unless(word & !full::<G>() == G::Word::ZERO, rule, row as u64)?;
        if level == 0 {
            return Ok(());
        }
        (0..1 << G::LOG2).filter(|unit| word & bit::<G>(*unit) != G::Word::ZERO).try_for_each(|unit| {
            let child = row << G::LOG2 | unit;
            let rule = "a unit's bit is set only if it is a whole";
            Violation::unless(self.is_whole(level - 1, child), rule, child as u64)
        })
    }

    /// The row below each whole.
    fn check_wholes(&self, level: usize, row: usize) -> Result<(), Violation> {
        let wholes = |level: usize, row: usize, unit: usize| self.are_wholes(level, row, bit::<G>(unit));
        (0..1 << G::LOG2).filter(|unit| wholes(level, row, *unit)).try_for_each(|unit| {
            let child = row << G::LOG2 | unit;
            let word = self.row(level - 1, child);
            let filled = word == full::<G>() && !self.is_at_hand(level - 1, child);
            let rule = "a row that is a whole is full and not at hand";
            Violation::unless(filled, rule, child as u64)?;
            let below = level == 1 || self.are_wholes(level - 1, child, full::<G>());
            Violation::unless(below, "a whole has only wholes below", child as u64)
        })
    }

    fn check_notes(&self, level: usize, row: usize) -> Result<(), Violation> {
        if self.is_at_hand(level, row) {
            let listed = self.hand.iter().any(|at_hand| at_hand == (level, row))
                || level == 0 && self.row_of_frames() == Some(row);
            Violation::unless(listed, "a row noted to be at hand is", row as u64)
        } else {
            let known = self.noted(level, row) == Self::class(self.row(level, row));
            Violation::unless(known, "the index knows the rows that are not at hand", row as u64)
        }
    }

    fn check_hint(&self) -> Result<(), Violation> {
        let hint = self.hand.hint(0);
        let there = hint == NONE || self.is_at_hand(0, hint.wrapping_sub(self.level(0).shift));
        Violation::unless(there, "the row that gives single frames is at hand", hint as u64)
    }

    fn check_index(&self, level: usize) -> Result<(), Violation> {
        let here = self.level(level);
        for class in 0..G::LOG2 {
            // What the tier below says of each of its groups, or at the bottom of each row.
            let (mut below, mut members) = (None, here.rows);
            for tier in here.tiers.iter().take(here.depth) {
                let word = |tier: usize, group: usize| {
                    self.word_at(tier + group * G::LOG2 as usize + class as usize)
                };
                for member in 0..members {
                    let row = member + here.first;
                    let expected = match below {
                        None => self.noted(level, row) == Some(class),
                        Some(below) => word(below, member) != G::Word::ZERO,
                    };
                    let found = word(*tier, member >> G::LOG2) & bit::<G>(member) != G::Word::ZERO;
                    let rule = "the index has the rows that are noted to be in it, by class";
                    Violation::unless(expected == found, rule, row as u64)?;
                }
                (below, members) = (Some(*tier), members.div_ceil(1 << G::LOG2));
            }
            let any = below.is_some_and(|top| self.word_at(top + class as usize) != G::Word::ZERO);
            let rule = "a level knows the classes that it has";
            Violation::unless(any == (here.classes >> class & 1 == 1), rule, class.into())?;
        }
        Ok(())
    }
}

impl<G: Geometry> CheckInvariants for Engine<'_, G> {
    /// The invariants that the type lists. O(words × width). `at` is a row, a class or a frame, as the rule says.
    fn check_invariants(&self) -> Result<(), Violation> {
        for level in 0..self.layout.count {
            let here = self.level(level);
            for row in here.first..here.first + here.rows {
                self.check_units(level, row)?;
                self.check_notes(level, row)?;
                if level > 0 {
                    self.check_wholes(level, row)?;
                }
            }
            self.check_index(level)?;
        }
        self.check_hint()?;
        self.check_heads()?;
        let mut free = 0;
        for run in self.free_runs() {
            free += run.count();
            let (first, count) = (run.first(), run.count());
            Violation::unless(self.banks.hold(first, count), "a free frame lies in a bank", first.number())?;
        }
        Violation::unless(free == self.free.now(), "the count of free frames is that of the bits", free)
    }
}
