//! Which hole a request gets: the placement policies, each exact and with a bound that tests hold it to.
//!
//! | policy | takes | search | ties |
//! |---|---|---|---|
//! | [`BestFit`] | the smallest hole that fits | O(word) | the hole that got its size last |
//! | [`WorstFit`] | the largest hole | O(word) | the hole that got its size last |
//! | [`FirstFit`] | the lowest hole that fits | O(log holes) | – |
//! | [`NextFit`] | the first that fits from where the last search ended | O(log holes) | – |
//! | [`LastFit`] | the highest hole that fits, at its upper end | O(log holes) | – |
//! | [`GoodFit`] | a hole in the lowest class that surely fits, 1/32 of an octave wide, mostly | O(1) | the hole that came into its class last |
//! | [`HalfFit`] | a hole of the next power-of-two class | O(1) | the hole that came into its class last |
//!
//! "Smallest", "lowest" and so on hold exactly, as if every hole had been looked at. Lowest-address ties for best and
//! worst fit would need a second search tree for each size; the last-changed hole is also the one whose neighbours are
//! still in the cache.
//!
//! A request with an alignment, a window or a boundary is answered exactly too: the first hole *in the policy's order*
//! in which it has a place. That looks at holes one by one, so it is linear in the holes that are long enough but have
//! no such place; [`Search::Bounded`] looks at one and refuses.
#![forbid(unsafe_code)]

mod chunk;
mod classes;
mod index;
mod ordered;
mod segregated;
mod size_index;
mod sized;
#[cfg(test)]
pub(crate) mod steps;
mod tree;

pub use chunk::Chunk;
pub use segregated::half_fit_space;
pub use tree::chunks_for;

pub(crate) use index::{Found, Index};
use ordered::{FirstIndex, LastIndex, NextIndex};
use segregated::{GoodIndex, HalfIndex};
use sized::{BestIndex, WorstIndex};

use crate::range::Unit;

/// Counts a visit to a node, a chunk or the size of a hole, in unit tests only.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(test)]
    steps::count();
}

/// How the steps of one search, insertion or removal grow. A step is one node or chunk visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A constant number.
    Constant,
    /// Proportional to the bits of a unit, whatever the number of holes.
    Word,
    /// Proportional to the logarithm of the number of holes.
    Logarithm,
}

impl Bound {
    /// The most steps that one allocation or one free may take among `holes` holes with units of `bits` bits.
    ///
    /// The constants count the up to three changes of the index in one operation.
    #[must_use]
    pub const fn steps(self, bits: u32, holes: u64) -> u64 {
        match self {
            Self::Constant => 16,
            Self::Word => 16 + 8 * bits as u64,
            // A chunk is at least half full: the height is at most log8(holes) + 1.
            Self::Logarithm => 16 + 20 * ((holes | 1).ilog2() as u64 / 3 + 1),
        }
    }
}

/// How hard to look before refusing a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Search {
    /// Refuses only when no hole has a place for the request: within the policy's bound for a plain request under an
    /// exact policy, else linear in the holes.
    #[default]
    Complete,
    /// Always within the policy's bound; may refuse what good or half fit or a constraint hides, and then says
    /// [`Fragmented`](crate::range::RangeError::Fragmented).
    Bounded,
}

/// A placement policy. The trait is sealed; its implementations are listed in the [module](self).
pub trait Policy: sealed::Sealed {
    /// The policy's usual name: `best fit`.
    const NAME: &'static str;
    /// What one operation costs: the promise that tests hold the policy to.
    const BOUND: Bound;
    /// How the policy keeps its holes.
    #[doc(hidden)]
    type Index<U: Unit>: Index<U>;
}

mod sealed {
    /// Keeps [`Policy`](super::Policy) closed.
    pub trait Sealed {}
}

macro_rules! policy {
    ($($(#[$doc:meta])* $policy:ident $name:literal $bound:ident $index:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $policy;

        impl sealed::Sealed for $policy {}

        impl Policy for $policy {
            const NAME: &'static str = $name;
            const BOUND: Bound = Bound::$bound;
            type Index<U: Unit> = $index<U>;
        }
    )*};
}
policy! {
    /// The smallest hole that fits; among equals the one that got its size last. Exact, O(word).
    BestFit "best fit" Word BestIndex;
    /// The largest hole; among equals the one that got its size last. Exact, O(word).
    WorstFit "worst fit" Word WorstIndex;
    /// The lowest hole that fits. Exact, O(log holes).
    FirstFit "first fit" Logarithm FirstIndex;
    /// The first hole that fits from the end of the block that the last search placed, starting with the hole around
    /// that point, and after the highest hole going on with the lowest. Exact, O(log holes).
    NextFit "next fit" Logarithm NextIndex;
    /// The highest hole that fits; the block is cut from its upper end. Exact, O(log holes).
    LastFit "last fit" Logarithm LastIndex;
    /// Segregated lists, one for each length below 2048 and thirty-two for each octave from there (two-level segregated
    /// fit: Masmano, Ripoll, Crespo and Real, "TLSF: a new dynamic memory allocator for real-time systems", ECRTS 2004),
    /// preceded by one look at the list that the length itself belongs to. O(1); the complete search adds a walk of one list before it refuses.
    GoodFit "good fit" Constant GoodIndex;
    /// One list for each power of two; lengths are rounded up to one, as long as such a hole is there (Ogasawara, "An
    /// algorithm with constant execution time for dynamic storage allocation", RTCSA 1995). O(1), and in a space of
    /// [`half_fit_space`] units it never fails.
    HalfFit "half fit" Constant HalfIndex;
}
