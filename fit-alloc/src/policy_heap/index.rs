//! What an index of holes does for a heap, and which of several regions a policy prefers.
#![forbid(unsafe_code)]

use core::fmt::Debug;

use hectare_core::Violation;

use super::memory::{Hole, Memory};

/// Which of the regions' candidates a policy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the lowest region that has one.
    Lowest,
    /// That of the highest region that has one.
    Highest,
    /// The smallest hole; the lowest region's of equals.
    Smallest,
    /// The largest hole; the lowest region's of equals.
    Largest,
    /// The first from where the last search ended, and around.
    Round,
}

/// The part of the space that a search covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of the region.
    Whole,
    /// From where the last search ended up.
    Onward,
}

/// A hole, and the granule in it at which the block is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hole.
    pub hole: Hole,
    /// The block's first granule.
    pub at: u32,
}

/// So many granules, the first at an address that is a multiple of some power of two of them.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(super) size: u32,
    /// In granules; 1: anywhere.
    pub(super) align: usize,
    /// The number of the region's first granule, counted from address 0.
    pub(super) base: usize,
}

impl Request {
    /// The lowest place in a hole.
    #[inline]
    pub(super) fn lowest_in(&self, hole: Hole) -> Option<u32> {
        let from = self.base.checked_add(hole.start as usize)?;
        let to = from.checked_add(self.align - 1)? & !(self.align - 1);
        let at = u32::try_from(to - self.base).ok()?;
        let end = at.checked_add(self.size)?;
        if end <= hole.end() { Some(at) } else { None }
    }

    /// The highest place in a hole.
    #[inline]
    pub(super) fn highest_in(&self, hole: Hole) -> Option<u32> {
        let last = hole.end().checked_sub(self.size)?;
        let to = self.base.checked_add(last as usize)? & !(self.align - 1);
        let at = u32::try_from(to.checked_sub(self.base)?).ok()?;
        if at >= hole.start { Some(at) } else { None }
    }
}

/// An index of all holes of one region, ordered for one policy.
///
/// A hole that ceases to be one is announced by `detach` while it is still there, one that came to be by `attach` when
/// it is. `settle` follows, with where holes began before or begin now (0: none).
pub trait HoleIndex: Debug + Sized {
    /// Without a region.
    const EMPTY: Self;
    /// Which of the regions' candidates is taken.
    const ORDER: Order;
    /// Whether a block's size is rounded up to a power of two of granules.
    const ROUNDS: bool = false;

    /// The index of a region of so many sections without a hole, and the entries of the table that it needs there.
    fn over(sections: usize) -> (Self, usize) {
        let _ = sections;
        (Self::EMPTY, 0)
    }

    /// A hole is about to vanish.
    fn detach(&mut self, memory: &mut Memory, hole: Hole);

    /// A hole has come to be.
    fn attach(&mut self, memory: &mut Memory, hole: Hole);

    /// Holes have changed; they began or begin at these granules.
    fn settle(&mut self, memory: &mut Memory, starts: [u32; 3]) {
        let _ = (memory, starts);
    }

    /// The policy's place for a request without an alignment.
    fn find(&mut self, memory: &Memory, size: u32, reach: Reach) -> Option<Place>;

    /// The policy's place for any request: the first hole in its order that has one.
    fn find_aligned(&mut self, memory: &Memory, request: &Request, reach: Reach) -> Option<Place>;

    /// A search ended with a block before this granule.
    fn placed(&mut self, end: u32) {
        let _ = end;
    }

    /// The granules of the largest hole; 0 if there is none.
    fn largest(&self, memory: &Memory) -> u32;

    /// Checks the index itself, and that it holds so many holes.
    fn check(&self, memory: &Memory, holes: u32) -> Result<(), Violation>;

    /// Whether a hole is where it belongs.
    fn holds(&self, memory: &Memory, hole: Hole) -> bool;
}
