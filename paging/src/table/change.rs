//! Changing leaves where they stand: rights, attributes, accessed and dirty bits.
//!
//! ```text
//!   leaf ──► what it becomes ──► same word?            nothing to do
//!                                nothing left to set?  plain store
//!                                the hardware may set  compare-and-swap, again if a bit came in between
//!                                must break first      swap with absent, invalidate, store
//! ```
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PageRun, Permissions};

use super::clear::is_settled;
use super::flush::{Flush, Span};
use super::memory::{Cell, Node, Slot, Walk};
use super::range::Part;
use super::runs::Collector;
use super::{Mapping, PageTable, TableError, TableFormat, TableWindow, split};
use crate::format::{Edit, SetBy};
use crate::{AtomicEntry, Attributes, Entry, Touched};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Gives every page that is mapped in the range these rights, and keeps everything else: frames, memory types, software
    /// bits, accessed and dirty bits. Holes stay holes. Huge leaves across the ends are split.
    ///
    /// Cost: a load and a store a leaf (a compare-and-swap where the hardware may still set a bit).
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half, the format cannot say the
    /// rights, or a split needs a table that cannot be had. Nothing is changed then.
    pub fn protect(&mut self, pages: PageRun, permissions: Permissions) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        F::edit(Attributes::new(permissions), 0)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        Ok(self.change(part, token, |attributes| attributes.with_permissions(permissions)))
    }

    /// Gives every page that is mapped in the range the attributes that `change` makes of its old ones. `change` is asked
    /// once for each run of equal attributes, first for all, then again while they are written; its answers must be the
    /// same.
    ///
    /// # Errors
    /// As [`protect`](Self::protect), with all attributes that `change` names.
    pub fn update(
        &mut self,
        pages: PageRun,
        mut change: impl FnMut(Attributes) -> Attributes,
    ) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        for run in self.runs(pages)? {
            for level in (0..F::LEVELS).filter(|level| F::has_leaves(*level)) {
                F::edit(change(run.attributes()), level)?;
            }
        }
        let mut token = self.token();
        self.cut(part, &mut token)?;
        Ok(self.change(part, token, change))
    }

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
    /// ([`SetBy::Fault`]). No token: a page that could not be used before is in no cache.
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

    fn change(
        &mut self,
        part: Part,
        mut token: Flush,
        change: impl FnMut(Attributes) -> Attributes,
    ) -> Flush {
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return token };
        if change_below(walk, root, part, self.is_settled(), &mut token, change) {
            token.unsettled = 1;
            self.unsettled = self.unsettled.saturating_add(1);
        }
        token
    }
}

