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

use hectare_core::{FrameRun, FrameSource, Page, PageRun};

use super::flush::Fresh;
use super::memory::{Node, Reserve, Slot, Spare, Walk, Word};
use super::range::Part;
use super::{MapOptions, PageTable, TableError, TableFormat, TableWindow};
use crate::{AtomicEntry, Attributes, Entry};

mod job;
mod plan;

pub(super) use job::Job;
pub(super) use plan::{plan, tables, taken};

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
