//! Unmapping: leaves out, emptied tables into the token.
//!
//! ```text
//!   part      ├──────────────────────────────────────────┤
//!   tables  │    ▒▒▒▒│▓▓▓▓▓▓▓▓▓▓▓▓│▓▓▓▓▓▓▓▓▓▓▓▓│▒▒▒       │
//!              clear    unlink, then read     clear           ▒ zeros into entries, ▓ the table goes as a whole
//! ```
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PageRun};

use super::flush::{Flush, Span};
use super::memory::{Node, Slot, Walk};
use super::range::Part;
use super::runs::Collector;
use super::{Half, Mapping, PageTable, TableError, TableFormat, TableWindow, split};
use crate::format::SetBy;
use crate::{AtomicEntry, Entry, Touched};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Unmaps the pages. `report` gets every run of leaves that was there, in order, with the exact accessed and dirty
    /// bits; the frames may be used again when the token is finished, not before. Software state in the range is dropped.
    /// Huge leaves across the ends are split.
    ///
    /// Cost: a load and a store a leaf (a swap where the hardware may still set a bit), nothing for a hole. Tables that
    /// become empty go into the token.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach, are in another table's half, or a split needs a table that
    /// cannot be had. Nothing is changed then.
    pub fn unmap(&mut self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return Ok(token) };
        let books = Books { settled: self.is_settled(), pinned: self.pinned, kept: false };
        unmap_below(walk, root, part, books, &mut token, report);
        Ok(token)
    }

    /// Unmaps the pages without a look at what they map: whole subtrees are unlinked, O(1) each, and their tables returned
    /// when the token is finished, O(tables). Huge leaves across the ends are split.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    pub fn forget(&mut self, pages: PageRun) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return Ok(token) };
        forget_below(walk, root, part, self.pinned, false, &mut token);
        Ok(token)
    }
}

/// What an unmapping has to know beside the tables.
#[derive(Clone, Copy)]
pub(super) struct Books {
    /// No token that took write rights, or moved tables, is unpaid.
    pub(super) settled: bool,
    /// Places of the root whose tables stay.
    pub(super) pinned: Half,
    /// All tables stay.
    pub(super) kept: bool,
}

/// Unmaps a part below a node that covers it. No leaf crosses its ends.
#[inline]
pub(super) fn unmap_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    books: Books,
    token: &mut Flush,
    report: impl FnMut(Mapping<F>),
) {
    let Books { settled, pinned, kept } = books;
    let mut pass = Pass { walk, collector: Collector::new(report), token, settled, pinned };
    pass.clear(node, part, kept);
    pass.collector.finish();
}

/// Whether nothing more can be set in the leaf, so that a plain store loses nothing. With unsettled tokens a read-only
/// leaf may still become dirty through a stale write right.
#[inline(always)]
pub(super) fn is_settled<F: TableFormat>(leaf: F::Entry, level: usize, settled: bool) -> bool {
    let settled = settled || cfg!(hectare_plant = "table_unsettled");
    if cfg!(hectare_plant = "table_lost_dirty") {
        return true;
    }
    F::is_stable(leaf, level) && (settled || F::DIRTY != SetBy::Hardware || F::touched(leaf, level).dirty)
}

/// The leaf as reported: without the mark of a contiguous run, and with the bits that were set in any entry of it.
pub(super) fn member<F: TableFormat>(node: Node<'_, F>, index: usize, leaf: F::Entry) -> F::Entry {
    let level = node.level;
    let Some(run) = F::RUNS[level] else { return leaf };
    if !F::is_contiguous(leaf, level) {
        return leaf;
    }
    let first = index & !((1 << run.log2) - 1);
    let cells = node.cells.get(first..first + (1 << run.log2)).unwrap_or(&[]);
    let touched = cells.iter().map(|cell| cell.load(Relaxed)).filter(|entry| *entry != F::Entry::ZERO);
    let touched = touched.fold(Touched::NO, |sum, entry| sum.or(F::touched(entry, level)));
    let touched = touched.or(F::touched(leaf, level));
    F::with_touched(F::alone(leaf, level, index), touched, level)
}

struct Pass<'t, 'f, F: TableFormat, W, R: FnMut(Mapping<F>)> {
    walk: Walk<'t, F, W>,
    collector: Collector<F, R>,
    token: &'f mut Flush,
    settled: bool,
    pinned: Half,
}

