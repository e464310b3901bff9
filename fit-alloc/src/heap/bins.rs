//! Which holes are where: one list for each class of sizes, and a bit for each list that is not empty.
//!
//! ```text
//!  size in granules   1 2 3 … 31 │ 32–33  34–35 … 62–63 │ 64–67 … 124–127 │ …       (Standard)
//!  bin                1 2 3 … 31 │  32     33   …   47  │  48   …   63    │ … 463
//!                     exact      │  16 bins for each doubling
//!
//!  summary    101               bit w: occupied[w] is not 0, or was not
//!  occupied   [0…0101] [0] [1…] bit b of word w: that bin holds a hole
//! ```
//! The class of a size is its leading bits, as in a floating-point number: computed without a branch.
#![forbid(unsafe_code)]

use super::shape::{Shape, Word};

const BITS: usize = usize::BITS as usize;

/// List heads by size class. Links are granule indices; 0 is none.
///
/// Invariants:
/// * a bin's occupied bit is set iff its head is not 0;
/// * a summary bit is set if its word of `occupied` is not 0, and stays set until a search finds the word to be 0: so
///   that taking a hole out of a list has one word less to keep. A compact shape has no summary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bins<S: Shape> {
    summary: usize,
    occupied: S::Occupied,
    heads: S::Heads,
}

/// How far a size is shifted to leave its `LOG2_SUB + 1` leading bits.
#[inline]
fn shift_of<S: Shape>(size: usize) -> u32 {
    (size | (1 << S::LOG2_SUB)).ilog2() - S::LOG2_SUB
}

/// The bin that holds holes of `size` granules.
#[inline]
pub(crate) fn bin_of<S: Shape>(size: usize) -> usize {
    let shift = shift_of::<S>(size);
    ((shift as usize) << S::LOG2_SUB) + (size >> shift)
}

/// The first bin whose every hole has at least `size` granules.
#[inline]
pub(crate) fn bin_at_least<S: Shape>(size: usize) -> usize {
    let shift = shift_of::<S>(size);
    ((shift as usize) << S::LOG2_SUB) + ((size + ((1 << shift) - 1)) >> shift)
}

/// The back link of the first hole of a bin: above every index. So a hole leaves its list without its bin being computed.
#[inline]
pub(crate) fn head_mark<S: Shape>(bin: usize) -> S::Word {
    S::Word::from_index(S::Word::MAX_INDEX - bin)
}

/// The bin whose mark this is; not a bin if the back link is an index.
#[inline]
pub(crate) fn marked_bin<S: Shape>(back: S::Word) -> usize {
    S::Word::MAX_INDEX - back.to_index()
}

/// Sizes below this have a bin each, of the same number.
pub(crate) const fn exact<S: Shape>() -> usize {
    2 << S::LOG2_SUB
}

impl<S: Shape> Bins<S> {
    pub(crate) const EMPTY: Self = Self { summary: 0, occupied: S::NONE_OCCUPIED, heads: S::NO_HEADS };

    /// The first hole of a bin, or 0.
    #[inline]
    pub(crate) fn head(&self, bin: usize) -> usize {
        self.heads.as_ref()[bin & (S::BINS - 1)].to_index()
    }

    /// Where the head of a bin is stored, for the branch-free unlinking of the engine.
    #[inline]
    pub(crate) fn head_mut(&mut self, bin: usize) -> &mut S::Word {
        &mut self.heads.as_mut()[bin & (S::BINS - 1)]
    }

    /// Marks a bin as not empty.
    #[inline]
    pub(crate) fn occupy(&mut self, bin: usize) {
        if !S::COMPACT {
            self.summary |= 1 << (bin / BITS);
        }
        self.occupied.as_mut()[(bin / BITS) & (S::BINS / BITS - 1)] |= 1 << (bin % BITS);
    }

    /// Marks a bin as empty, if it is.
    #[inline]
    pub(crate) fn vacate_if(&mut self, bin: usize, empty: bool) {
        let word = &mut self.occupied.as_mut()[(bin / BITS) & (S::BINS / BITS - 1)];
        *word &= !(usize::from(empty) << (bin % BITS));
    }

    /// Whether no bin at or after `bin` holds a hole. May say no when [`next_occupied`](Self::next_occupied) finds none.
    #[inline]
    pub(crate) fn none_from(&self, bin: usize) -> bool {
        let word = bin / BITS;
        let here = self.word(word) >> (bin % BITS);
        // Shifting in two steps: a word may be the last that the summary has bits for.
        here | self.summary >> word >> 1 == 0
    }

    /// The first bin at or after `bin` that is not empty; `BINS` if there is none. At most one step a word.
    #[inline]
    pub(crate) fn next_occupied(&mut self, bin: usize) -> usize {
        if bin >= S::BINS {
            return S::BINS;
        }
        let word = bin / BITS;
        let here = self.word(word) & (!0 << (bin % BITS));
        if here != 0 {
            return word * BITS + here.trailing_zeros() as usize;
        }
        if S::COMPACT {
            return self.next_occupied((word + 1) * BITS);
        }
        let mut later = self.summary & ((!0 << word) << 1);
        while later != 0 {
            let word = later.trailing_zeros() as usize;
            let bits = self.word(word);
            if bits != 0 {
                return word * BITS + bits.trailing_zeros() as usize;
            }
            self.summary &= !(1 << word);
            later &= later - 1;
        }
        S::BINS
    }

    /// Whether the bits of a bin are as the invariants say.
    pub(crate) fn is_consistent(&self, bin: usize) -> bool {
        let word = self.word(bin / BITS);
        let bit = word >> (bin % BITS) & 1 != 0;
        let summary = S::COMPACT || self.summary >> (bin / BITS) & 1 != 0;
        bit == (self.head(bin) != 0) && (summary || word == 0)
    }

    #[inline]
    fn word(&self, word: usize) -> usize {
        self.occupied.as_ref()[word & (S::BINS / BITS - 1)]
    }
}

#[cfg(test)]
mod tests;
