//! Moving what a range maps to other pages: frames, rights, accessed and dirty bits, software state.
//!
//! ```text
//!   both ends aligned alike          │ page tables │             not aligned alike
//!   old  ─ link ─┐   ┌─ 0            one store moves all that     old │ A │ B │ C │ ─► 0 0 0
//!                └───┼──► new        hangs below a link           new   │ ─ │ A │ B │ C │       leaf by leaf
//! ```
//! An entry is taken out of its old place (by a swap wherever the hardware may still set a bit) before it stands in the
//! new one, so no bit is lost and no table is linked twice. A table that moved may still be reached from its old
//! addresses through caches of upper levels until the token is finished, or another one that owns tables: such a token
//! empties these caches ([`Tlb`](super::Tlb)), so the table is never freed under one.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, Page, PageRun};

use super::clear::{self, is_settled, store};
use super::fill::{self, Job, plan};
use super::flush::{Flush, Span};
use super::memory::{Node, Reserve, Slot, Walk};
use super::range::Part;
use super::{MapOptions, PageTable, TableError, TableFormat, TableWindow, split};
use crate::format::MAX_LEVELS;
use crate::{AtomicEntry, Entry, Kind, Touched, format};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Moves whatever the pages map, and the software state of those that are absent, to as many pages from `to` on, all
    /// of which must be empty. Holes stay holes. Where both sides are aligned alike whole tables and huge leaves move by
    /// one store; elsewhere huge leaves become smaller ones.
    ///
    /// A page is absent at both places for a moment. The token owes the old pages' invalidation (and what fresh mappings
    /// of the format owe). Cost: O(entries) of the tables at the ends, one store for each table between them; a load and
    /// two stores a leaf (a swap where the hardware may still set a bit) if the sides are not aligned alike.
    ///
    /// # Errors
    /// If and only if either range is not in the format's reach, is in another table's half or in one that this table
    /// pinned, the ranges overlap, a place is taken, the format cannot say a huge leaf's attributes in smaller ones, or a
    /// table is needed and cannot be had. Nothing is changed then.
    pub fn remap(&mut self, pages: PageRun, to: Page) -> Result<Flush, TableError> {
        let range = TableError::Range { pages };
        let target = PageRun::new(to, pages.count()).ok_or(range)?;
        let (from, into) = (self.part(pages)?, self.part(target)?);
        if pages.overlaps(target) {
            return Err(range);
        }
        for part in [from, into] {
            let (first, last) = part.indices::<F>(F::LEVELS - 1);
            if (first..=last).any(|index| self.pinned.holds(index)) {
                return Err(TableError::Shared { address: F::delinear(part.first) });
            }
        }
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        plan(walk, root, into, 0)?;
        let shift = Shift::new::<F>(from, into);
        let needed = split::needed(walk, root, from)? + needed(walk, root, from, shift)?;
        let mut reserve = Reserve::take(needed, &self.window, &mut self.source)?;
        let mut token = self.token();
        let settled = self.is_settled();
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            split::cut_ends(walk, root, from, &mut token, &mut reserve);
            let mut moving = Moving { walk, root, shift, settled, token: &mut token, reserve: &mut reserve };
            moving.all(from);
            clear::sweep(walk, root, from, &mut token);
            if token.is_needed() && matches!(F::FRESH, format::Fresh::Fence) {
                token.add(Span::new(F::delinear(into.first), into.pages::<F>(), F::PAGE));
            }
        }
        reserve.give_back(&self.window, &mut self.source);
        self.moved = self.moved.saturating_add(token.moved);
        Ok(token)
    }
}

/// From old addresses to new ones.
#[derive(Clone, Copy)]
struct Shift {
    /// New minus old linear address, wrapping.
    distance: u64,
    /// The highest level whose entries fall onto entries.
    level: usize,
}

impl Shift {
    fn new<F: TableFormat>(from: Part, into: Part) -> Self {
        let distance = into.first.wrapping_sub(from.first);
        let fits = |level: &usize| distance & F::leaf_size(*level).offset_mask() == 0;
        Self { distance, level: (0..F::LEVELS).rev().find(fits).unwrap_or(0) }
    }

    fn new_place(self, at: u64) -> u64 {
        at.wrapping_add(self.distance)
    }

    /// Whether contiguous runs of this level fall onto such runs.
    fn keeps_runs<F: TableFormat>(self, level: usize) -> bool {
        F::RUNS[level].is_none_or(|run| self.distance & ((F::leaf_size(level).bytes() << run.log2) - 1) == 0)
    }

    /// How many entries from `index` on are whole in the part and lie in one table on either side.
    fn stretch<F: TableFormat>(self, at: u64, part: Part, level: usize) -> usize {
        let new = F::index(self.new_place(at).into(), level);
        let left = F::entries(level) - F::index(at.into(), level).max(new);
        let whole = (part.last - at).wrapping_add(1) >> F::SHIFTS[level];
        usize::try_from(whole).unwrap_or(left).clamp(1, left)
    }
}

