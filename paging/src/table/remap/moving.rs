//! A move under way: entries out of their old places, and into the new ones.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use super::place::{Shift, Unit, after, pieces, unit};
use crate::table::clear::{is_settled, store};
use crate::table::flush::{Flush, Span};
use crate::table::memory::{Node, Reserve, Walk};
use crate::table::range::Part;
use crate::table::{TableFormat, TableWindow, fill, split};
use crate::{AtomicEntry, Entry, Kind, Touched};

/// A move under way.
pub(super) struct Moving<'t, 'f, F: TableFormat, W> {
    pub(super) walk: Walk<'t, F, W>,
    pub(super) root: Node<'t, F>,
    pub(super) shift: Shift,
    pub(super) settled: bool,
    pub(super) token: &'f mut Flush,
    pub(super) reserve: &'f mut Reserve<F>,
}

impl<'t, F: TableFormat, W: TableWindow> Moving<'t, '_, F, W> {
    pub(super) fn all(&mut self, part: Part) {
        let mut next = Some(part.first);
        while let Some(at) = next {
            next = match unit(self.walk, self.root, at, part, self.shift) {
                Unit::Hole(level) => after::<F>(at, level, part),
                Unit::Entries(node, index) => {
                    let count = self.shift.stretch(node, index, at, part);
                    let count = self.entries(node, index, count, at);
                    let last = at.wrapping_add((count as u64 - 1) << F::SHIFTS[node.level]);
                    after::<F>(last, node.level, part)
                }
                Unit::Large(node, index, leaf) => {
                    let count = self.leaves(node, index, leaf, at);
                    let last = at.wrapping_add((count as u64 - 1) << F::SHIFTS[node.level]);
                    after::<F>(last, node.level, part)
                }
            };
        }
    }

    /// Moves entries one by one; how many places that were.
    fn entries(&mut self, node: Node<'t, F>, first: usize, count: usize, at: u64) -> usize {
        let level = node.level;
        let mut target = None;
        let mut done = 0;
        while done < count {
            let index = first + done;
            let here = at.wrapping_add((done as u64) << F::SHIFTS[level]);
            let entry = node.load(index);
            let kind = F::kind(entry, level);
            if entry == F::Entry::ZERO || kind == Kind::Reserved {
                done += 1;
                continue;
            }
            if kind == Kind::Leaf && F::is_contiguous(entry, level) && !self.shift.keeps_runs::<F>(level) {
                done += self.leaves(node, index, entry, here);
                continue;
            }
            let new = self.shift.new_place(here);
            let Some(into) = target.or_else(|| self.target(new, level)) else { return count };
            target = Some(into);
            let place = F::index(new.into(), level);
            match kind {
                Kind::Table => {
                    self.walk.relocate(node, index, into, place);
                    let pages = F::leaf_size(level).bytes() >> F::PAGE.log2();
                    self.token.add(Span::new(F::delinear(here), pages, F::PAGE));
                    self.token.moved = 1;
                    if F::GLOBAL {
                        self.token.add_global();
                    }
                }
                Kind::Leaf => {
                    let leaf = self.take(node, index, entry);
                    store(self.walk, into, place, leaf);
                    self.owe(here, level, 1, leaf);
                }
                Kind::Absent | Kind::Reserved => {
                    store(self.walk, node, index, F::Entry::ZERO);
                    store(self.walk, into, place, entry);
                }
            }
            done += 1;
        }
        done
    }

    /// Moves a leaf, or the contiguous run that begins with it, into whatever leaves fit; how many entries that were.
    fn leaves(&mut self, node: Node<'t, F>, index: usize, leaf: F::Entry, at: u64) -> usize {
        let level = node.level;
        let mut leaves = [F::Entry::ZERO; split::MOST];
        let mut count = 1;
        if F::is_contiguous(leaf, level) {
            // Any of them may be cached as the translation of all: all go before one comes back.
            count = F::RUNS[level].map_or(1, |run| 1 << run.log2).min(split::MOST);
            let mut touched = Touched::NO;
            for (nth, leaf) in leaves.iter_mut().take(count).enumerate() {
                *leaf = F::alone(self.take(node, index + nth, node.load(index + nth)), level, index + nth);
                touched = touched.or(F::touched(*leaf, level));
            }
            for leaf in leaves.iter_mut().take(count) {
                *leaf = F::with_touched(*leaf, touched, level);
            }
        } else if let Some(first) = leaves.first_mut() {
            *first = self.take(node, index, leaf);
        }
        for (nth, leaf) in leaves.iter().take(count).enumerate() {
            let here = at.wrapping_add((nth as u64) << F::SHIFTS[level]);
            if level <= self.shift.level {
                let new = self.shift.new_place(here);
                if let Some(into) = self.target(new, level) {
                    store(self.walk, into, F::index(new.into(), level), *leaf);
                }
            } else if let Ok((part, job)) = pieces(node, index + nth, *leaf, here, level, self.shift) {
                fill::fill(self.walk, self.root, part, &job, self.reserve);
            }
        }
        self.owe(at, level, count, leaf);
        count
    }

    /// Makes an entry absent; what it said last.
    fn take(&mut self, node: Node<'t, F>, index: usize, leaf: F::Entry) -> F::Entry {
        if is_settled::<F>(leaf, node.level, self.settled) {
            store(self.walk, node, index, F::Entry::ZERO);
            return leaf;
        }
        self.walk.window.step(node.at(index));
        node.cells.get(index).map_or(F::Entry::ZERO, |cell| cell.swap(F::Entry::ZERO, Relaxed))
    }

    fn owe(&mut self, at: u64, level: usize, count: usize, leaf: F::Entry) {
        self.token.add(Span::new(F::delinear(at), count as u64, F::leaf_size(level)));
        if F::GLOBAL && F::attributes(leaf, level).global {
            self.token.add_global();
        }
    }

    /// The table of `level` for a new address; those that are missing come from the reserve.
    fn target(&mut self, at: u64, level: usize) -> Option<Node<'t, F>> {
        let mut node = self.root;
        if F::ROOT_LATCHED {
            self.token.add_reload();
        }
        while node.level > level {
            let index = F::index(at.into(), node.level);
            if self.walk.child(node, index).is_none() {
                let mut spare = self.reserve.pop(self.walk.window, node.level - 1)?;
                let count = spare.entries.len();
                spare.zero(0..count);
                self.walk.link(node, index, spare);
            }
            node = self.walk.child(node, index)?;
        }
        Some(node)
    }
}
