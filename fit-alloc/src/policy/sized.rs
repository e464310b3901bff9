//! Best fit and worst fit, exact, by size.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::size_index::SizeIndex;
use super::{Found, Index};
use crate::range::{NIL, Request, Tables, Unit, View};

macro_rules! sized {
    ($(#[$doc:meta])* $policy:ident, $find:expr, $first:expr, $next:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $policy<U: Unit>(SizeIndex<U>);

        impl<U: Unit> Default for $policy<U> {
            fn default() -> Self {
                Self(SizeIndex::default())
            }
        }

        impl<U: Unit> Index<U> for $policy<U> {
            const REPLACES: bool = true;

            #[inline(always)]
            fn insert(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
                self.0.insert(tables, hole);
            }

            #[inline(always)]
            fn remove(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
                self.0.remove(tables, hole);
            }

            #[inline]
            fn resize(&mut self, tables: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
                self.0.resize(tables.nodes(), hole, start, length);
            }

            #[inline]
            fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
                let find: fn(&SizeIndex<U>, View<'_, U>, U) -> Found<U> = $find;
                let found = find(&self.0, view, length);
                if found.hole == NIL { None } else { Some(found) }
            }

            #[inline(always)]
            fn remove_found(&mut self, tables: &mut Tables<'_, U>, found: Found<U>) {
                self.0.remove_found(tables, found);
            }

            #[inline(always)]
            fn resize_found(&mut self, tables: &mut Tables<'_, U>, found: Found<U>, start: U, length: U) {
                self.0.resize_found(tables, found, start, length);
            }

            fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
                let first: fn(&SizeIndex<U>, View<'_, U>, U) -> u32 = $first;
                let next: fn(&SizeIndex<U>, View<'_, U>, U) -> u32 = $next;
                let mut hole = first(&self.0, view, request.length);
                while hole != NIL {
                    let node = view.at(hole);
                    if node.length < request.length {
                        return None;
                    }
                    if let Some(place) = request.lowest_in(node.start, node.end()) {
                        return Some((hole, place));
                    }
                    hole = SizeIndex::older(view, hole);
                    if hole == NIL {
                        hole = next(&self.0, view, node.length);
                    }
                }
                None
            }

            fn largest(&self, view: View<'_, U>) -> U {
                view.at(self.0.largest(view)).length
            }

            fn check(&self, view: View<'_, U>) -> Result<u64, Violation> {
                self.0.check(view)
            }

            fn contains(&self, view: View<'_, U>, hole: u32) -> bool {
                self.0.contains(view, hole)
            }
        }
    };
}

sized!(
    /// Best fit's holes.
    BestIndex, SizeIndex::at_least, |index, view, length| index.at_least(view, length).hole, |index, view, length| {
    length.plus(U::ONE).map_or(NIL, |more| index.at_least(view, more).hole)
});
sized!(
    /// Worst fit's holes.
    WorstIndex,
    |index, view, length| {
        let hole = index.largest(view);
        Found::new(if view.at(hole).length >= length { hole } else { NIL }, length)
    },
    |index, view, _| index.largest(view),
    |index, view, length| index.at_most(view, length - U::ONE)
);
