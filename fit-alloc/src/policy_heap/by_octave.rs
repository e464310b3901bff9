//! Half fit: a list for each power of two.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::index::{HoleIndex, Order, Place, Reach, Request};
use super::memory::Field::{Back, Next, Size};
use super::memory::{Hole, Memory};

/// Octaves of sizes.
const OCTAVES: usize = 32;

/// Half fit's holes: list k has those of 2^k granules and more, up to 2^(k+1).
///
/// Blocks are powers of two, so that every hole of list k holds a block of 2^k: the first list that is not empty, from
/// the block's own on, serves with whichever hole stands first.
///
/// Invariants: every hole is in the list of its octave, exactly once; a bit is set exactly if its list is not empty.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    occupied: u32,
    heads: [u32; OCTAVES],
}

impl Half {
    #[inline(always)]
    fn head(&self, octave: u32) -> u32 {
        self.heads.get(octave as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn set_head(&mut self, octave: u32, head: u32) {
        if let Some(place) = self.heads.get_mut(octave as usize) {
            *place = head;
            self.occupied = self.occupied & !(1 << octave) | u32::from(head != 0) << octave;
        }
    }

    /// The holes of a list, the newest first. Ends even if the links go in a circle.
    fn list(&self, memory: &Memory, octave: u32) -> impl Iterator<Item = Hole> {
        let (mut at, mut left) = (self.head(octave), memory.span());
        core::iter::from_fn(move || {
            let hole = memory.hole_from(at)?;
            left = left.checked_sub(1)?;
            at = memory.get(at, Next);
            Some(hole)
        })
    }

    /// The lowest octave from this one on that has a hole.
    #[inline(always)]
    fn from(&self, octave: u32) -> Option<u32> {
        let lists = self.occupied & u32::MAX.checked_shl(octave)?;
        if lists == 0 { None } else { Some(lists.trailing_zeros()) }
    }
}

/// The octave of a size that is not 0.
#[inline(always)]
fn octave(size: u32) -> u32 {
    (size | 1).ilog2()
}

impl HoleIndex for Half {
    const EMPTY: Self = Self { occupied: 0, heads: [0; OCTAVES] };
    const ORDER: Order = Order::Lowest;
    const ROUNDS: bool = true;

    #[inline(always)]
    fn detach(&mut self, memory: &mut Memory, hole: Hole) {
        let (next, back) = (memory.get(hole.start, Next), memory.get(hole.start, Back));
        if back == 0 {
            self.set_head(octave(hole.size), next);
        } else {
            memory.set(back, Next, next);
        }
        memory.set(next, Back, back);
    }

    #[inline(always)]
    fn attach(&mut self, memory: &mut Memory, hole: Hole) {
        let head = self.head(octave(hole.size));
        memory.set(hole.start, Next, head);
        memory.set(hole.start, Back, 0);
        memory.set(head, Back, hole.start);
        self.set_head(octave(hole.size), hole.start);
    }

    #[inline(always)]
    fn find(&mut self, memory: &Memory, size: u32, _: Reach) -> Option<Place> {
        // `size` is a power of two.
        let hole = memory.hole_from(self.head(self.from(octave(size))?))?;
        Some(Place { hole, at: hole.start })
    }

    fn find_aligned(&mut self, memory: &Memory, request: &Request, _: Reach) -> Option<Place> {
        let mut list = self.from(octave(request.size))?;
        loop {
            let mut members = self.list(memory, list);
            if let Some(place) = members.find_map(|hole| request.lowest_in(hole).map(|at| Place { hole, at }))
            {
                return Some(place);
            }
            list = self.from(list + 1)?;
        }
    }

    fn largest(&self, memory: &Memory) -> u32 {
        self.list(memory, octave(self.occupied)).fold(0, |largest, hole| largest.max(hole.size))
    }

    fn check(&self, memory: &Memory, holes: u32) -> Result<(), Violation> {
        let mut found = 0;
        for list in 0..u32::BITS {
            let mut at = self.head(list);
            let set = self.occupied >> list & 1 != 0;
            Violation::unless(
                set == (at != 0),
                "P2: a bit is set exactly if its list is not empty",
                list.into(),
            )?;
            let mut back = 0;
            while at != 0 && found <= holes {
                let alike = octave(memory.get(at, Size)) == list;
                Violation::unless(alike, "P1: a list holds one octave", at.into())?;
                let linked = memory.get(at, Back) == back;
                Violation::unless(linked, "P1: links lead on and back alike", at.into())?;
                found += 1;
                back = at;
                at = memory.get(at, Next);
            }
        }
        Violation::unless(found == holes, "P1: the lists hold exactly the holes", found.into())
    }

    fn holds(&self, memory: &Memory, hole: Hole) -> bool {
        match memory.get(hole.start, Back) {
            0 => self.head(octave(hole.size)) == hole.start,
            back => memory.get(back, Next) == hole.start,
        }
    }
}
