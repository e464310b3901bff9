//! From the root to a place in a leaf, and on from there in order.
#![forbid(unsafe_code)]

use hectare_core::Page;

use super::{AreaIndex, NO_NODE, NodeStore};
use crate::space::Area;

/// More levels than 2^32 nodes, at least seven to each, can have.
const MOST: usize = 14;

/// The nodes from the root to a leaf, each with a place in it: of the child that is next, or in the leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    steps: [(u32, usize); MOST],
    depth: usize,
}

impl Path {
    #[inline]
    pub(super) fn steps(&self) -> &[(u32, usize); MOST] {
        &self.steps
    }

    #[inline]
    pub(super) fn leaf(&self) -> u32 {
        self.steps[self.depth].0
    }

    #[inline]
    pub(super) fn place(&self) -> usize {
        self.steps[self.depth].1
    }
}

impl<N: NodeStore> AreaIndex<N> {
    /// The way to the place behind the last area that begins at `page` or below. `None` if there is no area at all.
    #[inline]
    pub(super) fn path(&self, page: u64) -> Option<Path> {
        let mut id = self.root;
        if id == NO_NODE {
            return None;
        }
        let mut path = Path { steps: [(NO_NODE, 0); MOST], depth: self.height };
        for step in &mut path.steps[..self.height] {
            let inner = self.nodes.get(id).inner();
            let place = inner.up_to(page).saturating_sub(1);
            *step = (id, place);
            id = inner.at(place)?.1.child;
        }
        path.steps[self.height] = (id, self.nodes.get(id).leaf().up_to(page));
        Some(path)
    }

    /// The areas that end above `page`, in order: O(log n) for the first, O(1) on average for each after it.
    #[must_use]
    pub fn from(&self, page: Page) -> Areas<'_, N> {
        let path = self.path(page.number()).map(|mut path| {
            let leaf = self.nodes.get(path.leaf()).leaf();
            let place = path.place();
            if let Some((_, tail)) = place.checked_sub(1).and_then(|before| leaf.at(before)) {
                if page.number() < tail.end {
                    path.steps[path.depth].1 = place - 1;
                }
            }
            path
        });
        Areas { index: self, path }
    }

    /// All areas in order.
    #[must_use]
    pub fn iter(&self) -> Areas<'_, N> {
        self.from(Page::new(0))
    }
}

impl<'a, N: NodeStore> IntoIterator for &'a AreaIndex<N> {
    type Item = Area;
    type IntoIter = Areas<'a, N>;

    fn into_iter(self) -> Areas<'a, N> {
        self.iter()
    }
}

/// Areas in order.
#[derive(Debug)]
pub struct Areas<'a, N: NodeStore> {
    index: &'a AreaIndex<N>,
    path: Option<Path>,
}

impl<N: NodeStore> Areas<'_, N> {
    /// Goes to the next leaf; there may be none.
    fn next_leaf(&mut self) -> Option<()> {
        let path = self.path.as_mut()?;
        let nodes = &self.index.nodes;
        let level = (0..path.depth).rev().find(|level| {
            let (id, place) = path.steps[*level];
            place + 1 < nodes.get(id).inner().count()
        });
        let Some(level) = level else {
            self.path = None;
            return None;
        };
        path.steps[level].1 += 1;
        for next in level + 1..=path.depth {
            let (id, place) = path.steps[next - 1];
            path.steps[next] = (nodes.get(id).inner().at(place)?.1.child, 0);
        }
        Some(())
    }
}

impl<N: NodeStore> Iterator for Areas<'_, N> {
    type Item = Area;

    fn next(&mut self) -> Option<Area> {
        loop {
            let path = self.path.as_mut()?;
            let place = path.place();
            if let Some((first, tail)) = self.index.nodes.get(path.leaf()).leaf().at(place) {
                path.steps[path.depth].1 = place + 1;
                return Some(Area { first, tail: *tail });
            }
            self.next_leaf()?;
        }
    }
}