/// Changes the leaves of a part below a node that covers it, and that no leaf crosses. Whether it took write rights of
/// leaves that the hardware marks as dirty.
#[inline]
pub(super) fn change_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    settled: bool,
    token: &mut Flush,
    change: impl FnMut(Attributes) -> Attributes,
) -> bool {
    let mut edits = Edits { walk, change, current: None, settled, unsettles: false, token };
    edits.walk(node, part);
    edits.unsettles
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

/// How leaves of a level with certain attribute bits change.
#[derive(Clone, Copy)]
pub(super) struct Current<E> {
    level: usize,
    /// The attribute bits before.
    pub(super) key: E,
    pub(super) edit: Edit<E>,
    /// Whether it takes the right to write.
    pub(super) takes_write: bool,
    /// Whether the leaves count as written: they get the right to write while a cache of an upper level may still lead to
    /// a table that a larger leaf replaced, in which a write would be recorded.
    marks: bool,
}

/// A change under way.
pub(super) struct Edits<'t, 'f, F: TableFormat, W, C> {
    pub(super) walk: Walk<'t, F, W>,
    pub(super) change: C,
    pub(super) current: Option<Current<F::Entry>>,
    /// No token that took write rights is unpaid.
    pub(super) settled: bool,
    /// This change took write rights.
    pub(super) unsettles: bool,
    pub(super) token: &'f mut Flush,
}

impl<'t, F: TableFormat, W: TableWindow, C: FnMut(Attributes) -> Attributes> Edits<'t, '_, F, W, C> {
    fn walk(&mut self, node: Node<'t, F>, part: Part) {
        let level = node.level;
        let (first, last) = part.indices::<F>(level);
        let mut changed: Option<(usize, usize)> = None;
        let mut index = first;
        while index <= last {
            match self.walk.slot(node, index) {
                Slot::Table(child) => {
                    self.walk(child, part.within::<F>(part.start_of::<F>(index, level), level));
                }
                Slot::Leaf(leaf) => {
                    let at = part.start_of::<F>(index, level);
                    if let Some(current) = self.prepare(leaf, level) {
                        let (end, touched) = self.run(node, index..last + 1, at, current);
                        if touched {
                            changed = Some((changed.map_or(index, |(from, _)| from), end));
                        }
                        index = end;
                        continue;
                    }
                }
                Slot::Absent(_) | Slot::Reserved => {}
            }
            index += 1;
        }
        if let Some((from, end)) = changed {
            let first = F::delinear(part.start_of::<F>(from, level));
            self.token.add(Span::new(first, (end - from) as u64, F::leaf_size(level)));
        }
    }

    /// The edit for a leaf; the last one again if its attributes are the same.
    #[inline(always)]
    pub(super) fn prepare(&mut self, leaf: F::Entry, level: usize) -> Option<Current<F::Entry>> {
        match self.current {
            Some(current) if current.level == level && leaf & current.edit.clear == current.key => {}
            _ => self.renew(leaf, level),
        }
        self.current
    }

    fn renew(&mut self, leaf: F::Entry, level: usize) {
        let old = F::attributes(leaf, level);
        let new = (self.change)(old);
        // Checked before: the operation refuses what the format cannot say.
        self.current = F::edit(new, level).ok().map(|edit| Current {
            level,
            key: leaf & edit.clear,
            edit,
            takes_write: old.permissions.contains(Permissions::WRITE)
                && !new.permissions.contains(Permissions::WRITE),
            marks: F::DIRTY == SetBy::Hardware
                && !self.settled
                && !cfg!(hectare_plant = "table_replaced_seen")
                && !old.permissions.contains(Permissions::WRITE)
                && new.permissions.contains(Permissions::WRITE),
        });
        if F::GLOBAL && (old.global || new.global) {
            self.token.add_global();
        }
    }

    /// Changes leaves with the same attributes from the start of the range on. Where that ended, and whether a word was
    /// changed.
    #[inline(always)]
    fn run(
        &mut self,
        node: Node<'t, F>,
        range: Range<usize>,
        at: u64,
        current: Current<F::Entry>,
    ) -> (usize, bool) {
        let level = node.level;
        let cells = node.cells.get(range.clone()).unwrap_or(&[]);
        let leaf = cells.first().map_or(F::Entry::ZERO, |cell| cell.load(Relaxed));
        let new = changed::<F>(leaf, current);
        let breaks = must_break::<F>(leaf, new, level);
        let (mut index, mut any) = (range.start, false);
        if !breaks && self.settles(leaf, level) {
            let count = self.settled_run(node, range.start, cells, leaf, new);
            if count != 0 && new != leaf {
                any = true;
                self.unsettles |= F::DIRTY == SetBy::Hardware && current.takes_write;
            }
            if count > 1 {
                return (range.start + count, any);
            }
            index += count;
        }
        // Frames that do not follow each other, or bits that the hardware may set: one by one.
        while let Some(cell) = cells.get(index - range.start) {
            let leaf = cell.load(Relaxed);
            if F::kind(leaf, level) != crate::Kind::Leaf || leaf & current.edit.clear != current.key {
                break;
            }
            let here = at.wrapping_add(((index - range.start) as u64) << F::SHIFTS[level]);
            if breaks && F::is_contiguous(leaf, level) {
                index += self.whole_run(node, index, here, current);
                any = true;
                continue;
            }
            any |= self.one(node, index, cell, leaf, here, current) != leaf;
            index += 1;
        }
        (index.max(range.start + 1), any)
    }

    /// Changes a contiguous run that must be broken first: all its entries are absent before one of them is made again,
    /// for any of them may be cached as the translation of all. How many they are.
    fn whole_run(&mut self, node: Node<'t, F>, index: usize, at: u64, current: Current<F::Entry>) -> usize {
        let level = node.level;
        let count = F::RUNS[level].map_or(1, |run| 1_usize << run.log2).min(split::MOST);
        // The cuts at the ends of the range leave no part of a run, so this one begins here.
        let cells = node.cells.get(index..index + count).unwrap_or(&[]);
        let mut leaves = [F::Entry::ZERO; split::MOST];
        for (nth, (cell, leaf)) in cells.iter().zip(&mut leaves).enumerate() {
            self.walk.window.step(node.at(index + nth));
            *leaf = cell.swap(F::Entry::ZERO, Relaxed);
        }
        split::broken(self.walk, at, level, count as u64, self.token);
        for (nth, (cell, leaf)) in cells.iter().zip(leaves).enumerate() {
            self.walk.window.step(node.at(index + nth));
            cell.store(changed::<F>(leaf, current), Relaxed);
        }
        self.unsettles |= F::DIRTY == SetBy::Hardware && current.takes_write;
        count
    }

    /// Whether a plain store to the leaf loses nothing. In a contiguous run the hardware records a write in any entry, and
    /// by the rights of any: one that has just got the right to write speaks for those that have it not yet.
    #[inline(always)]
    pub(super) fn settles(&self, leaf: F::Entry, level: usize) -> bool {
        let alone = F::RUNS[level].is_none()
            || F::DIRTY != SetBy::Hardware
            || !F::is_contiguous(leaf, level)
            || cfg!(hectare_plant = "table_run_settled");
        is_settled::<F>(leaf, level, self.settled) && (alone || F::touched(leaf, level).dirty)
    }

    /// Plain stores to leaves that follow the stride of the first one; how many. They agree in all their bits, so that
    /// nothing is decided for each of them.
    #[inline(always)]
    pub(super) fn settled_run(
        &self,
        node: Node<'t, F>,
        first: usize,
        cells: &[Cell<F>],
        leaf: F::Entry,
        new: F::Entry,
    ) -> usize {
        let stride = F::stride(node.level);
        let (mut expected, mut new, mut count) = (leaf, new, 0);
        if leaf == new {
            while cells.get(count).is_some_and(|cell| cell.load(Relaxed) == expected) {
                expected = expected.plus(stride);
                count += 1;
            }
            return count;
        }
        for cell in cells {
            if cell.load(Relaxed) != expected {
                break;
            }
            self.walk.window.step(node.at(first + count));
            cell.store(new, Relaxed);
            expected = expected.plus(stride);
            new = new.plus(stride);
            count += 1;
        }
        count
    }
}