impl<'t, F: TableFormat, W: TableWindow, R: FnMut(Mapping<F>)> Pass<'t, '_, F, W, R> {
    /// Clears the part below a live node. With `kept`, tables stay where they are: other roots link them too.
    fn clear(&mut self, node: Node<'t, F>, part: Part, kept: bool) {
        let level = node.level;
        let (first, last) = part.indices::<F>(level);
        let mut index = first;
        while index <= last {
            match self.walk.slot(node, index) {
                Slot::Leaf(leaf) => {
                    index += self.clear_run(node, index..last + 1, part.start_of::<F>(index, level), leaf);
                    continue;
                }
                Slot::Absent(entry) => {
                    if entry != F::Entry::ZERO {
                        store(self.walk, node, index, F::Entry::ZERO);
                    }
                }
                Slot::Table(child) => {
                    let piece = part.within::<F>(part.start_of::<F>(index, level), level);
                    let kept = kept || level == F::LEVELS - 1 && self.pinned.holds(index);
                    if piece.is_whole::<F>(level) && !kept {
                        store(self.walk, node, index, F::Entry::ZERO);
                        self.drain(child, piece);
                        self.walk.retire(child, &mut self.token.freed);
                    } else {
                        self.clear(child, piece, kept);
                        let (low, high) = piece.indices::<F>(level - 1);
                        if !kept && child.is_empty(low..high + 1) {
                            store(self.walk, node, index, F::Entry::ZERO);
                            self.walk.retire(child, &mut self.token.freed);
                        }
                    }
                    if F::ROOT_LATCHED && level == F::LEVELS - 1 {
                        self.token.add_reload();
                    }
                }
                Slot::Reserved => {}
            }
            index += 1;
        }
    }

    /// Clears leaves from the start of the range on, as long as they follow the stride; how many.
    #[inline(always)]
    fn clear_run(
        &mut self,
        node: Node<'t, F>,
        range: core::ops::Range<usize>,
        at: u64,
        leaf: F::Entry,
    ) -> usize {
        let level = node.level;
        let cells = node.cells.get(range.clone()).unwrap_or(&[]);
        let Some(cell) = cells.first() else { return 1 };
        if F::GLOBAL && F::attributes(leaf, level).global {
            self.token.add_global();
        }
        let mut count = 1;
        if F::is_contiguous(leaf, level) {
            return self.clear_group(node, range.start, at);
        }
        if !is_settled::<F>(leaf, level, self.settled) {
            self.walk.window.step(node.at(range.start));
            let now = cell.swap(F::Entry::ZERO, Relaxed);
            self.collector.add(at, now, level, range.start, 1);
        } else {
            let stride = F::stride(level);
            self.walk.window.step(node.at(range.start));
            cell.store(F::Entry::ZERO, Relaxed);
            let mut expected = leaf.plus(stride);
            for cell in cells.iter().skip(1) {
                if cell.load(Relaxed) != expected {
                    break;
                }
                self.walk.window.step(node.at(range.start + count));
                cell.store(F::Entry::ZERO, Relaxed);
                expected = expected.plus(stride);
                count += 1;
            }
            self.collector.add(at, leaf, level, range.start, count);
        }
        let stride = F::leaf_size(level);
        self.token.add(Span::new(F::delinear(at), count as u64, stride));
        count
    }

    /// Clears a contiguous run; how many entries. The hardware may set a bit in any of them for all, so all are cleared
    /// before one is reported.
    #[inline(never)]
    fn clear_group(&mut self, node: Node<'t, F>, index: usize, at: u64) -> usize {
        let level = node.level;
        let count = F::RUNS[level].map_or(1, |run| 1 << run.log2).min(split::MOST);
        let cells = node.cells.get(index..index + count).unwrap_or(&[]);
        let (mut leaves, mut touched) = ([F::Entry::ZERO; split::MOST], Touched::NO);
        for (nth, (cell, leaf)) in cells.iter().zip(&mut leaves).enumerate() {
            self.walk.window.step(node.at(index + nth));
            *leaf = cell.swap(F::Entry::ZERO, Relaxed);
            touched = touched.or(F::touched(*leaf, level));
        }
        let mut place = at;
        for (nth, leaf) in leaves.iter().take(cells.len()).enumerate() {
            let leaf = F::with_touched(F::alone(*leaf, level, index + nth), touched, level);
            self.collector.add(place, leaf, level, index + nth, 1);
            place = place.wrapping_add(F::leaf_size(level).bytes());
        }
        let stride = F::leaf_size(level);
        self.token.add(Span::new(F::delinear(at), cells.len() as u64, stride));
        cells.len().max(1)
    }

    /// Reports the leaves of a tree that was just unlinked. Only entries that hardware may still change are written.
    fn drain(&mut self, node: Node<'t, F>, part: Part) {
        let level = node.level;
        let (first, last) = part.indices::<F>(level);
        let mut index = first;
        while index <= last {
            let at = part.start_of::<F>(index, level);
            match self.walk.slot(node, index) {
                Slot::Leaf(leaf) => {
                    let plain = !F::is_contiguous(leaf, level);
                    index += if plain && is_settled::<F>(leaf, level, self.settled) {
                        self.drain_run(node, index..last + 1, at, leaf)
                    } else {
                        self.clear_run(node, index..last + 1, at, leaf)
                    };
                    continue;
                }
                Slot::Table(child) => self.drain(child, part.within::<F>(at, level)),
                Slot::Absent(_) | Slot::Reserved => {}
            }
            index += 1;
        }
    }

    #[inline(always)]
    fn drain_run(
        &mut self,
        node: Node<'t, F>,
        range: core::ops::Range<usize>,
        at: u64,
        leaf: F::Entry,
    ) -> usize {
        let level = node.level;
        let stride = F::stride(level);
        let cells = node.cells.get(range.clone()).unwrap_or(&[]);
        if F::GLOBAL && F::attributes(leaf, level).global {
            self.token.add_global();
        }
        let (mut expected, mut count) = (leaf, 0);
        for cell in cells {
            if cell.load(Relaxed) != expected {
                break;
            }
            expected = expected.plus(stride);
            count += 1;
        }
        let count = count.max(1);
        self.collector.add(at, leaf, level, range.start, count);
        let stride = F::leaf_size(level);
        self.token.add(Span::new(F::delinear(at), count as u64, stride));
        count
    }
}

