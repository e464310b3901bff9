//! Good fit and half fit: lists by size class, and a search that never looks at more than a few of them.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::classes::{Class, Classes};
use super::{Found, Index, step};
use crate::range::{NIL, Request, Tables, Unit, View};

/// How many units a space needs so that half fit never refuses a plain request, given the most units that are asked
/// for at one time (`peak`) and the longest request; `None` if that exceeds 2^64 − 1.
///
/// `2 · peak · (1 + ⌈log2 longest⌉)`: Robson's bound for first fit ("Worst case fragmentation of first fit and best fit
/// storage allocation strategies", The Computer Journal 20, 1977) on lengths rounded to powers of two, which at most
/// doubles the peak. o1heap sizes half-fit heaps by the same formula. Tests let adversaries of Robson's kind fail against it;
/// it holds for plain requests only, as constrained ones are not rounded.
///
/// ```
/// use hectare_fit::policy::half_fit_space;
/// assert_eq!(half_fit_space(65_536, 4096), Some(1_703_936));
/// ```
#[must_use]
pub const fn half_fit_space(peak: u64, longest: u64) -> Option<u64> {
    let log2 = if longest <= 1 { 0 } else { (longest - 1).ilog2() + 1 };
    match peak.checked_mul(2) {
        Some(twice) => twice.checked_mul(1 + log2 as u64),
        None => None,
    }
}

/// Good fit's holes: a list for each class, later members before earlier ones.
///
/// Invariant: every hole is in exactly one list, that of its class.
#[derive(Clone, Debug)]
pub struct GoodIndex<U: Unit>(Classes<U>);

impl<U: Unit> Default for GoodIndex<U> {
    fn default() -> Self {
        Self(Classes::default())
    }
}

impl<U: Unit> Index<U> for GoodIndex<U> {
    const HIDES: bool = true;

    #[inline]
    fn insert(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
        step();
        let class = Class::of(tables.at(hole).length);
        tables.push(self.0.head(class), hole);
        self.0.set_head(class, hole);
    }

    #[inline]
    fn remove(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
        step();
        let class = Class::of(tables.at(hole).length);
        if let Some(head) = tables.pull(hole) {
            self.0.change_head(class, head);
        }
    }

    #[inline]
    fn resize(&mut self, tables: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
        step();
        let stays = Class::of(tables.at(hole).length) == Class::of(length);
        if !stays {
            self.remove(tables, hole);
        }
        tables.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        if !stays {
            self.insert(tables, hole);
        }
    }

    #[inline]
    fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
        step();
        let own = Class::of(length);
        let head = self.0.head(own);
        if head != NIL && view.at(head).length >= length {
            return Some(Found::new(head, length));
        }
        Some(Found::new(self.0.head(self.0.above(own)?), length))
    }

    fn find_hidden(&self, view: View<'_, U>, length: U) -> Option<u32> {
        listed(view, self.0.head(Class::of(length)), |hole| view.at(hole).length >= length)
    }

    fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
        let mut class = Class::of(request.length);
        loop {
            if let Some(found) = place_in(view, self.0.head(class), request) {
                return Some(found);
            }
            class = self.0.above(class)?;
        }
    }

    fn largest(&self, view: View<'_, U>) -> U {
        self.0.highest().map_or(U::ZERO, |class| largest_in(view, self.0.head(class)))
    }

    fn check(&self, view: View<'_, U>) -> Result<u64, Violation> {
        self.0.check(|class, head| count(view, head, |length| Class::of(length) == class))
    }

    fn contains(&self, view: View<'_, U>, hole: u32) -> bool {
        let node = view.at(hole);
        if node.newer() == NIL {
            self.0.head(Class::of(node.length)) == hole
        } else {
            view.at(node.newer()).older == hole
        }
    }
}

/// Half fit's holes: one list for each power of two, that of the holes from it up to the next.
///
/// Invariants: every hole is in exactly one list, that of its octave; a bit is set exactly if its list is not empty.
#[derive(Clone, Debug)]
pub struct HalfIndex<U: Unit> {
    octaves: u64,
    heads: [u32; 64],
    unit: core::marker::PhantomData<U>,
}

impl<U: Unit> Default for HalfIndex<U> {
    fn default() -> Self {
        Self { octaves: 0, heads: [NIL; 64], unit: core::marker::PhantomData }
    }
}

