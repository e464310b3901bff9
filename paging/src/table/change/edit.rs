//! A change of attributes under way.
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

use hectare_core::Permissions;

use crate::format::{Edit, SetBy};
use crate::table::clear::is_settled;
use crate::table::flush::{Flush, Span};
use crate::table::memory::{Cell, Node, Slot, Walk};
use crate::table::range::Part;
use crate::table::{TableFormat, TableWindow, split};
use crate::{AtomicEntry, Attributes, Entry, Touched};

/// How leaves of a level with certain attribute bits change.
#[derive(Clone, Copy)]
pub(in crate::table) struct Current<E> {
    level: usize,
    /// The attribute bits before.
    pub(in crate::table) key: E,
    pub(in crate::table) edit: Edit<E>,
    /// Whether it takes the right to write.
    pub(in crate::table) takes_write: bool,
    /// Whether the leaves count as written: they get the right to write while a cache of an upper level may still lead to
    /// a table that a larger leaf replaced, in which a write would be recorded.
    marks: bool,
}

/// A change under way.
pub(in crate::table) struct Edits<'t, 'f, F: TableFormat, W, C> {
    pub(in crate::table) walk: Walk<'t, F, W>,
    pub(in crate::table) change: C,
    pub(in crate::table) current: Option<Current<F::Entry>>,
    /// No token that took write rights is unpaid.
    pub(in crate::table) settled: bool,
    /// This change took write rights.
    pub(in crate::table) unsettles: bool,
    pub(in crate::table) token: &'f mut Flush,
}

impl<'t, F: TableFormat, W: TableWindow, C: FnMut(Attributes) -> Attributes> Edits<'t, '_, F, W, C> {
    pub(super) fn walk(&mut self, node: Node<'t, F>, part: Part) {
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
    pub(in crate::table) fn prepare(&mut self, leaf: F::Entry, level: usize) -> Option<Current<F::Entry>> {
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
    pub(in crate::table) fn settles(&self, leaf: F::Entry, level: usize) -> bool {
        let alone = F::RUNS[level].is_none()
            || F::DIRTY != SetBy::Hardware
            || !F::is_contiguous(leaf, level)
            || cfg!(hectare_plant = "table_run_settled");
        is_settled::<F>(leaf, level, self.settled) && (alone || F::touched(leaf, level).dirty)
    }

    /// Plain stores to leaves that follow the stride of the first one; how many. They agree in all their bits, so that
    /// nothing is decided for each of them.
    #[inline(always)]
    pub(in crate::table) fn settled_run(
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
    /// Changes the leaf at `index`, which is the address `at`; what stands there now.
    #[inline(always)]
    pub(in crate::table) fn one(
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
