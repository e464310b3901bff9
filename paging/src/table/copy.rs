//! What a fork does with tables: the same leaves in a second table, without the right to write in both.
//!
//! ```text
//!   ours     │ A rw │ B rw │ C r- │ ─ │      ours      │ A r- │ B r- │ C r- │ ─ │
//!   theirs   (nothing)                ──►    theirs    │ A r- │ B r- │ C r- │ ─ │     same frames, same bits
//! ```
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PageRun, Permissions};

use super::change::Edits;
use super::clear::{is_settled, member};
use super::fill::{plan, tables, taken};
use super::flush::{Flush, Fresh};
use super::memory::{Node, Reserve, Slot, Walk, Word};
use super::range::Part;
use super::runs::Collector;
use super::split;
use super::{Mapping, PageTable, TableError, TableFormat, TableWindow};
use crate::format::SetBy;
use crate::{AtomicEntry, Attributes, Entry, Kind};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Copies every leaf in the range into `other`, at the same addresses. With `write_protect` both lose the right to
    /// write, as copy-on-write wants it. `report` gets every run of leaves as both tables have it now; who counts
    /// references to frames counts there. Software state of absent pages is not copied.
    ///
    /// The first token is for this table; the second is `other`'s. Cost: a load and two stores a leaf (a compare-and-swap
    /// for one of them where the hardware may still set a bit). Huge leaves across the ends are split.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach, are in another table's half on either side, `other` has
    /// something where a leaf would go, or a table is needed and cannot be had. Nothing is changed then, in either.
    pub fn copy_into<V: TableWindow, T: FrameSource>(
        &mut self,
        pages: PageRun,
        other: &mut PageTable<F, V, T>,
        write_protect: bool,
        report: impl FnMut(Mapping<F>),
    ) -> Result<(Flush, Fresh<F>), TableError> {
        let part = self.part(pages)?;
        other.part(pages)?;
        let (walk, into) = (Walk::new(&self.window), Walk::new(&other.window));
        let (Some(root), Some(target)) = (self.root_node(walk), other.root_node(into)) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        let cuts = split::needed(walk, root, part)?;
        let (needed, _) = count(walk, root, into, Some(target), part)?;
        let mut reserve = Reserve::take(needed, &other.window, &mut other.source)?;
        let mut ours = match Reserve::take(cuts, &self.window, &mut self.source) {
            Ok(ours) => ours,
            Err(error) => {
                reserve.give_back(&other.window, &mut other.source);
                return Err(error);
            }
        };
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        let into = Walk::new(&other.window);
        if let (Some(root), Some(target)) = (self.root_node(walk), other.root_node(into)) {
            split::cut_ends(walk, root, part, &mut token, &mut ours);
            let change = |attributes: Attributes| {
                let taken = if write_protect { Permissions::WRITE } else { Permissions::empty() };
                attributes.with_permissions(attributes.permissions - taken)
            };
            let edits = Edits {
                walk,
                change,
                current: None,
                settled: self.is_settled(),
                unsettles: false,
                token: &mut token,
            };
            let mut copying =
                Copying { edits, into, collector: Collector::new(report), reserve: &mut reserve };
            copying.node(root, Target::Live(target), part);
            copying.collector.finish();
            if copying.edits.unsettles {
                token.unsettled = 1;
                self.unsettled = self.unsettled.saturating_add(1);
            }
        }
        ours.give_back(&self.window, &mut self.source);
        reserve.give_back(&other.window, &mut other.source);
        Ok((token, Fresh::new(pages, other.asid)))
    }
}

