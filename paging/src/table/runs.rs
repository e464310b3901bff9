//! Runs of mappings: what an unmap, a harvest or a look at the table reports.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;

use hectare_core::{Frame, FrameRun, FrameSource, Page, PageRun, PageSize, VirtAddr};

use super::clear::member;
use super::memory::{Node, Slot, Walk};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow};
use crate::{Attributes, Entry, Touched};

/// Consecutive pages on consecutive frames, with leaves of one size that agree in all their bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mapping<F: TableFormat> {
    /// Linear address of the first page.
    first: u64,
    /// How many leaves.
    leaves: u64,
    /// The first leaf, without the mark of a contiguous run.
    entry: F::Entry,
    level: u8,
    index: u16,
}

impl<F: TableFormat> Mapping<F> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "levels and indices of a table are small")]
    pub(super) fn one(at: u64, entry: F::Entry, level: usize, index: usize) -> Self {
        Self { first: at, leaves: 1, entry, level: level as u8, index: index as u16 }
    }

    const fn level(&self) -> usize {
        self.level as usize
    }

    /// The pages, in units of [`Format::PAGE`](crate::Format::PAGE).
    #[must_use]
    pub fn pages(&self) -> PageRun {
        let first = Page::new(F::delinear(self.first).value() >> F::PAGE.log2());
        PageRun::new(first, self.count()).unwrap_or(super::fill::LAST)
    }

    /// The frames, in the same unit.
    #[must_use]
    pub fn frames(&self) -> FrameRun {
        let start = F::leaf_address(self.entry, self.level(), self.index.into());
        let first = Frame::new(start.value() >> F::PAGE.log2());
        FrameRun::new(first, self.count()).unwrap_or(NO_FRAMES)
    }

    /// How many base pages.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.leaves << (F::SHIFTS[self.level()] - F::PAGE.log2())
    }

    /// The linear address of its first byte.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The linear address of its last byte.
    pub(super) fn last(&self) -> u64 {
        self.first + ((self.leaves << F::SHIFTS[self.level()]) - 1)
    }

    /// How many leaves.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The first byte.
    #[must_use]
    pub fn address(&self) -> VirtAddr {
        F::delinear(self.first)
    }

    /// Rights, memory type, software bits of every leaf.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        F::attributes(self.entry, self.level())
    }

    /// The accessed and dirty bits of every leaf.
    #[must_use]
    pub fn touched(&self) -> Touched {
        F::touched(self.entry, self.level())
    }

    /// The size of each leaf.
    #[must_use]
    pub fn leaf_size(&self) -> PageSize {
        F::leaf_size(self.level())
    }
}

/// What no leaf maps: the widest format ends below.
const NO_FRAMES: FrameRun = match FrameRun::new(Frame::new(u64::MAX - 1), 1) {
    Some(run) => run,
    None => unreachable!(),
};

impl<F: TableFormat> fmt::Debug for Mapping<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {:?} {:?} {:?}", self.pages(), self.frames(), self.attributes(), self.touched())
    }
}

/// Joins leaves to runs, and hands each finished run on.
pub(super) struct Collector<F: TableFormat, R: FnMut(Mapping<F>)> {
    run: Option<Mapping<F>>,
    /// What the next leaf of the run would be, and where.
    expected: F::Entry,
    next: u64,
    report: R,
}

impl<F: TableFormat, R: FnMut(Mapping<F>)> Collector<F, R> {
    pub(super) const fn new(report: R) -> Self {
        Self { run: None, expected: F::Entry::ZERO, next: 0, report }
    }

    /// `count` leaves that follow the stride, of which `entry` is the first, without marks of contiguous runs.
    #[inline(always)]
    pub(super) fn add(&mut self, at: u64, entry: F::Entry, level: usize, index: usize, count: usize) {
        let count = count as u64;
        match &mut self.run {
            Some(run) if self.next == at && self.expected == entry && run.level() == level => {
                run.leaves += count;
            }
            _ => {
                if let Some(run) = self.run.take() {
                    (self.report)(run);
                }
                self.run = Some(Mapping { leaves: count, ..Mapping::one(at, entry, level, index) });
            }
        }
        self.expected = entry.plus(F::stride(level).times(count));
        self.next = at.wrapping_add(count << F::SHIFTS[level]);
    }

    pub(super) fn finish(mut self) {
        if let Some(run) = self.run.take() {
            (self.report)(run);
        }
    }
}

/// The runs of mappings in a range, in order, without changing anything.
#[derive(Clone)]
pub struct Runs<'t, F: TableFormat, W> {
    walk: Walk<'t, F, W>,
    root: Option<Node<'t, F>>,
    /// Linear: from where on, `None` at the end.
    next: Option<u64>,
    last: u64,
    format: PhantomData<F>,
}

impl<F: TableFormat, W: TableWindow> Iterator for Runs<'_, F, W> {
    type Item = Mapping<F>;

    /// O(leaves of the run + tables and absent entries in front of it).
    fn next(&mut self) -> Option<Mapping<F>> {
        let mut run: Option<Mapping<F>> = None;
        let mut expected = F::Entry::ZERO;
        let mut node = self.root?;
        let mut at = self.next?;
        loop {
            let (level, index) = (node.level, F::index(at.into(), node.level));
            let mask = F::leaf_size(level).offset_mask();
            match self.walk.slot(node, index) {
                Slot::Table(child) => {
                    node = child;
                    continue;
                }
                Slot::Leaf(leaf) => {
                    // A leaf that began before the range is reported whole.
                    let leaf = member(node, index, leaf);
                    match &mut run {
                        None => run = Some(Mapping::one(at & !mask, leaf, level, index)),
                        Some(run) if leaf == expected && run.level() == level => run.leaves += 1,
                        Some(_) => break,
                    }
                    expected = leaf.plus(F::stride(level));
                }
                _ if run.is_some() => break,
                _ => {}
            }
            // On to the next entry; from the root again if it is in another table.
            self.next = (at | mask).checked_add(1).filter(|next| *next <= self.last);
            match self.next {
                Some(next) => at = next,
                None => break,
            }
            if F::index(at.into(), level) == 0 {
                node = self.root?;
            }
        }
        run
    }
}

impl<F: TableFormat, W> fmt::Debug for Runs<'_, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runs from {:x?} to {:#x}", self.next, self.last)
    }
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// The runs of mappings that touch the pages. The first and the last run may begin before or end after them, if they
    /// are parts of huge leaves.
    ///
    /// # Errors
    /// If and only if the format cannot translate all of the pages.
    pub fn runs(&self, pages: PageRun) -> Result<Runs<'_, F, W>, TableError> {
        Ok(self.runs_in(Part::of::<F>(pages)?))
    }

    /// All runs of mappings of the address space, the shared half included.
    pub fn all_runs(&self) -> Runs<'_, F, W> {
        self.runs_in(Part::all::<F>())
    }

    pub(super) fn runs_in(&self, part: Part) -> Runs<'_, F, W> {
        let walk = Walk::new(&self.window);
        Runs::below(walk, self.root_node(walk), part)
    }
}

impl<'t, F: TableFormat, W> Runs<'t, F, W> {
    /// The runs of a part below a node that covers it.
    pub(super) const fn below(walk: Walk<'t, F, W>, root: Option<Node<'t, F>>, part: Part) -> Self {
        Self { walk, root, next: Some(part.first), last: part.last, format: PhantomData }
    }
}
