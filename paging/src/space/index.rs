//! The areas of an address space in order: a B-tree of half-kibibyte nodes that knows the longest hole below each.
//!
//! ```text
//!                    ┌ first page │ end │ longest hole │ child ┐   up to 15 of them
//!            inner   └────────────┴─────┴──────────────┴───┬───┘
//!                 ┌──────────────────────┬─────────────────┘
//!            leaf [area│area│…│area]  hole  [area│area│…]          up to 12 areas
//! ```
//! A lookup reads a row of keys a level, without a branch that depends on them. The hole between two children is the
//! difference of their ends, and the holes inside a child are in its longest: so a search for room descends only where
//! there is some, and a change of one area is known to its ancestors alone.
//!
//! Nodes come from a [`NodeStore`]: an array that the caller gives, or memory of a byte allocator. Whoever needs several
//! steps reserves the nodes first, so that none of them can fail.
#![deny(unsafe_code)]

mod check;
mod gap;
mod node;
mod remove;
mod store;
mod walk;

use hectare_core::{AllocError, Page};
use thiserror::Error;

pub use self::gap::{Direction, GapRequest};
pub use self::node::Node;
use self::node::{Inner, Leaf, Link, Row};
use self::store::Nodes;
pub use self::store::{HeapNodes, NodeStore};
pub use self::walk::Areas;
use self::walk::Path;
use super::Area;

/// Why an area was not entered. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Another area has some of these pages.
    #[error("another area has some of these pages")]
    Overlap,
    /// There is no node for it.
    #[error("no node for another area: {0}")]
    NoNode(#[from] AllocError),
}

/// Disjoint areas by their pages.
///
/// # Invariants
/// * areas ascend and do not overlap
/// * every node but the root has at least half of the members that it has room for; an inner root has two
/// * an inner node's link bears the first page, the end and the longest hole of its child
/// * all leaves are equally deep
/// * every node of the store that was ever used is in the tree or free
#[derive(Debug)]
pub struct AreaIndex<N: NodeStore> {
    nodes: Nodes<N>,
    root: u32,
    /// Levels of inner nodes above the leaves.
    height: usize,
    /// Areas.
    count: usize,
}

/// No node.
const NO_NODE: u32 = u32::MAX;

impl<N: NodeStore> AreaIndex<N> {
    /// An index without areas, whose nodes lie in `store`.
    #[must_use]
    pub fn new(store: N) -> Self {
        Self { nodes: Nodes::new(store), root: NO_NODE, height: 0, count: 0 }
    }

    /// How many areas there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The area that holds this page. O(log n).
    #[must_use]
    #[inline]
    pub fn find(&self, page: Page) -> Option<Area> {
        let page = page.number();
        let mut id = self.root;
        if id == NO_NODE {
            return None;
        }
        for _ in 0..self.height {
            let inner = self.nodes.get(id).inner();
            id = inner.at(inner.up_to(page).checked_sub(1)?)?.1.child;
        }
        let leaf = self.nodes.get(id).leaf();
        let (first, tail) = leaf.at(leaf.up_to(page).checked_sub(1)?)?;
        (page < tail.end).then_some(Area { first, tail: *tail })
    }

    /// The lowest area that ends above this page: the one that holds it or else the next. O(log n).
    #[must_use]
    pub fn at_or_after(&self, page: Page) -> Option<Area> {
        self.from(page).next()
    }

    /// The highest area that begins below this page. O(log n).
    #[must_use]
    pub fn before(&self, page: Page) -> Option<Area> {
        let path = self.path(page.number().checked_sub(1)?)?;
        let leaf = self.nodes.get(path.leaf()).leaf();
        let (first, tail) = leaf.at(path.place().checked_sub(1)?)?;
        Some(Area { first, tail: *tail })
    }

    /// Makes sure that `inserts` insertions cannot fail for want of a node.
    ///
    /// # Errors
    /// There are not so many nodes. Nothing but the store's size is changed.
    pub fn reserve(&mut self, inserts: usize) -> Result<(), AllocError> {
        // Each may split a node a level, and the root. The second may find the tree a level higher.
        self.nodes.reserve(inserts * (self.height + 1 + inserts))
    }

    /// Enters an area. O(log n).
    ///
    /// # Errors
    /// It overlaps another, or there is no node for it. Nothing is changed.
    pub fn insert(&mut self, area: Area) -> Result<(), IndexError> {
        if self.at_or_after(area.first()).is_some_and(|next| next.first < area.tail.end) {
            return Err(IndexError::Overlap);
        }
        let Some(path) = self.path(area.first) else {
            self.nodes.reserve(1)?;
            let mut leaf = Leaf::EMPTY;
            leaf.insert(0, area.first, area.tail);
            (self.root, self.height, self.count) = (self.nodes.take_leaf(leaf), 0, 1);
            return Ok(());
        };
        self.nodes.reserve(self.full_nodes(&path))?;
        self.count += 1;
        let leaf = self.nodes.get_mut(path.leaf()).leaf_mut();
        let new = insert_or_split(leaf, path.place(), area.first, area.tail);
        let new = new.map(|leaf| (leaf.summary(), self.nodes.take_leaf(leaf)));
        self.grow_up(&path, new);
        Ok(())
    }

