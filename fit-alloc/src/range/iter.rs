//! Walks over a space, by address.
#![forbid(unsafe_code)]

use core::fmt;

use super::{Block, Handle, NIL, Unit, View};

/// A maximal free range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hole<U> {
    /// The first unit.
    pub start: U,
    /// The number of units.
    pub length: U,
}

impl<U: Unit> Hole<U> {
    /// The first unit after the hole.
    #[must_use]
    pub fn end(&self) -> U {
        self.start + self.length
    }
}

macro_rules! walk {
    ($(#[$doc:meta])* $walk:ident, $item:ty, $holes:literal, |$index:ident, $node:ident| $make:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $walk<'a, U: Unit> {
            view: View<'a, U>,
            next: u32,
        }

        impl<'a, U: Unit> $walk<'a, U> {
            pub(super) fn new(view: View<'a, U>, next: u32) -> Self {
                Self { view, next }
            }
        }

        impl<U: Unit> Iterator for $walk<'_, U> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                while self.next != NIL {
                    let ($index, $node) = (self.next, self.view.at(self.next));
                    self.next = $node.next;
                    if $node.is_hole() == $holes {
                        let _ = $index;
                        return Some($make);
                    }
                }
                None
            }
        }

        impl<U: Unit> fmt::Debug for $walk<'_, U> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($walk)).finish_non_exhaustive()
            }
        }
    };
}

walk! {
    /// The blocks of a space, by address.
    Blocks, Block<U>, false, |index, node| Block {
        handle: Handle::new(index, node.generation()),
        start: node.start,
        length: node.length,
    }
}
walk! {
    /// The holes of a space, by address.
    Holes, Hole<U>, true, |index, node| Hole { start: node.start, length: node.length }
}