/// What stands at an address of the part.
enum Unit<'t, F: TableFormat> {
    /// Nothing, for the whole of an entry of this level.
    Hole(usize),
    /// From this entry on, each moves by itself.
    Entries(Node<'t, F>, usize),
    /// A leaf that does not fall onto an entry, or is not whole in the part.
    Large(Node<'t, F>, usize, F::Entry),
}

fn unit<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    at: u64,
    part: Part,
    shift: Shift,
) -> Unit<'t, F> {
    let mut node = root;
    loop {
        let level = node.level;
        let index = F::index(at.into(), level);
        let mask = F::leaf_size(level).offset_mask();
        let moves = level <= shift.level && at & mask == 0 && at | mask <= part.last;
        match walk.slot(node, index) {
            Slot::Table(child) if !moves => node = child,
            Slot::Absent(entry) if entry == F::Entry::ZERO => return Unit::Hole(level),
            Slot::Reserved => return Unit::Hole(level),
            _ if moves => return Unit::Entries(node, index),
            Slot::Leaf(leaf) => return Unit::Large(node, index, leaf),
            Slot::Absent(_) | Slot::Table(_) => return Unit::Hole(level),
        }
    }
}

/// The address after the entry of this level that holds `at`; `None` behind the part.
fn after<F: TableFormat>(at: u64, level: usize, part: Part) -> Option<u64> {
    let last = at | F::leaf_size(level).offset_mask();
    last.checked_add(1).filter(|next| *next <= part.last)
}

/// How a leaf of `level` becomes leaves at its new place.
fn pieces<F: TableFormat>(
    node: Node<'_, F>,
    index: usize,
    leaf: F::Entry,
    at: u64,
    level: usize,
    shift: Shift,
) -> Result<(Part, Job<F>), TableError> {
    let mask = F::leaf_size(level).offset_mask();
    let offset = at & F::leaf_size(node.level).offset_mask();
    let memory = F::leaf_address(leaf, node.level, index).value().wrapping_add(offset);
    let first = shift.new_place(at);
    let part = Part { first, last: first.wrapping_add(mask) };
    let options = MapOptions::DEFAULT.with_touched(F::touched(leaf, node.level));
    Ok((part, Job::new(part, memory.into(), F::attributes(leaf, node.level), options)?))
}

/// Which tables the new side lacks.
struct Missing<'t, F: TableFormat, W> {
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    count: u64,
    /// The last table of each level that was counted: addresses only grow.
    last: [Option<u64>; MAX_LEVELS],
}

impl<F: TableFormat, W: TableWindow> Missing<'_, F, W> {
    /// Counts what an entry of `level` at the new address `at` needs.
    fn note(&mut self, at: u64, level: usize) {
        let mut node = self.root;
        while node.level > level {
            let Some(child) = self.walk.child(node, F::index(at.into(), node.level)) else { break };
            node = child;
        }
        for below in level..node.level {
            let table = Some(at >> F::SHIFTS[below + 1]);
            if self.last[below] != table {
                self.last[below] = table;
                self.count += 1;
            }
        }
    }
}

/// How many tables the new side needs, before anything is cut or moved.
fn needed<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    part: Part,
    shift: Shift,
) -> Result<u64, TableError> {
    let mut missing = Missing { walk, root, count: 0, last: [None; MAX_LEVELS] };
    let mut next = Some(part.first);
    while let Some(at) = next {
        let mut level;
        let mut last = at;
        match unit(walk, root, at, part, shift) {
            Unit::Hole(hole) => level = hole,
            Unit::Entries(node, index) => {
                level = node.level;
                let count = shift.stretch::<F>(at, part, level);
                let cells = node.cells.get(index..index + count).unwrap_or(&[]);
                if cells.iter().any(|cell| cell.load(Relaxed) != F::Entry::ZERO) {
                    missing.note(shift.new_place(at), level);
                }
                last = at.wrapping_add((count as u64 - 1) << F::SHIFTS[level]);
            }
            Unit::Large(node, index, leaf) => {
                // The cuts will leave the largest leaves that are whole in the part.
                level = node.level;
                let whole = |level: usize| {
                    let mask = F::leaf_size(level).offset_mask();
                    at & mask == 0 && at | mask <= part.last
                };
                while level > 0 && !whole(level) {
                    level -= 1;
                }
                if level <= shift.level {
                    missing.note(shift.new_place(at), level);
                } else {
                    let (new, job) = pieces(node, index, leaf, at, level, shift)?;
                    let table = F::leaf_size(job.top + 1).bytes();
                    let mut place = new.first;
                    while place <= new.last {
                        missing.note(place, job.top);
                        match (place | (table - 1)).checked_add(1) {
                            Some(next) => place = next,
                            None => break,
                        }
                    }
                }
            }
        }
        next = after::<F>(last, level, part);
    }
    Ok(missing.count)
}

/// A move under way.
struct Moving<'t, 'f, F: TableFormat, W> {
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    shift: Shift,
    settled: bool,
    token: &'f mut Flush,
    reserve: &'f mut Reserve<F>,
}

impl<'t, F: TableFormat, W: TableWindow> Moving<'t, '_, F, W> {
    fn all(&mut self, part: Part) {
        let mut next = Some(part.first);
        while let Some(at) = next {
            next = match unit(self.walk, self.root, at, part, self.shift) {
                Unit::Hole(level) => after::<F>(at, level, part),
                Unit::Entries(node, index) => {
                    let count = self.shift.stretch::<F>(at, part, node.level);
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
