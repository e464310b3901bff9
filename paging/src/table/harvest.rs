//! Accessed and dirty bits: collected and cleared, or set as software does where the hardware only faults.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PageRun};

use super::flush::{Flush, Span};
use super::memory::{Cell, Node, Slot, Walk};
use super::range::Part;
use super::runs::Collector;
use super::{Mapping, PageTable, TableError, TableFormat, TableWindow};
use crate::{AtomicEntry, Touched};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Reports the runs of leaves with their accessed and dirty bits, and clears those named in `clear`: what page
    /// replacement and write-back live on. A bit that the hardware sets meanwhile is reported now or stays set.
    ///
    /// Until the token is finished a CPU may write through a translation that it already marked dirty, unseen. Where only
    /// accessed bits were cleared that costs precision only.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half, or a split needs a table that
    /// cannot be had.
    pub fn harvest(
        &mut self,
        pages: PageRun,
        clear: Touched,
        report: impl FnMut(Mapping<F>),
    ) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            harvest_below(walk, root, part, clear, &mut token, report);
        }
        Ok(token)
    }

    /// Marks the pages that are mapped as accessed or dirty, as software does in formats whose hardware faults instead
    /// ([`SetBy::Fault`](crate::format::SetBy::Fault)). No token: a page that could not be used before is in no cache.
    ///
    /// # Errors
    /// As [`harvest`](Self::harvest).
    pub fn touch(&mut self, pages: PageRun, touched: Touched) -> Result<(), TableError> {
        let part = self.part(pages)?;
        self.cut_and_pay(part)?;
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            touch(walk, root, part, touched);
        }
        Ok(())
    }
}

/// As [`PageTable::harvest`], below a node that covers the part, and that no leaf crosses.
#[inline]
pub(super) fn harvest_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    clear: Touched,
    token: &mut Flush,
    report: impl FnMut(Mapping<F>),
) {
    let mut collector = Collector::new(report);
    harvest(walk, node, part, clear, &mut collector, token);
    collector.finish();
}
/// Clears bits of a leaf that the hardware may set meanwhile; what was there.
#[inline(always)]
fn clear_bits<F: TableFormat>(cell: &Cell<F>, leaf: F::Entry, level: usize, clear: Touched) -> F::Entry {
    let kept = |leaf| {
        let touched = F::touched(leaf, level);
        let kept =
            Touched { accessed: touched.accessed && !clear.accessed, dirty: touched.dirty && !clear.dirty };
        F::with_touched(leaf, kept, level)
    };
    let stable = F::is_stable(leaf, level) && F::touched(leaf, level).dirty;
    if stable || cfg!(hectare_plant = "table_harvest_store") {
        cell.store(kept(leaf), Relaxed);
        return leaf;
    }
    let mut was = leaf;
    while kept(was) != was {
        match cell.compare_exchange(was, kept(was), Relaxed, Relaxed) {
            Ok(_) => break,
            Err(now) => was = now,
        }
    }
    was
}

fn harvest<F: TableFormat, W: TableWindow, R: FnMut(Mapping<F>)>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    clear: Touched,
    collector: &mut Collector<F, R>,
    token: &mut Flush,
) {
    let level = node.level;
    let mut changed: Option<(usize, usize)> = None;
    let (first, last) = part.indices::<F>(level);
    let mut index = first;
    while index <= last {
        let mut at = part.start_of::<F>(index, level);
        let mut count = 1;
        match walk.slot(node, index) {
            Slot::Table(child) => harvest(walk, child, part.within::<F>(at, level), clear, collector, token),
            Slot::Leaf(leaf) => {
                // The hardware may set a bit in any entry of a contiguous run for all of them: all are cleared before
                // one is reported.
                if F::is_contiguous(leaf, level) {
                    count = F::RUNS[level].map_or(1, |run| 1 << run.log2);
                }
                let cells = node.cells.get(index..index + count).unwrap_or(&[]);
                let mut touched = Touched::NO;
                for (nth, cell) in cells.iter().enumerate() {
                    let leaf = cell.load(Relaxed);
                    walk.window.step(node.at(index + nth));
                    touched = touched.or(F::touched(clear_bits::<F>(cell, leaf, level, clear), level));
                }
                if touched.accessed && clear.accessed || touched.dirty && clear.dirty {
                    changed = Some((changed.map_or(index, |(from, _)| from), index + count));
                    if F::GLOBAL && F::attributes(leaf, level).global {
                        token.add_global();
                    }
                }
                for (nth, cell) in cells.iter().enumerate() {
                    let leaf = F::alone(cell.load(Relaxed), level, index + nth);
                    collector.add(at, F::with_touched(leaf, touched, level), level, index + nth, 1);
                    at = at.wrapping_add(F::leaf_size(level).bytes());
                }
            }
            Slot::Absent(_) | Slot::Reserved => {}
        }
        index += count;
    }
    if let Some((from, end)) = changed {
        let first = F::delinear(part.start_of::<F>(from, level));
        token.add(Span::new(first, (end - from) as u64, F::leaf_size(level)));
    }
}

/// Sets bits of the leaves of a part below a node that covers it, and that no leaf crosses.
pub(super) fn touch<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    touched: Touched,
) {
    let level = node.level;
    for (index, piece) in part.pieces::<F>(level) {
        match walk.slot(node, index) {
            Slot::Table(child) => touch(walk, child, piece, touched),
            Slot::Leaf(leaf) => {
                let marked = |leaf| F::with_touched(leaf, F::touched(leaf, level).or(touched), level);
                let mut was = leaf;
                while let Some(Err(now)) = node
                    .cells
                    .get(index)
                    .map(|cell| cell.compare_exchange(was, marked(was), Relaxed, Relaxed))
                {
                    was = now;
                }
            }
            Slot::Absent(_) | Slot::Reserved => {}
        }
    }
}
