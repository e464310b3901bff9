//! Arithmetic on one row: which aligned runs of each class it has.
//!
//! ```text
//!   bit        7 6 5 4 3 2 1 0
//!   row        1 1 1 1 0 1 1 0      set = free
//!   runs[0]    1 1 1 1 0 1 1 0      the row itself
//!   runs[1]    · 1 · 1 · 0 · 0      both halves of an aligned pair are set
//!   runs[2]    · · · 1 · · · 0      both pairs of an aligned four are set      → class 2: one run of 4 at bit 4
//! ```
#![forbid(unsafe_code)]

use crate::geometry::{Geometry, Word};

/// More classes than any row has.
const CLASSES: usize = 8;

/// Bits at the multiples of 2^index.
const MULTIPLES: [u64; CLASSES] = [
    0xffff_ffff_ffff_ffff,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    0x0000_0000_0000_0001,
    0,
];

/// A row, asked for its aligned runs: those of 2^c set bits that begin at a multiple of 2^c.
///
/// The row is seen as lanes of 2^c bits. Adding 1 to each carries into a lane's highest bit iff all bits below it are
/// set, and never further, because the highest bits are left out of the sum. Four operations for any class, none of
/// which waits for another class.
pub(crate) struct Runs<G: Geometry>(G::Word);

impl<G: Geometry> Runs<G> {
    #[inline(always)]
    pub(crate) fn of(row: G::Word) -> Self {
        Self(row)
    }

    /// The highest bits of the runs of `class`.
    #[inline(always)]
    fn ends(&self, class: u32) -> G::Word {
        let lowest = MULTIPLES[class as usize % CLASSES];
        let (lowest, highest) = (G::Word::truncate(lowest), G::Word::truncate(lowest << ((1 << class) - 1)));
        (self.0 & !highest).plus(lowest) & self.0 & highest
    }

    /// The starts of the runs of `class`.
    #[inline(always)]
    pub(crate) fn of_class(&self, class: u32) -> G::Word {
        self.ends(class) >> ((1 << class) - 1)
    }

    /// The largest class that has a run; meaningless for an empty row. A full row counts as the largest class but one
    /// that a row could have: it is never asked.
    #[inline(always)]
    pub(crate) fn largest(&self) -> u32 {
        // Each class from the one below: here all of them are wanted.
        let (mut runs, mut largest, mut class) = (self.0, 0, 1);
        while class < G::LOG2 {
            let pairs = G::Word::truncate(MULTIPLES[class as usize % CLASSES]);
            runs = runs & (runs >> (1 << (class - 1))) & pairs;
            largest += u32::from(runs != G::Word::ZERO);
            class += 1;
        }
        largest
    }

    /// The starts of the runs of `class` that are no half of a larger run.
    #[inline(always)]
    pub(crate) fn maximal(&self, class: u32) -> G::Word {
        let above = self.of_class(class + 1);
        let halves = if class + 1 < G::LOG2 { above | (above << (1 << class)) } else { G::Word::ZERO };
        self.of_class(class) & !halves
    }

    /// Where to take a run of `class` from: the lowest that breaks no larger one, else the lowest.
    #[inline(always)]
    pub(crate) fn place(&self, class: u32) -> Option<u32> {
        let (maximal, any) = (self.maximal(class), self.of_class(class));
        let from = if maximal == G::Word::ZERO { any } else { maximal };
        if from == G::Word::ZERO { None } else { Some(from.lowest()) }
    }
}

/// All bits of a row.
#[inline(always)]
pub(crate) fn full<G: Geometry>() -> G::Word {
    G::Word::truncate(u64::MAX >> (64 - G::BITS))
}

/// The lowest 2^class bits.
#[inline(always)]
pub(crate) fn low<G: Geometry>(class: u32) -> G::Word {
    G::Word::truncate(u64::MAX >> (64 - (1 << class)))
}

/// Bit `position` of a row.
#[inline(always)]
pub(crate) fn bit<G: Geometry>(position: usize) -> G::Word {
    G::Word::ONE << bit_number::<G>(position)
}

/// The low bits of `position` that number a bit in its row.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
pub(crate) fn bit_number<G: Geometry>(position: usize) -> u32 {
    position as u32 & (G::BITS - 1)
}

#[cfg(test)]
mod tests;
