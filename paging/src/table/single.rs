//! Single pages, for whoever keeps books of his own about them: another frame in place, and software state in absent
//! entries.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use hectare_core::{Frame, FrameSource, Page, PageRun};

use super::flush::{Flush, Span};
use super::memory::{Node, Reserve, Slot, Walk};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow, split};
use crate::{AtomicEntry, Attributes, Entry, Kind, Touched};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Splits the huge leaves across the ends of a range, so that operations inside it need no table.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach, are in another table's half, or a table is needed and
    /// cannot be had. Nothing is changed then.
    pub fn cut_at_ends(&mut self, pages: PageRun) -> Result<(), TableError> {
        let part = self.part(pages)?;
        self.cut_and_pay(part)
    }

    /// A token that owes the invalidation of these pages, though nothing was changed: for a handler that found a page
    /// present with all rights.
    ///
    /// # Errors
    /// The pages are not in the format's reach.
    pub fn doubt(&self, pages: PageRun) -> Result<Flush, TableError> {
        let part = Part::of::<F>(pages)?;
        let mut token = self.token();
        token.add(Span::new(F::delinear(part.first), part.pages::<F>(), F::PAGE));
        Ok(token)
    }

    /// Gives a page another frame, rights and all, where a page is mapped or software state is kept: in one store, so that
    /// nobody finds the page absent in between, unless the architecture demands it. A huge leaf is split before.
    ///
    /// The old frame may be used again when the token is finished.
    ///
    /// # Errors
    /// [`TableError::Absent`] if there is neither a page nor state; as [`map`](Self::map) otherwise. Nothing is changed.
    pub fn replace(
        &mut self,
        page: Page,
        frame: Frame,
        attributes: Attributes,
        touched: Touched,
    ) -> Result<Flush, TableError> {
        let pages = page_run(page);
        let entry = leaf_of::<F>(pages, frame, attributes, touched)?;
        let part = self.part(pages)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        let walk = Walk::new(&self.window);
        exchange(walk, self.root_node(walk), part, entry, true, &mut token)?;
        Ok(token)
    }

    /// Keeps software state at a page, in place of what is mapped there; 0 is none, as after an unmap. Tables that are
    /// missing are made.
    ///
    /// # Errors
    /// The state has more bits than the format's absent entries; as [`map`](Self::map) otherwise. Nothing is changed.
    pub fn set_state(&mut self, page: Page, state: u64) -> Result<Flush, TableError> {
        let pages = page_run(page);
        if state == 0 {
            return self.unmap(pages, |_| {});
        }
        let entry = F::absent(state)?;
        let part = self.part(pages)?;
        self.cut_and_pay(part)?;
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        make_tables(walk, root, part, &mut token, &mut self.source)?;
        exchange(walk, Some(root), part, entry, false, &mut token)?;
        Ok(token)
    }

    /// The pages of a range that are absent and have software state, with that state. O(entries of the tables there).
    pub fn states(&self, pages: PageRun) -> States<'_, F, W> {
        let walk = Walk::new(&self.window);
        States::below(walk, self.root_node(walk), Part::of::<F>(pages).ok())
    }
}

/// One page, as a run.
pub(super) fn page_run(page: Page) -> PageRun {
    PageRun::new(page, 1).unwrap_or(super::fill::LAST)
}

/// The leaf that maps a page to a frame.
pub(super) fn leaf_of<F: TableFormat>(
    pages: PageRun,
    frame: Frame,
    attributes: Attributes,
    touched: Touched,
) -> Result<F::Entry, TableError> {
    let memory = frame.start(F::PAGE).ok_or(TableError::Range { pages })?;
    Ok(F::leaf(memory, attributes, touched, 0)?)
}

