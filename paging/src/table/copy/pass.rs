//! One pass over two tables: leaves are changed here, and written there.
//!
//! Most leaves of a process agree in all but their addresses, and the hardware has nothing left to set in them. What is to
//! be done with such leaves is decided once, and then each costs a comparison and two stores. Where frames follow each
//! other there are two loops: eight of ours are compared and changed at a time, then theirs are written as a series, which
//! compilers do by wide stores.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{Frame, FrameRun, Permissions, PhysAddr};

use crate::format::{MAX_LEVELS, SetBy};
use crate::table::ahead::Ahead;
use crate::table::change::Edits;
use crate::table::clear::{is_settled, member};
use crate::table::flush::Span;
use crate::table::memory::{Cell, Node, Reserve, Walk, Word};
use crate::table::range::Part;
use crate::table::runs::Collector;
use crate::table::{Mapping, TableFormat, TableWindow};
use crate::{AtomicEntry, Attributes, Entry, Kind, Touched};

/// Where leaves go: a live table, or one that will be linked when it is full.
pub(super) enum Target<'t, 's, F: TableFormat> {
    Live(Node<'t, F>),
    Spare(&'s mut [Word<F>]),
}

impl<F: TableFormat> Target<'_, '_, F> {
    /// Where an entry will be written, if it is one that no cache has: a table that was just taken.
    #[inline(always)]
    fn ahead(&self, index: usize) -> Option<Ahead> {
        match self {
            Self::Live(_) => None,
            Self::Spare(words) => Some(Ahead::of(words.get(index))),
        }
    }

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

/// The address of the `nth` entry behind the one at `at`.
#[inline(always)]
fn entry_at<F: TableFormat>(at: PhysAddr, nth: usize) -> PhysAddr {
    PhysAddr::new(at.value().wrapping_add((nth * F::Entry::BYTES) as u64))
}

/// Plain stores to cells of a live table that begin at `at`.
#[inline(always)]
fn store_series<F: TableFormat>(
    walk: &Walk<'_, F, impl TableWindow>,
    at: PhysAddr,
    cells: &[Cell<F>],
    mut entry: F::Entry,
    stride: F::Entry,
) {
    for (nth, cell) in cells.iter().enumerate() {
        walk.window.step(entry_at::<F>(at, nth));
        cell.store(entry, Relaxed);
        entry = entry.plus(stride);
    }
}

/// Leaves that are compared, and then changed, without a decision between them.
const AT_ONCE: usize = 8;

/// The bits of a leaf of each level that say where its memory is: all others are attributes and marks.
fn address_bits<F: TableFormat>() -> [F::Entry; MAX_LEVELS] {
    core::array::from_fn(|level| {
        if level >= F::LEVELS || !F::has_leaves(level) {
            return F::Entry::ZERO;
        }
        let size = F::leaf_size(level);
        let last: u64 = (u64::MAX >> (64 - F::physical_bits(level))) & !size.offset_mask();
        let attributes = F::nearest(Attributes::new(Permissions::READ));
        let leaf = |address: u64| F::leaf(address.into(), attributes, Touched::DIRTY, level);
        match (leaf(0), leaf(last)) {
            (Ok(none), Ok(all)) => none ^ all,
            _ => F::Entry::ZERO,
        }
    })
}

/// Who is told of leaves that were copied.
pub(super) trait Sink<F: TableFormat> {
    /// `count` leaves from address `at` on that follow the stride, of which `entry` is the first, without marks of
    /// contiguous runs.
    fn leaves(&mut self, at: u64, entry: F::Entry, level: usize, index: usize, count: usize);
}

impl<F: TableFormat, R: FnMut(Mapping<F>)> Sink<F> for Collector<F, R> {
    #[inline(always)]
    fn leaves(&mut self, at: u64, entry: F::Entry, level: usize, index: usize, count: usize) {
        self.add(at, entry, level, index, count);
    }
}

/// Told of frames alone, as they come, until it refuses some.
pub(super) struct Frames<R, E> {
    each: R,
    /// How many base pages were not refused.
    pub(super) count: u64,
    /// The address of the first leaf that was, and why.
    pub(super) refused: Option<(u64, E)>,
}

impl<R, E> Frames<R, E> {
    pub(super) const fn new(each: R) -> Self {
        Self { each, count: 0, refused: None }
    }
}

impl<F: TableFormat, E, R: FnMut(FrameRun) -> Result<(), E>> Sink<F> for Frames<R, E> {
    #[inline(always)]
    fn leaves(&mut self, at: u64, entry: F::Entry, level: usize, index: usize, count: usize) {
        let first = Frame::new(F::leaf_address(entry, level, index).value() >> F::PAGE.log2());
        let count = (count as u64) << (F::SHIFTS[level] - F::PAGE.log2());
        if let (None, Some(frames)) = (&self.refused, FrameRun::new(first, count)) {
            match (self.each)(frames) {
                Ok(()) => self.count += count,
                Err(why) => self.refused = Some((at, why)),
            }
        }
    }
}

/// A copy under way.
pub(super) struct Copying<'t, 'f, F: TableFormat, W, V, C, R> {
    pub(super) edits: Edits<'t, 'f, F, W, C>,
    into: Walk<'t, F, V>,
    sink: &'f mut R,
    /// Of each level: the bits of a leaf that are its address.
    address: [F::Entry; MAX_LEVELS],
    reserve: &'f mut Reserve<F>,
    /// Our table after the one that is copied.
    next: Option<Ahead>,
}

impl<'t, 'f, F, W, V, C, R> Copying<'t, 'f, F, W, V, C, R>
where
    F: TableFormat,
    W: TableWindow,
    V: TableWindow,
    C: FnMut(Attributes) -> Attributes,
    R: Sink<F>,
{
    pub(super) fn new(
        edits: Edits<'t, 'f, F, W, C>,
        into: Walk<'t, F, V>,
        sink: &'f mut R,
        reserve: &'f mut Reserve<F>,
    ) -> Self {
        Self { edits, into, sink, address: address_bits::<F>(), reserve, next: None }
    }

    /// Copies the part below a node; whether there was anything.
    pub(super) fn node(&mut self, node: Node<'t, F>, mut target: Target<'t, '_, F>, part: Part) -> bool {
        let level = node.level;
        let (first, last) = part.indices::<F>(level);
        if let Target::Spare(words) = &mut target {
            for beside in [0..first, last + 1..words.len()] {
                for word in words.get_mut(beside).unwrap_or(&mut []) {
                    word.write(F::Entry::ZERO);
                }
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
                    let range = index..last + 1;
                    (count, rewritten) = match level {
                        0 => self.leaves(node, 0, &mut target, range, at, entry),
                        _ => self.leaves(node, level, &mut target, range, at, entry),
                    };
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
            self.edits.token.add(Span::new(first, (end - from) as u64, stride));
        }
        any
    }

    /// Copies leaves that agree in all but their addresses from the start of the range on; how many, and whether ours
    /// changed. Where nothing is left for the hardware to set, that is decided once for all of them.
    #[inline(always)]
    fn leaves(
        &mut self,
        node: Node<'t, F>,
        level: usize,
        target: &mut Target<'t, '_, F>,
        range: Range<usize>,
        mut at: u64,
        mut leaf: F::Entry,
    ) -> (usize, bool) {
        let mut cells = node.cells.get(range.clone()).unwrap_or(&[]);
        let mut index = range.start;
        let (Some(current), Some(cell)) = (self.edits.prepare(leaf, level), cells.first()) else {
            return (1, false);
        };
        let new = F::apply(leaf, current.edit);
        let breaks = F::BREAK_BEFORE_MAKE && F::must_break(leaf, new, level);
        if breaks || F::is_contiguous(leaf, level) || !is_settled::<F>(leaf, level, self.edits.settled) {
            self.into.window.step(node.at(index));
            let new = self.edits.one(node, index, cell, leaf, at, current);
            target.put(index, new);
            self.sink.leaves(at, member(node, index, new), level, index, 1);
            return (1, new != leaf);
        }
        let (stride, address) = (F::stride(level), self.address[level]);
        let (alike, change) = (leaf & !address, leaf ^ new);
        while leaf & !address == alike {
            let new = leaf ^ change;
            let mut count = 1;
            if cells.get(1).is_some_and(|next| next.load(Relaxed) == leaf.plus(stride)) {
                count = self.run(node, target, index, cells, (leaf, change));
            } else {
                self.put(node, index, cells, new, change);
                target.put(index, new);
            }
            self.sink.leaves(at, new, level, index, count);
            index += count;
            at = at.wrapping_add((count as u64) << F::SHIFTS[level]);
            cells = cells.get(count..).unwrap_or(&[]);
            match cells.first() {
                Some(cell) => leaf = cell.load(Relaxed),
                None => break,
            }
        }
        let changed = change != F::Entry::ZERO;
        self.edits.unsettles |= F::DIRTY == SetBy::Hardware && current.takes_write && changed;
        (index - range.start, changed)
    }

    /// A plain store to the first of our cells, if it changes.
    #[inline(always)]
    fn put(&self, node: Node<'t, F>, index: usize, cells: &[Cell<F>], new: F::Entry, change: F::Entry) {
        self.into.window.step(node.at(index));
        if change != F::Entry::ZERO {
            self.edits.walk.window.step(node.at(index));
            if let Some(cell) = cells.first() {
                cell.store(new, Relaxed);
            }
        }
    }

    /// Copies leaves that follow the stride, of which `leaf` is the first; how many, at least one.
    #[inline(never)]
    fn run(
        &self,
        node: Node<'t, F>,
        target: &mut Target<'t, '_, F>,
        index: usize,
        cells: &[Cell<F>],
        (leaf, change): (F::Entry, F::Entry),
    ) -> usize {
        let near = Ahead::of(cells.first());
        let theirs = target.ahead(index).unwrap_or(near);
        let next = self.next.map_or(near, |next| next.behind(index * F::Entry::BYTES));
        let (at, ahead) = (node.at(index), [theirs, next]);
        // A stride that is known when it is compiled is no operand; nor does a leaf cost a decision whether it changes.
        let count = match (node.level, change != F::Entry::ZERO) {
            (0, true) => self.series::<true>(at, cells, ahead, (leaf, change, F::stride(0))),
            (level, true) => self.series::<true>(at, cells, ahead, (leaf, change, F::stride(level))),
            (level, false) => self.series::<false>(at, cells, ahead, (leaf, change, F::stride(level))),
        };
        if count == 0 {
            // Never: the hardware has nothing to set in the first.
            self.put(node, index, cells, leaf ^ change, change);
        }
        let count = count.max(1);
        self.fill(at, target, index..index + count, leaf ^ change, F::stride(node.level));
        count
    }

    /// Changes our leaves that follow the stride, of which `leaf` is the first, eight at a time; how many. Meanwhile the
    /// lines that will be written to next come nearer: those of the other side, and of our next table.
    #[inline(always)]
    fn series<const CHANGES: bool>(
        &self,
        at: PhysAddr,
        cells: &[Cell<F>],
        ahead: [Ahead; 2],
        (leaf, change, stride): (F::Entry, F::Entry, F::Entry),
    ) -> usize {
        // No bit of the change is one of an address, so that what is changed follows the same stride.
        let put = |nth: usize, cells: &[Cell<F>], was: F::Entry| {
            if CHANGES {
                store_series::<F>(&self.edits.walk, entry_at::<F>(at, nth), cells, was ^ change, stride);
            }
        };
        let (mut expected, mut count) = (leaf, 0);
        for eight in cells.chunks_exact(AT_ONCE) {
            let (mut next, mut differ) = (expected, F::Entry::ZERO);
            for cell in eight {
                differ = differ | (cell.load(Relaxed) ^ next);
                next = next.plus(stride);
            }
            if differ != F::Entry::ZERO {
                break;
            }
            ahead[0].fetch(count * F::Entry::BYTES);
            ahead[1].fetch(count * F::Entry::BYTES);
            put(count, eight, expected);
            expected = next;
            count += AT_ONCE;
        }
        for cell in cells.get(count..).unwrap_or(&[]) {
            if cell.load(Relaxed) != expected {
                break;
            }
            put(count, core::slice::from_ref(cell), expected);
            expected = expected.plus(stride);
            count += 1;
        }
        count
    }

    /// Writes a run of leaves that follow the stride, the first of them `entry`, on the other side.
    #[inline(always)]
    fn fill(
        &self,
        at: PhysAddr,
        target: &mut Target<'t, '_, F>,
        range: Range<usize>,
        mut entry: F::Entry,
        stride: F::Entry,
    ) {
        match target {
            Target::Live(live) => {
                let cells = live.cells.get(range).unwrap_or(&[]);
                store_series::<F>(&self.into, at, cells, entry, stride);
            }
            Target::Spare(words) => {
                for word in words.get_mut(range).unwrap_or(&mut []) {
                    word.write(entry);
                    entry = entry.plus(stride);
                }
            }
        }
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
        let next = if index + 1 < node.cells.len() { self.edits.walk.child(node, index + 1) } else { None };
        self.next = next.map(|next| Ahead::of(next.cells.first()));
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