impl<U: Unit> HalfIndex<U> {
    #[inline]
    fn head(&self, octave: u32) -> u32 {
        self.heads.get(octave as usize).copied().unwrap_or(NIL)
    }

    #[inline]
    fn set_head(&mut self, octave: u32, head: u32) {
        if let Some(list) = self.heads.get_mut(octave as usize) {
            *list = head;
        }
        let bit = 1_u64 << (octave & 63);
        if head == NIL { self.octaves &= !bit } else { self.octaves |= bit }
    }
}

impl<U: Unit> Index<U> for HalfIndex<U> {
    const HIDES: bool = true;
    const ROUNDS: bool = true;

    #[inline]
    fn insert(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
        step();
        let octave = tables.at(hole).length.log2();
        tables.push(self.head(octave), hole);
        self.set_head(octave, hole);
    }

    #[inline]
    fn remove(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
        step();
        let octave = tables.at(hole).length.log2();
        if let Some(head) = tables.pull(hole) {
            self.set_head(octave, head);
        }
    }

    #[inline]
    fn resize(&mut self, tables: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
        step();
        let stays = tables.at(hole).length.log2() == length.log2();
        if !stays {
            self.remove(tables, hole);
        }
        tables.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        if !stays {
            self.insert(tables, hole);
        }
    }

    #[inline]
    fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
        step();
        if let Some(rounded) = length.power() {
            let octaves = self.octaves >> rounded.log2() << rounded.log2();
            if octaves != 0 {
                return Some(Found::new(self.head(octaves.trailing_zeros()), rounded));
            }
        }
        let head = self.head(length.log2());
        if head != NIL && view.at(head).length >= length { Some(Found::new(head, length)) } else { None }
    }

    fn find_hidden(&self, view: View<'_, U>, length: U) -> Option<u32> {
        listed(view, self.head(length.log2()), |hole| view.at(hole).length >= length)
    }

    fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
        let octave = request.length.log2();
        (octave..U::BITS).find_map(|octave| place_in(view, self.head(octave), request))
    }

    fn largest(&self, view: View<'_, U>) -> U {
        largest_in(view, self.head(self.octaves.checked_ilog2().unwrap_or(0)))
    }

    fn check(&self, view: View<'_, U>) -> Result<u64, Violation> {
        let mut holes = 0;
        for octave in 0..64 {
            let head = self.head(octave);
            let set = self.octaves >> octave & 1 != 0;
            Violation::unless(
                set == (head != NIL),
                "a bit is set exactly if its list is not empty",
                octave.into(),
            )?;
            holes += count(view, head, |length| length.log2() == octave)?;
        }
        Ok(holes)
    }

    fn contains(&self, view: View<'_, U>, hole: u32) -> bool {
        let node = view.at(hole);
        if node.newer() == NIL {
            self.head(node.length.log2()) == hole
        } else {
            view.at(node.newer()).older == hole
        }
    }
}

/// The first hole of a list that fulfils a condition.
fn listed<U: Unit>(view: View<'_, U>, head: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let mut hole = head;
    while hole != NIL {
        step();
        if fits(hole) {
            return Some(hole);
        }
        hole = view.at(hole).older;
    }
    None
}

/// The first hole of a list in which a request has a place.
fn place_in<U: Unit>(view: View<'_, U>, head: u32, request: &Request<U>) -> Option<(u32, U)> {
    let place = |hole| request.lowest_in(view.at(hole).start, view.at(hole).end());
    let hole = listed(view, head, |hole| place(hole).is_some())?;
    Some((hole, place(hole)?))
}

fn largest_in<U: Unit>(view: View<'_, U>, head: u32) -> U {
    let (mut largest, mut hole) = (U::ZERO, head);
    while hole != NIL {
        largest = largest.max(view.at(hole).length);
        hole = view.at(hole).older;
    }
    largest
}

/// The length of a list, all of whose holes are of one class.
fn count<U: Unit>(view: View<'_, U>, head: u32, alike: impl Fn(U) -> bool) -> Result<u64, Violation> {
    let (mut holes, mut hole) = (0, head);
    while hole != NIL && holes <= view.nodes.len() as u64 {
        Violation::unless(alike(view.at(hole).length), "a list holds one class", hole.into())?;
        holes += 1;
        hole = view.at(hole).older;
    }
    Ok(holes)
}
