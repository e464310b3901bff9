//! Mapping: a run of pages onto a run of frames, with the largest leaves that fit.
//!
//! ```text
//!   1. plan    walk what exists: every place must be empty; count the tables that are missing
//!   2. reserve take them all, or refuse
//!   3. fill    live tables: atomic stores. Missing tables: filled bottom-up, then one Release store links each subtree
//! ```
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameRun, FrameSource, Page, PageRun, PageSize, PhysAddr};

use super::flush::Fresh;
use super::memory::{Node, Reserve, Slot, Spare, Walk, Word};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow};
use crate::format::MAX_LEVELS;
use crate::{AtomicEntry, Attributes, Entry, Touched};

/// How a run is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapOptions {
    /// No larger leaves than this. By default, the largest that the format has and that fits.
    pub largest: Option<PageSize>,
    /// The accessed and dirty bits of the new leaves. Where nobody asks about them, setting both spares the hardware the
    /// walk that would set them, and makes later changes cheaper. By default neither is set.
    pub touched: Touched,
    /// Whether aligned groups become one translation where the format can say so (AArch64's contiguous bit, Svnapot).
    /// By default they do.
    pub contiguous: bool,
}

impl MapOptions {
    /// The defaults.
    pub const DEFAULT: Self = Self { largest: None, touched: Touched::NO, contiguous: true };

    /// Base pages only.
    pub const BASE_PAGES: Self = Self { largest: Some(PageSize::SIZE_4K), ..Self::DEFAULT };

    /// The same with these accessed and dirty bits.
    #[must_use]
    pub const fn with_touched(self, touched: Touched) -> Self {
        Self { touched, ..self }
    }