/// Writes the entry of a base page below a node that covers it. With `there`, something must be there before; the table of
/// level 0 must be there in any case.
pub(super) fn exchange<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Option<Node<'_, F>>,
    part: Part,
    new: F::Entry,
    there: bool,
    token: &mut Flush,
) -> Result<(), TableError> {
    let absent = TableError::Absent { address: F::delinear(part.first) };
    let mut node = node.ok_or(absent)?;
    while node.level != 0 {
        node = walk.child(node, F::index(part.first.into(), node.level)).ok_or(absent)?;
    }
    let index = F::index(part.first.into(), 0);
    let cell = node.cells.get(index).ok_or(absent)?;
    let old = cell.load(Relaxed);
    if there && old == F::Entry::ZERO {
        return Err(absent);
    }
    let mapped = F::kind(old, 0) == Kind::Leaf;
    walk.window.step(node.at(index));
    if F::BREAK_BEFORE_MAKE && mapped && F::must_break(old, new, 0) {
        cell.swap(F::Entry::ZERO, Relaxed);
        split::broken(walk, part.first, 0, 1, token);
    }
    // Whoever reads the frame through the new entry finds what was written to it before.
    cell.swap(new, AcqRel);
    token.add(Span::new(F::delinear(part.first), 1, F::PAGE));
    if F::GLOBAL && mapped && F::attributes(old, 0).global {
        token.add_global();
    }
    Ok(())
}

/// Makes the tables that a page lacks below a node that covers it, all zeros. No leaf stands in the way.
pub(super) fn make_tables<F: TableFormat, W: TableWindow, S: FrameSource>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    token: &mut Flush,
    source: &mut S,
) -> Result<(), TableError> {
    let mut node = node;
    let index = |level| F::index(part.first.into(), level);
    while node.level != 0 {
        let Some(child) = walk.child(node, index(node.level)) else { break };
        node = child;
    }
    if F::ROOT_LATCHED && node.level != 0 && node.level == F::LEVELS - 1 {
        token.add_reload();
    }
    let mut reserve = Reserve::take(node.level as u64, walk.window, source)?;
    while let Some(below) = node.level.checked_sub(1) {
        let Some(mut spare) = reserve.pop(walk.window, below) else { break };
        spare.zero(0..F::entries(below));
        walk.link(node, index(node.level), spare);
        let Some(child) = walk.child(node, index(node.level)) else { break };
        node = child;
    }
    reserve.give_back(walk.window, source);
    Ok(())
}

/// Absent pages with software state, in order.
pub struct States<'t, F: TableFormat, W> {
    walk: Walk<'t, F, W>,
    root: Option<Node<'t, F>>,
    /// Linear: from where on, `None` at the end.
    next: Option<u64>,
    last: u64,
    format: PhantomData<F>,
}

impl<'t, F: TableFormat, W> States<'t, F, W> {
    /// Those of a part below a node that covers it.
    pub(super) const fn below(walk: Walk<'t, F, W>, root: Option<Node<'t, F>>, part: Option<Part>) -> Self {
        let (next, last) = match part {
            Some(part) => (Some(part.first), part.last),
            None => (None, 0),
        };
        Self { walk, root, next, last, format: PhantomData }
    }
}

impl<F: TableFormat, W> core::fmt::Debug for States<'_, F, W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "States from {:x?} to {:#x}", self.next, self.last)
    }
}

impl<F: TableFormat, W: TableWindow> Iterator for States<'_, F, W> {
    type Item = (Page, u64);

    fn next(&mut self) -> Option<(Page, u64)> {
        let mut node = self.root?;
        let mut at = self.next?;
        loop {
            let (level, index) = (node.level, F::index(at.into(), node.level));
            let state = match self.walk.slot(node, index) {
                Slot::Table(child) => {
                    node = child;
                    continue;
                }
                Slot::Absent(entry) if level == 0 => F::absent_state(entry),
                _ => 0,
            };
            let mask = F::leaf_size(level).offset_mask();
            self.next = (at | mask).checked_add(1).filter(|next| *next <= self.last);
            if state != 0 {
                return Some((F::delinear(at).split(F::PAGE).0, state));
            }
            at = self.next?;
            if F::index(at.into(), level) == 0 {
                node = self.root?;
            }
        }
    }
}