/// Unlinks the tables that a part left empty. Nothing is mapped there.
pub(super) fn sweep<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    part: Part,
    token: &mut Flush,
) {
    let books = Books { settled: false, pinned: Half::NONE, kept: false };
    unmap_below(walk, root, part, books, token, |_| {});
}

#[inline(always)]
pub(super) fn store<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    index: usize,
    entry: F::Entry,
) {
    walk.window.step(node.at(index));
    if let Some(cell) = node.cells.get(index) {
        cell.store(entry, Relaxed);
    }
}

/// Forgets a part below a node that covers it. No leaf crosses its ends. With `kept`, all tables stay.
pub(super) fn forget_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    pinned: Half,
    kept: bool,
    token: &mut Flush,
) {
    forget(walk, node, part, token, pinned, kept);
    token.add(Span::new(F::delinear(part.first), part.pages::<F>(), F::PAGE));
    if F::GLOBAL {
        token.add_global();
    }
}

/// Clears the part below a live node without reading leaves.
fn forget<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    node: Node<'t, F>,
    part: Part,
    token: &mut Flush,
    pinned: Half,
    kept: bool,
) {
    let level = node.level;
    for (index, piece) in part.pieces::<F>(level) {
        let Some(child) = walk.child(node, index) else {
            if node.load(index) != F::Entry::ZERO {
                store(walk, node, index, F::Entry::ZERO);
            }
            continue;
        };
        let kept = kept || level == F::LEVELS - 1 && pinned.holds(index);
        if kept || !piece.is_whole::<F>(level) {
            forget(walk, child, piece, token, pinned, kept);
            let (low, high) = piece.indices::<F>(level - 1);
            if kept || !child.is_empty(low..high + 1) {
                continue;
            }
        }
        store(walk, node, index, F::Entry::ZERO);
        walk.retire(child, &mut token.freed);
        if F::ROOT_LATCHED && level == F::LEVELS - 1 {
            token.add_reload();
        }
    }
}