    /// The same with no larger leaves than this.
    #[must_use]
    pub const fn with_largest(self, largest: PageSize) -> Self {
        Self { largest: Some(largest), ..self }
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One call: what each level's leaves look like, and where the frames are.
#[derive(Clone, Copy)]
pub(super) struct Job<F: TableFormat> {
    /// Physical minus linear address, wrapping: the same for every page of the run.
    distance: u64,
    /// The highest level at which leaves are written.
    pub(super) top: usize,
    /// The leaf of each level for physical address 0.
    zeroth: [F::Entry; MAX_LEVELS],
    attributes: Attributes,
    options: MapOptions,
}

impl<F: TableFormat> Job<F> {
    pub(super) fn new(
        part: Part,
        memory: PhysAddr,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<Self, TableError> {
        // The first and the last frame: what the format refuses, it refuses before anything is changed.
        let length = part.last - part.first;
        let last = memory.value().wrapping_add(length) & !F::PAGE.offset_mask();
        F::leaf(memory, attributes, options.touched, 0)?;
        F::leaf(last.into(), attributes, options.touched, 0)?;
        let distance = memory.value().wrapping_sub(part.first);
        let mut job = Self { distance, top: 0, zeroth: [F::Entry::ZERO; MAX_LEVELS], attributes, options };
        let largest = options.largest.map_or(63, PageSize::log2);
        for level in 0..F::LEVELS {
            let size = F::leaf_size(level);
            if level != 0 {
                let fits = F::has_leaves(level)
                    && size.log2() <= largest
                    && distance & size.offset_mask() == 0
                    && length >= size.offset_mask();
                if !fits {
                    break;
                }
            }
            match F::leaf(PhysAddr::new(0), attributes, options.touched, level) {
                Ok(entry) => job.zeroth[level] = entry,
                Err(_) if level != 0 => break,
                Err(error) => return Err(error.into()),
            }
            job.top = level;
        }
        Ok(job)
    }

    /// The leaf for the linear address `at`.
    #[inline(always)]
    fn leaf(&self, at: u64, level: usize) -> F::Entry {
        let address = at.wrapping_add(self.distance);
        if F::LINEAR_BITS >= 64 {
            self.zeroth[level].plus(F::stride(level).times(address >> F::SHIFTS[level]))
        } else {
            // Checked by `new` for the ends, and every other address is between them.
            F::leaf(address.into(), self.attributes, self.options.touched, level).unwrap_or(F::Entry::ZERO)
        }
    }

    /// Whether groups of 2^`log2` leaves of this level are aligned in both spaces.
    #[inline(always)]
    fn has_runs(&self, level: usize, log2: u8) -> bool {
        self.options.contiguous && self.distance & ((F::leaf_size(level).bytes() << log2) - 1) == 0
    }

    /// How many leaves from `at` on follow the stride.
    #[inline(always)]
    fn linear_run(&self, at: u64, level: usize) -> usize {
        if F::LINEAR_BITS >= 64 {
            return usize::MAX;
        }
        let address = at.wrapping_add(self.distance);
        let left = (1_u64 << F::LINEAR_BITS) - (address & ((1 << F::LINEAR_BITS) - 1));
        usize::try_from(left >> F::SHIFTS[level]).unwrap_or(usize::MAX)
    }
}

/// How many tables an empty entry of `level` needs for a part of it, with leaves up to level `top`: counted by level,
/// without looking anywhere.
pub(super) fn tables<F: TableFormat>(part: Part, level: usize, top: usize) -> u64 {
    let mut sum = 0;
    for upper in 1..=level {
        // Tables of level `upper − 1`: one for each entry of level `upper` that is not a leaf.
        let shift = F::SHIFTS[upper];
        let entries = (part.last >> shift) - (part.first >> shift) + 1;
        if upper > top {
            sum += entries;
            continue;
        }
        let mask = F::leaf_size(upper).offset_mask();
        let (head, tail) = (part.first & mask != 0, part.last & mask != mask);
        sum += if entries == 1 { u64::from(head || tail) } else { u64::from(head) + u64::from(tail) };
    }
    sum
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Maps the pages from `first` on to `frames` (in units of [`Format::PAGE`](crate::Format::PAGE)), in order, with
    /// the largest leaves that alignment, format and `options` permit.
    ///
    /// Cost: one store a leaf, and a few steps a table. Every place must be empty. What the tokens of earlier unmaps owe
    /// must have been paid before, or the old translation may still be used beside the new one.
    ///
    /// # Errors
    /// If and only if the pages or frames are not in the format's reach, a place is taken, the format cannot say the
    /// attributes, the pages are in another table's half, or a table is needed and cannot be had. Nothing is changed then.
    #[inline]
    pub fn map(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<Fresh<F>, TableError> {
        if frames.count() == 1 {
            if let Some(fresh) = self.map_at_once(first, frames, attributes, options) {
                return Ok(fresh);
            }
            self.map_one(first, frames, attributes, options)
        } else {
            self.map_run(first, frames, attributes, options)
        }
    }

    fn map_run(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<Fresh<F>, TableError> {
        let pages = run_of(first, frames)?;
        let part = self.part(pages)?;
        let memory = frames.first().start(F::PAGE).ok_or(TableError::Range { pages })?;
        let job = Job::<F>::new(part, memory, attributes, options)?;
        let walk = Walk::new(&self.window);
        let needed = match self.root_node(walk) {
            Some(root) => plan(walk, root, part, job.top)?,
            None => return Err(TableError::Unreachable { table: self.root }),
        };
        let mut reserve = Reserve::take(needed, &self.window, &mut self.source)?;
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            fill(walk, root, part, &job, &mut reserve);
        }
        Ok(Fresh::new(pages, self.asid))
    }
}

/// The pages that go with the frames.
pub(super) fn run_of(first: Page, frames: FrameRun) -> Result<PageRun, TableError> {
    PageRun::new(first, frames.count())
        .ok_or(TableError::Range { pages: PageRun::new(first, 1).unwrap_or(LAST) })
}

pub(super) const LAST: PageRun = match PageRun::new(Page::new(u64::MAX - 1), 1) {
    Some(run) => run,
    None => unreachable!(),
};

/// Counts the tables that are missing below a node for leaves up to level `top`, or finds what is in the way.
pub(super) fn plan<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    top: usize,
) -> Result<u64, TableError> {
    let level = node.level;
    if level == 0 {
        let (first, last) = part.indices::<F>(0);
        let cells = node.cells.get(first..=last).unwrap_or(&[]);
        return match cells.iter().position(|cell| cell.load(Relaxed) != F::Entry::ZERO) {
            None => Ok(0),
            Some(index) => Err(taken(node, part, first + index)),
        };
    }
    let mut needed = 0;
    for (index, piece) in part.pieces::<F>(level) {
        match walk.slot(node, index) {
            Slot::Absent(entry) if entry == F::Entry::ZERO => {
                if level > top || !piece.is_whole::<F>(level) {
                    needed += tables::<F>(piece, level, top);
                }
            }
            Slot::Table(child) => needed += plan(walk, child, piece, top)?,
            _ => return Err(taken(node, part, index)),
        }
    }
    Ok(needed)
}

/// What is in the way at `index` of a node.
#[cold]
pub(super) fn taken<F: TableFormat>(node: Node<'_, F>, part: Part, index: usize) -> TableError {
    let address = F::delinear(part.start_of::<F>(index, node.level).max(part.first));
    let entry = node.load(index);
    match F::kind(entry, node.level) {
        crate::Kind::Leaf => {
            let offset = address.value() & F::leaf_size(node.level).offset_mask();
            let start = F::leaf_address(entry, node.level, index);
            TableError::Mapped { address, existing: PhysAddr::new(start.value().wrapping_add(offset)) }
        }
        _ => TableError::Occupied { address },
    }
}

/// Maps the part below a live node. Every table that is missing is in the reserve.
pub(super) fn fill<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    node: Node<'t, F>,
    part: Part,
    job: &Job<F>,
    reserve: &mut Reserve<F>,
) {
    let level = node.level;
    let leaves = leaves_of(part, level, job);
    let amid = level != 0 && leaves.clone().any(|index| node.load(index) != F::Entry::ZERO);
    if amid {
        // Empty tables, which stay where others link them too: the leaves go below them.
        for index in leaves.clone() {
            let at = part.start_of::<F>(index, level);
            match walk.slot(node, index) {
                Slot::Table(child) => fill(walk, child, part.within::<F>(at, level), job, reserve),
                _ => write(walk, node, index..index + 1, at, job),
            }
        }
    } else if !leaves.is_empty() {
        write(walk, node, leaves.clone(), part.start_of::<F>(leaves.start, level), job);
    }
    if level == 0 {
        return;
    }
    for (index, piece) in edges::<F>(part, level, &leaves) {
        if let Slot::Table(child) = walk.slot(node, index) {
            fill(walk, child, piece, job, reserve);
        } else if let Some(mut spare) = reserve.pop(walk.window, level - 1) {
            if cfg!(hectare_plant = "table_link_early") {
                let again = Spare { entries: &mut [], address: spare.address };
                walk.link(node, index, again);
                walk.window.step(node.at(index));
            }
            build(walk, &mut spare, level - 1, piece, job, reserve);
            walk.link(node, index, spare);
        }
    }
}

/// The entries of a node that become leaves; none is an empty range at the first entry of the part.
#[inline(always)]
fn leaves_of<F: TableFormat>(part: Part, level: usize, job: &Job<F>) -> Range<usize> {
    let whole = part.whole::<F>(level);
    let first = F::index(part.first.into(), level);
    if level <= job.top && whole.start < whole.end { whole } else { first..first }
}

/// The pieces of the part that go further down: all but the leaves.
#[inline(always)]
fn edges<F: TableFormat>(
    part: Part,
    level: usize,
    leaves: &Range<usize>,
) -> impl Iterator<Item = (usize, Part)> + use<F> {
    let (first, last) = part.indices::<F>(level);
    let indices = (first..leaves.start).chain(leaves.end..last + 1);
    indices.map(move |index| (index, part.within::<F>(part.start_of::<F>(index, level), level)))
}

/// Cuts leaves into stretches of constant difference: hands on each with its first entry and the stride.
///
/// A stretch ends where a second address field begins to count (52-bit AArch64), and around groups that become one
/// translation:
/// ```text
///   entries   │ r r r │ G G G G │ G G G G │ r r │      r plain, G marked as contiguous, 4 entries a group here
/// ```
#[inline(always)]
fn stretches<F: TableFormat>(
    mut range: Range<usize>,
    mut at: u64,
    level: usize,
    job: &Job<F>,
    mut stretch: impl FnMut(Range<usize>, F::Entry, F::Entry),
) {
    while range.start < range.end {
        let mut count = job.linear_run(at, level).min(range.len());
        let (mut entry, mut stride) = (job.leaf(at, level), F::stride(level));
        if let Some(run) = F::RUNS[level].filter(|run| job.has_runs(level, run.log2)) {
            let group = 1 << run.log2;
            let offset = range.start & (group - 1);
            if offset != 0 || count < group {
                count = count.min(group - offset);
            } else {
                entry = F::contiguous(entry, level);
                if run.repeats {
                    (count, stride) = (group, F::Entry::ZERO);
                } else {
                    count &= !(group - 1);
                }
            }
        }
        stretch(range.start..range.start + count, entry, stride);
        range.start += count;
        at = at.wrapping_add((count as u64) << F::SHIFTS[level]);
    }
}

/// Stores leaves into a live node.
#[inline(always)]
fn write<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    range: Range<usize>,
    at: u64,
    job: &Job<F>,
) {
    stretches(range, at, node.level, job, |range, mut entry, stride| {
        for (index, cell) in range.clone().zip(node.cells.get(range).unwrap_or(&[])) {
            walk.window.step(node.at(index));
            cell.store(entry, Relaxed);
            entry = entry.plus(stride);
        }
    });
}

/// Fills a table that is not linked yet: the part with leaves and subtables, everything else with zeros.
fn build<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    spare: &mut Spare<'t, F>,
    level: usize,
    part: Part,
    job: &Job<F>,
    reserve: &mut Reserve<F>,
) {
    let (first, last) = part.indices::<F>(level);
    spare.zero(0..first);
    if !cfg!(hectare_plant = "table_no_zero") {
        spare.zero(last + 1..spare.entries.len());
    }
    let leaves = leaves_of(part, level, job);
    stretches(leaves.clone(), part.start_of::<F>(leaves.start, level), level, job, |range, entry, stride| {
        count_up::<F>(spare.entries.get_mut(range).unwrap_or(&mut []), entry, stride);
    });
    if level == 0 {
        return;
    }
    for (index, piece) in edges::<F>(part, level, &leaves) {
        let mut entry = F::Entry::ZERO;
        if let Some(mut child) = reserve.pop(walk.window, level - 1) {
            build(walk, &mut child, level - 1, piece, job, reserve);
            entry = F::table(child.address, level).unwrap_or(F::Entry::ZERO);
        }
        if let Some(word) = spare.entries.get_mut(index) {
            word.write(entry);
        }
    }
}

/// The inner loop: a base plus multiples of the stride.
#[inline(always)]
fn count_up<F: TableFormat>(words: &mut [Word<F>], first: F::Entry, stride: F::Entry) {
    let mut entry = first;
    for word in words {
        word.write(entry);
        entry = entry.plus(stride);
    }
}