    /// How many nodes an insertion at the end of this path needs.
    fn full_nodes(&self, path: &Path) -> usize {
        if !self.nodes.get(path.leaf()).leaf().is_full() {
            return 0;
        }
        let inner_full = |level: &usize| self.nodes.get(path.steps()[*level].0).inner().is_full();
        let full = (0..self.height).rev().take_while(inner_full).count();
        // If all are full, the tree gets a new root besides.
        1 + full + usize::from(full == self.height)
    }

    /// Tells the ancestors of a changed leaf, and hangs up the nodes that were split off on the way.
    fn grow_up(&mut self, path: &Path, mut new: Option<(node::Summary, u32)>) {
        for level in (0..self.height).rev() {
            let (id, place) = path.steps()[level];
            let child = path.steps()[level + 1].0;
            let summary = self.summary(child, level + 1);
            let inner = self.nodes.get_mut(id).inner_mut();
            inner.set(place, summary.first, link(summary, child));
            let split = new.and_then(|(summary, id)| {
                insert_or_split(inner, place + 1, summary.first, link(summary, id))
            });
            new = split.map(|inner| (inner.summary(), self.nodes.take_inner(inner)));
        }
        if let Some((summary, id)) = new {
            let mut root = Inner::EMPTY;
            let old = self.summary(self.root, 0);
            root.insert(0, old.first, link(old, self.root));
            root.insert(1, summary.first, link(summary, id));
            self.root = self.nodes.take_inner(root);
            self.height += 1;
        }
    }

    /// What a node at this depth is, in short.
    fn summary(&self, id: u32, depth: usize) -> node::Summary {
        let node = self.nodes.get(id);
        if depth == self.height { node.leaf().summary() } else { node.inner().summary() }
    }

    /// Replaces the area that begins at `first` by another in its place, which overlaps no other. O(log n).
    ///
    /// `false`, and nothing is changed, if no area begins there.
    pub(crate) fn replace(&mut self, first: Page, area: Area) -> bool {
        let Some(path) = self.path(first.number()) else { return false };
        let Some(place) = path.place().checked_sub(1) else { return false };
        let leaf = self.nodes.get_mut(path.leaf()).leaf_mut();
        if leaf.at(place).is_none_or(|(key, _)| key != first.number()) {
            return false;
        }
        let before = leaf.summary();
        leaf.set(place, area.first, area.tail);
        if leaf.summary() != before {
            self.refresh(&path);
        }
        true
    }

    /// Tells the ancestors of a leaf what it is now.
    fn refresh(&mut self, path: &Path) {
        self.grow_up(path, None);
    }

    /// Makes two areas of the one that holds `page` behind its first. Needs a node reserved; O(log n).
    ///
    /// # Errors
    /// There is no node. Nothing is changed.
    pub fn split(&mut self, page: Page) -> Result<(), AllocError> {
        let Some(area) = self.find(page) else { return Ok(()) };
        let (Some(low), Some(high)) = (area.part(0, page.number()), area.part(page.number(), u64::MAX))
        else {
            return Ok(());
        };
        self.reserve(1)?;
        self.replace(area.first(), low);
        match self.insert(high) {
            Ok(()) | Err(IndexError::Overlap) => Ok(()),
            Err(IndexError::NoNode(error)) => {
                self.replace(area.first(), area);
                Err(error)
            }
        }
    }

    /// Makes one area of the ones that meet at `page`, if they are alike. O(log n).
    pub fn join(&mut self, page: Page) {
        let Some(low) = self.before(page) else { return };
        let Some(high) = self.find(page).filter(|high| high.first() == page && low.joins(high)) else {
            return;
        };
        self.remove(high.first());
        let flags = low.flags() | high.flags();
        let tail = super::area::Tail { end: high.tail.end, flags, ..low.tail };
        self.replace(low.first(), Area { first: low.first, tail });
    }
}

/// The link to a child.
fn link(summary: node::Summary, child: u32) -> Link {
    Link { end: summary.end, gap: summary.gap, child }
}

/// Inserts; a full row is split before, and its upper part returned.
fn insert_or_split<V: node::Value, const W: usize>(
    row: &mut Row<V, W>,
    place: usize,
    key: u64,
    value: V,
) -> Option<Row<V, W>> {
    if !row.is_full() {
        row.insert(place, key, value);
        return None;
    }
    // The half that gets the new one is the smaller before.
    let low = place <= W / 2;
    let mut upper = row.split_off(if low { W / 2 } else { W / 2 + 1 });
    if low {
        row.insert(place, key, value);
    } else {
        upper.insert(place - (W / 2 + 1), key, value);
    }
    Some(upper)
}
