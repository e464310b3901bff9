//! What an index of holes does for the allocator.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use crate::range::{NIL, Request, Tables, Unit, View};

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<U> {
    pub(crate) hole: u32,
    /// The length to grant.
    pub(crate) length: U,
    /// The class that the hole is the head of and has no other size, or [`NIL`]: then the index looks again.
    pub(crate) class: u32,
}

impl<U> Found<U> {
    #[inline]
    pub(crate) fn new(hole: u32, length: U) -> Self {
        Self { hole, length, class: NIL }
    }
}

/// An index of all holes, ordered for one policy. The holes themselves are nodes of the allocator's table.
pub trait Index<U: Unit>: Default {
    /// Whether blocks are cut from a hole's upper end.
    const FROM_TOP: bool = false;

    /// Whether `find` may overlook a hole that fits, and [`Index::find_hidden`] is the last resort.
    const HIDES: bool = false;

    /// Whether `find` may grant more than was asked for.
    const ROUNDS: bool = false;

    /// How many chunks the index needs for the holes among this many nodes.
    #[must_use]
    fn chunks(nodes: usize) -> usize {
        let _ = nodes;
        0
    }

    /// Adds a hole.
    fn insert(&mut self, tables: &mut Tables<'_, U>, hole: u32);

    /// Takes a hole out.
    fn remove(&mut self, tables: &mut Tables<'_, U>, hole: u32);

    /// Gives a hole another start and length; it stays between the same other holes.
    fn resize(&mut self, tables: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
        self.remove(tables, hole);
        tables.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        self.insert(tables, hole);
    }

    /// Whether a hole that grows changes its place in the index as a rule: then a block that is freed becomes the hole
    /// itself, and the holes beside it are taken out.
    const REPLACES: bool = false;

    /// The hole for a plain request, and the length to grant.
    fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>>;

    /// As [`Index::remove`], for what [`Index::find`] just returned.
    #[inline]
    fn remove_found(&mut self, tables: &mut Tables<'_, U>, found: Found<U>) {
        self.remove(tables, found.hole);
    }

    /// As [`Index::resize`], for what [`Index::find`] just returned.
    #[inline]
    fn resize_found(&mut self, tables: &mut Tables<'_, U>, found: Found<U>, start: U, length: U) {
        self.resize(tables, found.hole, start, length);
    }

    /// A hole that `find` overlooked. Linear.
    fn find_hidden(&self, view: View<'_, U>, length: U) -> Option<u32> {
        let _ = (view, length);
        None
    }

    /// The first hole in the policy's order in which a constrained request has a place, and that place.
    fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)>;

    /// A search ended with a block before `end`.
    fn placed(&mut self, end: U) {
        let _ = end;
    }

    /// The length of the largest hole; 0 if there is none.
    fn largest(&self, view: View<'_, U>) -> U;

    /// The hole that holds the unit, given the lowest node of the space.
    fn containing(&mut self, view: View<'_, U>, lowest: u32, unit: U) -> Option<u32> {
        let mut index = lowest;
        while index != NIL {
            let node = view.at(index);
            if node.start <= unit && unit < node.end() {
                return if node.is_hole() { Some(index) } else { None };
            }
            index = node.next;
        }
        None
    }

    /// Checks the index itself, and gives the number of holes in it.
    fn check(&self, view: View<'_, U>) -> Result<u64, Violation>;

    /// Whether this hole is in the index, where it belongs.
    fn contains(&self, view: View<'_, U>, hole: u32) -> bool;
}