impl<'t, F: TableFormat, W: TableWindow, C: FnMut(Attributes) -> Attributes> Edits<'t, '_, F, W, C> {
    /// Changes the leaf at `index`, which is the address `at`; what stands there now.
    #[inline(always)]
    pub(super) fn one(
        &mut self,
        node: Node<'t, F>,
        index: usize,
        cell: &Cell<F>,
        leaf: F::Entry,
        at: u64,
        current: Current<F::Entry>,
    ) -> F::Entry {
        let level = node.level;
        let mut new = changed::<F>(leaf, current);
        if new == leaf {
            return leaf;
        }
        self.walk.window.step(node.at(index));
        self.unsettles |= F::DIRTY == SetBy::Hardware && current.takes_write;
        if must_break::<F>(leaf, new, level) {
            let now = cell.swap(F::Entry::ZERO, Relaxed);
            split::broken(self.walk, at, level, 1, self.token);
            new = changed::<F>(now, current);
            cell.store(new, Relaxed);
        } else if self.settles(leaf, level) {
            cell.store(new, Relaxed);
        } else {
            let mut was = leaf;
            while let Err(now) = cell.compare_exchange(was, new, Relaxed, Relaxed) {
                was = now;
                new = changed::<F>(was, current);
            }
        }
        new
    }
}

/// What the leaf becomes.
#[inline(always)]
fn changed<F: TableFormat>(leaf: F::Entry, current: Current<F::Entry>) -> F::Entry {
    let new = F::apply(leaf, current.edit);
    if current.marks {
        return F::with_touched(new, Touched::DIRTY, current.level);
    }
    new
}

/// Whether the leaf must be absent, and its translation gone, before it is another one.
#[inline(always)]
fn must_break<F: TableFormat>(old: F::Entry, new: F::Entry, level: usize) -> bool {
    F::BREAK_BEFORE_MAKE && !cfg!(hectare_plant = "table_no_break") && F::must_break(old, new, level)
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

fn touch<F: TableFormat, W: TableWindow>(
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