/// How many tables the other side lacks below a node, and whether there is anything to copy.
fn count<F: TableFormat, W: TableWindow, V: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    into: Walk<'_, F, V>,
    target: Option<Node<'_, F>>,
    part: Part,
) -> Result<(u64, bool), TableError> {
    let level = node.level;
    if level == 0 && target.is_none() {
        // Nothing can be in the way; one leaf says that the table is needed.
        let (first, last) = part.indices::<F>(0);
        let cells = node.cells.get(first..=last).unwrap_or(&[]);
        return Ok((0, cells.iter().any(|cell| F::kind(cell.load(Relaxed), 0) == Kind::Leaf)));
    }
    let (mut needed, mut any) = (0, false);
    for (index, piece) in part.pieces::<F>(level) {
        match walk.slot(node, index) {
            Slot::Absent(_) | Slot::Reserved => {}
            Slot::Leaf(_) if piece.is_whole::<F>(level) => {
                any = true;
                if let Some(target) = target.filter(|target| target.load(index) != F::Entry::ZERO) {
                    return Err(taken(target, part, index));
                }
            }
            Slot::Leaf(_) => {
                any = true;
                match target.map(|target| (target, into.slot(target, index))) {
                    None => needed += tables::<F>(piece, level, level - 1),
                    Some((_, Slot::Table(child))) => needed += plan(into, child, piece, level - 1)?,
                    Some((_, Slot::Absent(entry))) if entry == F::Entry::ZERO => {
                        needed += tables::<F>(piece, level, level - 1);
                    }
                    Some((target, _)) => return Err(taken(target, part, index)),
                }
            }
            Slot::Table(child) => {
                let below = match target.map(|target| (target, into.slot(target, index))) {
                    None => None,
                    Some((_, Slot::Table(child))) => Some(child),
                    Some((_, Slot::Absent(entry))) if entry == F::Entry::ZERO => None,
                    Some((target, _)) => return Err(taken(target, part, index)),
                };
                let (tables, found) = count(walk, child, into, below, piece)?;
                any |= found;
                needed += tables + u64::from(found && below.is_none());
            }
        }
    }
    Ok((needed, any))
}

