//! Room between the areas: the highest or the lowest hole that is long enough.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Order, Page, PageRun};

use super::{AreaIndex, NO_NODE, NodeStore};

/// From which end a hole is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The highest place that is free: Linux's way.
    TopDown,
    /// The lowest place that is free.
    BottomUp,
}

/// What hole is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRequest {
    /// So many pages.
    pub count: NonZero<u64>,
    /// The first page is a multiple of 2^k.
    pub align: Order,
    /// The pages lie in this window.
    pub window: PageRun,
    /// Which of the holes that hold them.
    pub direction: Direction,
}

/// A request in numbers.
struct Search {
    count: u64,
    /// The alignment less one.
    mask: u64,
    low: u64,
    high: u64,
    /// Holes shorter than this are not looked for.
    least: u64,
    down: bool,
}

impl Search {
    /// The place in the hole `[from, to)`.
    #[inline]
    fn place(&self, from: u64, to: u64) -> Option<u64> {
        let (from, to) = (from.max(self.low), to.min(self.high));
        if to.checked_sub(from)? < self.count {
            return None;
        }
        let start = if self.down {
            (to - self.count) & !self.mask
        } else {
            from.checked_add(self.mask)? & !self.mask
        };
        let fits = start >= from && start.checked_add(self.count)? <= to;
        fits.then_some(start)
    }
}

impl<N: NodeStore> AreaIndex<N> {
    /// The first page of the highest or lowest place that is free and as asked. O(log n).
    ///
    /// With an alignment, places in holes that hold `count + 2^k − 1` pages come before those in holes that fit by
    /// chance, which cost O(holes of that length) to find; a single page's alignment has no such distinction.
    #[must_use]
    pub fn gap(&self, request: &GapRequest) -> Option<Page> {
        let (count, mask) = (request.count.get(), request.align.frames() - 1);
        let window = request.window;
        let (low, high) = (window.first().number(), window.end().number());
        let down = request.direction == Direction::TopDown;
        let search = |least| self.search(&Search { count, mask, low, high, least, down });
        let roomy = search(count.saturating_add(mask));
        roomy.or_else(|| if mask == 0 { None } else { search(count) }).map(Page::new)
    }

    fn search(&self, search: &Search) -> Option<u64> {
        if self.root == NO_NODE {
            return search.place(search.low, search.high);
        }
        let all = self.summary(self.root, 0);
        let (below, above) = (|| search.place(0, all.first), || search.place(all.end, u64::MAX));
        let within = || self.within(self.root, 0, search);
        if search.down {
            above().or_else(within).or_else(below)
        } else {
            below().or_else(within).or_else(above)
        }
    }

    /// The place between the areas below a node.
    fn within(&self, id: u32, depth: usize, search: &Search) -> Option<u64> {
        let node = self.nodes.get(id);
        if depth == self.height {
            let leaf = node.leaf();
            return by_pairs(leaf.keys(), |place| leaf.values()[place].end, search, |_| None);
        }
        let inner = node.inner();
        let ends = |place: usize| inner.values()[place].end;
        by_pairs(inner.keys(), ends, search, |place| {
            let link = &inner.values()[place];
            let inside = inner.keys()[place] < search.high && search.low < link.end;
            if inside && link.gap >= search.least { self.within(link.child, depth + 1, search) } else { None }
        })
    }
}

/// Goes through members and the holes between them, in the search's direction.
#[inline]
fn by_pairs(
    keys: &[u64],
    end: impl Fn(usize) -> u64,
    search: &Search,
    inside: impl Fn(usize) -> Option<u64>,
) -> Option<u64> {
    let after = |place: usize| {
        // An aligned place in a hole that is not roomy is left to the second search.
        let (from, to) = (end(place), *keys.get(place + 1)?);
        if to - from < search.least { None } else { search.place(from, to) }
    };
    if search.down {
        (0..keys.len()).rev().find_map(|place| after(place).or_else(|| inside(place)))
    } else {
        (0..keys.len()).find_map(|place| inside(place).or_else(|| after(place)))
    }
}
