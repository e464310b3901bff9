//! One pass over two tables: leaves are changed here, and written there.
//!
//! Most leaves of a process agree in all but their addresses, and the hardware has nothing left to set in them. What is to
//! be done with such leaves is decided once, and then each costs a comparison and two stores; where frames follow each
//! other, eight cost one decision.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{Frame, FrameRun, Permissions};

use crate::format::{MAX_LEVELS, SetBy};
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
        Self { edits, into, sink, address: address_bits::<F>(), reserve }
    }

    /// Copies the part below a node; whether there was anything.
    pub(super) fn node(&mut self, node: Node<'t, F>, mut target: Target<'t, '_, F>, part: Part) -> bool {
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
            let mut count = 0;
            if cells.get(1).is_some_and(|next| next.load(Relaxed) == leaf.plus(stride)) {
                count = self.run(node, target, index, cells, (leaf, new, stride));
            }
            if count == 0 {
                count = 1;
                self.put(node, index, cells, new, change);
                target.put(index, new);
                self.sink.leaves(at, new, level, index, 1);
            } else {
                self.sink.leaves(at, new, level, index, count);
            }
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

    /// Copies leaves that follow the stride, of which `leaf` is the first and becomes `new`, eight at a time; how many.
    #[inline(always)]
    fn run(
        &mut self,
        node: Node<'t, F>,
        target: &mut Target<'t, '_, F>,
        index: usize,
        cells: &[Cell<F>],
        (leaf, new, stride): (F::Entry, F::Entry, F::Entry),
    ) -> usize {
        let entries = (leaf, new, stride);
        match target {
            Target::Live(live) => {
                let places = live.cells.get(index..).unwrap_or(&[]).chunks_exact(AT_ONCE);
                self.eights(node, index, cells, entries, places, |place, entry| place.store(entry, Relaxed))
            }
            Target::Spare(words) => {
                let places = words.get_mut(index..).unwrap_or(&mut []).chunks_exact_mut(AT_ONCE);
                self.eights(node, index, cells, entries, places, |place, entry| {
                    place.write(entry);
                })
            }
        }
    }

    /// Compares eight leaves, and then changes and copies them without a decision between them.
    #[inline(always)]
    fn eights<P>(
        &self,
        node: Node<'t, F>,
        index: usize,
        cells: &[Cell<F>],
        (leaf, new, stride): (F::Entry, F::Entry, F::Entry),
        places: impl Iterator<Item = impl IntoIterator<Item = P>>,
        put: impl Fn(P, F::Entry),
    ) -> usize {
        let (mut expected, mut entry, mut count) = (leaf, new, 0);
        for (eight, places) in cells.chunks_exact(AT_ONCE).zip(places) {
            let (mut next, mut differ) = (expected, F::Entry::ZERO);
            for cell in eight {
                differ = differ | (cell.load(Relaxed) ^ next);
                next = next.plus(stride);
            }
            if differ != F::Entry::ZERO {
                break;
            }
            expected = next;
            let mut ours = entry;
            for (nth, cell) in eight.iter().enumerate() {
                self.into.window.step(node.at(index + count + nth));
                if leaf != new {
                    self.edits.walk.window.step(node.at(index + count + nth));
                    cell.store(ours, Relaxed);
                    ours = ours.plus(stride);
                }
            }
            for place in places {
                put(place, entry);
                entry = entry.plus(stride);
            }
            count += AT_ONCE;
        }
        count
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
