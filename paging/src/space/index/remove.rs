//! Taking areas out, and keeping nodes at least half full.
#![forbid(unsafe_code)]

use hectare_core::Page;

use super::node::{Row, Value};
use super::{AreaIndex, Inner, Leaf, NO_NODE, NodeStore, link};
use crate::space::Area;

/// What came of a node that had too little.
enum Mended<V, const N: usize> {
    /// Both have enough.
    Shared(Row<V, N>, Row<V, N>),
    /// One has all.
    Merged(Row<V, N>),
}

/// Joins two neighbours if they fit into one, or else shares their members.
fn mend<V: Value, const N: usize>(low: &Row<V, N>, high: &Row<V, N>) -> Mended<V, N> {
    let (mut low, mut high) = (*low, *high);
    if low.count() + high.count() <= N {
        low.append(&high);
        Mended::Merged(low)
    } else {
        low.even(&mut high);
        Mended::Shared(low, high)
    }
}

impl<N: NodeStore> AreaIndex<N> {
    /// Takes the area that begins at `first` out. O(log n).
    pub fn remove(&mut self, first: Page) -> Option<Area> {
        let path = self.path(first.number())?;
        let place = path.place().checked_sub(1)?;
        let leaf = self.nodes.get_mut(path.leaf()).leaf_mut();
        let (key, tail) = leaf.at(place)?;
        let area = Area { first: key, tail: *tail };
        if area.first() != first {
            return None;
        }
        leaf.remove(place);
        let mut poor = leaf.count() < Leaf::LEAST;
        self.count -= 1;
        for level in (0..self.height).rev() {
            let (id, place) = path.steps()[level];
            let child = path.steps()[level + 1].0;
            if poor {
                self.mend_child(id, level, place);
            } else {
                let summary = self.summary(child, level + 1);
                self.nodes.get_mut(id).inner_mut().set(place, summary.first, link(summary, child));
            }
            poor = self.nodes.get(id).inner().count() < Inner::LEAST;
        }
        self.lower_root();
        Some(area)
    }

    /// The child at `place` of a node has too little: a neighbour helps.
    fn mend_child(&mut self, id: u32, level: usize, place: usize) {
        let inner = self.nodes.get(id).inner();
        let left = if place + 1 < inner.count() { place } else { place.saturating_sub(1) };
        let (Some((_, low)), Some((_, high))) = (inner.at(left), inner.at(left + 1)) else { return };
        let (low, high) = (low.child, high.child);
        let merged = if level + 1 == self.height {
            let mended = mend(self.nodes.get(low).leaf(), self.nodes.get(high).leaf());
            match mended {
                Mended::Merged(row) => {
                    *self.nodes.get_mut(low).leaf_mut() = row;
                    true
                }
                Mended::Shared(one, other) => {
                    *self.nodes.get_mut(low).leaf_mut() = one;
                    *self.nodes.get_mut(high).leaf_mut() = other;
                    false
                }
            }
        } else {
            let mended = mend(self.nodes.get(low).inner(), self.nodes.get(high).inner());
            match mended {
                Mended::Merged(row) => {
                    *self.nodes.get_mut(low).inner_mut() = row;
                    true
                }
                Mended::Shared(one, other) => {
                    *self.nodes.get_mut(low).inner_mut() = one;
                    *self.nodes.get_mut(high).inner_mut() = other;
                    false
                }
            }
        };
        let (below, above) = (self.summary(low, level + 1), self.summary(high, level + 1));
        let inner = self.nodes.get_mut(id).inner_mut();
        inner.set(left, below.first, link(below, low));
        if merged {
            inner.remove(left + 1);
            self.nodes.give(high);
        } else {
            inner.set(left + 1, above.first, link(above, high));
        }
    }

    /// A root with one child is none; an empty one is nothing.
    fn lower_root(&mut self) {
        while self.height > 0 {
            let root = self.nodes.get(self.root).inner();
            match root.values() {
                [only] => {
                    let child = only.child;
                    self.nodes.give(self.root);
                    self.root = child;
                    self.height -= 1;
                }
                _ => return,
            }
        }
        if self.count == 0 && self.root != NO_NODE {
            self.nodes.give(self.root);
            self.root = NO_NODE;
        }
    }
}