/// Where leaves go: a live table, or one that will be linked when it is full.
enum Target<'t, 's, F: TableFormat> {
    Live(Node<'t, F>),
    Spare(&'s mut [Word<F>]),
}

impl<F: TableFormat> Target<'_, '_, F> {
    /// Only words that were zero are written in a live table, and only with leaves.
    #[inline(always)]
    fn put(&mut self, index: usize, entry: F::Entry) {
        match self {
            Self::Live(node) => {
                if let Some(cell) = node.cells.get(index).filter(|_| entry != F::Entry::ZERO) {
                    cell.store(entry, Relaxed);
                }
            }
            Self::Spare(words) => {
                if let Some(word) = words.get_mut(index) {
                    word.write(entry);
                }
            }
        }
    }
}

struct Copying<'t, 'f, F: TableFormat, W, V, C, R: FnMut(Mapping<F>)> {
    edits: Edits<'t, 'f, F, W, C>,
    into: Walk<'t, F, V>,
    collector: Collector<F, R>,
    reserve: &'f mut Reserve<F>,
}

impl<'t, F, W, V, C, R> Copying<'t, '_, F, W, V, C, R>
where
    F: TableFormat,
    W: TableWindow,
    V: TableWindow,
    C: FnMut(Attributes) -> Attributes,
    R: FnMut(Mapping<F>),
{
    /// Copies the part below a node; whether there was anything.
    fn node(&mut self, node: Node<'t, F>, mut target: Target<'t, '_, F>, part: Part) -> bool {
        let level = node.level;
        let (first, last) = part.indices::<F>(level);
        if let Target::Spare(words) = &mut target {
            let (head, rest) = words.split_at_mut(first);
            for word in head.iter_mut().chain(rest.iter_mut().skip(last + 1 - first)) {
                word.write(F::Entry::ZERO);
            }
        }
        let mut any = false;
        let mut changed: Option<(usize, usize)> = None;
        let mut index = first;
        let mut at = part.start_of::<F>(first, level);
        while index <= last {
            let entry = node.load(index);
            let mut count = 1;
            match F::kind(entry, level) {
                Kind::Leaf => {
                    any = true;
                    let rewritten;
                    (count, rewritten) = self.leaves(node, &mut target, index..last + 1, at, entry);
                    if rewritten {
                        changed = Some((changed.map_or(index, |(from, _)| from), index + count));
                    }
                }
                Kind::Table => any |= self.table(node, &mut target, index, part.within::<F>(at, level)),
                Kind::Absent | Kind::Reserved => target.put(index, F::Entry::ZERO),
            }
            index += count;
            at = at.wrapping_add((count as u64) << F::SHIFTS[level]);
        }
        if let Some((from, end)) = changed {
            let first = F::delinear(part.start_of::<F>(from, level));
            let stride = F::leaf_size(level);
            self.edits.token.add(super::Span::new(first, (end - from) as u64, stride));
        }
        any
    }

    /// Copies leaves from the start of the range on; how many, and whether ours changed. Leaves that follow the stride of
    /// the first one and have nothing left for the hardware to set go in one loop.
    #[inline(always)]
    fn leaves(
        &mut self,
        node: Node<'t, F>,
        target: &mut Target<'t, '_, F>,
        range: Range<usize>,
        at: u64,
        leaf: F::Entry,
    ) -> (usize, bool) {
        let (level, index) = (node.level, range.start);
        let cells = node.cells.get(range.clone()).unwrap_or(&[]);
        let (Some(current), Some(cell)) = (self.edits.prepare(leaf, level), cells.first()) else {
            return (1, false);
        };
        let new = F::apply(leaf, current.edit);
        let breaks = F::BREAK_BEFORE_MAKE && F::must_break(leaf, new, level);
        self.into.window.step(node.at(index));
        if breaks || F::RUNS[level].is_some() || !is_settled::<F>(leaf, level, self.edits.settled) {
            let new = self.edits.one(node, index, cell, leaf, at, current);
            target.put(index, new);
            self.collector.add(at, member(node, index, new), level, index, 1);
            return (1, new != leaf);
        }
        let count = self.edits.settled_run(node, index, cells, leaf, new);
        if count == 0 {
            return (0, false);
        }
        let stride = F::stride(level);
        let mut copy = new;
        match target {
            Target::Live(live) => {
                for cell in live.cells.get(index..index + count).unwrap_or(&[]) {
                    cell.store(copy, Relaxed);
                    copy = copy.plus(stride);
                }
            }
            Target::Spare(words) => {
                for word in words.get_mut(index..index + count).unwrap_or(&mut []) {
                    word.write(copy);
                    copy = copy.plus(stride);
                }
            }
        }
        self.edits.unsettles |= F::DIRTY == SetBy::Hardware && current.takes_write && new != leaf;
        self.collector.add(at, new, level, index, count);
        (count, new != leaf)
    }

    /// Copies the table at `index`.
    fn table(
        &mut self,
        node: Node<'t, F>,
        target: &mut Target<'t, '_, F>,
        index: usize,
        piece: Part,
    ) -> bool {
        let Some(child) = self.edits.walk.child(node, index) else { return false };
        if let Target::Live(live) = target {
            if let Some(theirs) = self.into.child(*live, index) {
                return self.node(child, Target::Live(theirs), piece);
            }
        }
        // The reserve holds a table for each that will have a leaf. If it is empty, there are none left to copy.
        let Some(spare) = self.reserve.pop(self.into.window, child.level) else {
            target.put(index, F::Entry::ZERO);
            return false;
        };
        if !self.node(child, Target::Spare(spare.entries), piece) {
            self.reserve.push(spare);
            target.put(index, F::Entry::ZERO);
            return false;
        }
        match target {
            Target::Live(live) => self.into.link(*live, index, spare),
            Target::Spare(_) => {
                target.put(index, F::table(spare.address, node.level).unwrap_or(F::Entry::ZERO));
            }
        }
        true
    }
}
