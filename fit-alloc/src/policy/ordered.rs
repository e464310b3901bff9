//! First, next and last fit, exact, by address.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::tree::{Tree, chunks_for};
use super::{Found, Index};
use crate::range::{Request, Tables, Unit, View};

macro_rules! ordered {
    ($($(#[$doc:meta])* $policy:ident { $($special:item)* })*) => {$(
        impl<U: Unit> Index<U> for $policy<U> {
            fn chunks(nodes: usize) -> usize {
                chunks_for(nodes)
            }

            #[inline]
            fn insert(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
                self.tree.insert(tables, hole);
            }

            #[inline]
            fn remove(&mut self, tables: &mut Tables<'_, U>, hole: u32) {
                self.tree.remove(tables, hole);
            }

            #[inline]
            fn resize(&mut self, tables: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
                self.tree.resize(tables, hole, start, length);
            }

            $($special)*

            fn largest(&self, view: View<'_, U>) -> U {
                self.tree.largest(view)
            }

            fn containing(&mut self, view: View<'_, U>, _lowest: u32, unit: U) -> Option<u32> {
                let hole = self.tree.past(view, unit)?;
                let node = view.at(hole);
                if node.start <= unit && unit < node.end() { Some(hole) } else { None }
            }

            fn check(&self, view: View<'_, U>) -> Result<u64, Violation> {
                self.tree.check(view)
            }

            fn contains(&self, view: View<'_, U>, hole: u32) -> bool {
                self.tree.contains(view, hole)
            }
        }
    )*};
}

/// First fit's holes.
#[derive(Clone, Debug, Default)]
pub struct FirstIndex<U> {
    tree: Tree,
    unit: core::marker::PhantomData<U>,
}

/// Last fit's holes.
#[derive(Clone, Debug, Default)]
pub struct LastIndex<U> {
    tree: Tree,
    unit: core::marker::PhantomData<U>,
}

/// Next fit's holes, and where the last search ended.
#[derive(Clone, Debug, Default)]
pub struct NextIndex<U> {
    tree: Tree,
    rover: U,
    /// The hole of the last search.
    rest: u32,
}

impl<U: Unit> NextIndex<U> {
    /// The first hole of at least `length` that ends above the rover.
    #[inline]
    fn past_rover(&mut self, view: View<'_, U>, length: U) -> Option<u32> {
        let rest = view.at(self.rest);
        // What is left of the last hole, if the rover is still in it; a node that is not in use has no length.
        let at_rest = rest.is_hole() && rest.start <= self.rover && self.rover < rest.end();
        let hole = if at_rest { self.rest } else { self.tree.past(view, self.rover)? };
        let node = view.at(hole);
        if node.end() > self.rover && node.length >= length {
            return Some(hole);
        }
        self.tree.onward(view, hole, length, false)
    }

    /// The first hole with a place, from this one (where the last search ended) up.
    fn upward(&mut self, view: View<'_, U>, from: Option<u32>, request: &Request<U>) -> Option<(u32, U)> {
        let mut hole = from?;
        loop {
            let node = view.at(hole);
            if let Some(place) = request.lowest_in(node.start, node.end()) {
                return Some((hole, place));
            }
            hole = self.tree.onward(view, hole, request.length, false)?;
        }
    }
}

ordered! {
    FirstIndex {
        #[inline]
        fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
            Some(Found::new(self.tree.first(view, length)?, length))
        }

        fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
            // Holes that end before the window are skipped by one descent.
            let mut hole = self.tree.past(view, request.low)?;
            loop {
                let node = view.at(hole);
                if node.start >= request.high {
                    return None;
                }
                if let Some(place) = request.lowest_in(node.start, node.end()) {
                    return Some((hole, place));
                }
                hole = self.tree.onward(view, hole, request.length, false)?;
            }
        }
    }

    LastIndex {
        const FROM_TOP: bool = true;

        #[inline]
        fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
            Some(Found::new(self.tree.last(view, length)?, length))
        }

        fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
            let mut hole = self.tree.past(view, request.high)?;
            loop {
                let node = view.at(hole);
                if node.end() <= request.low {
                    return None;
                }
                if let Some(place) = request.highest_in(node.start, node.end()) {
                    return Some((hole, place));
                }
                hole = self.tree.onward(view, hole, request.length, true)?;
            }
        }
    }

    NextIndex {
        #[inline]
        fn find(&mut self, view: View<'_, U>, length: U) -> Option<Found<U>> {
            let hole = self.past_rover(view, length);
            let hole = hole.or_else(|| self.tree.first(view, length))?;
            self.rest = hole;
            Some(Found::new(hole, length))
        }

        fn find_place(&mut self, view: View<'_, U>, request: &Request<U>) -> Option<(u32, U)> {
            // One round from the rover up, one from the bottom.
            let hole = self.past_rover(view, request.length);
            if let Some(found) = self.upward(view, hole, request) {
                return Some(found);
            }
            let hole = self.tree.first(view, request.length);
            self.upward(view, hole, request)
        }

        fn placed(&mut self, end: U) {
            self.rover = end;
        }
    }
}
