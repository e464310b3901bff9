//! A range under lock: found, locked, changed, given back.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameRun, Page, PageRun, Permissions, SharedFrameSource, VirtAddr};

use super::empty::make_way;
use super::grace::Grace;
use super::locks::{Born, Lock, Refused, TableLocks};
use super::search::{find_below, lock_below, lowest, pause, unlock};
use super::{Flush, SharedTable};
use crate::format;
use crate::table::clear::{self, Books};
use crate::table::fill::{self, Job, plan, run_of};
use crate::table::flush::Span;
use crate::table::lookup::Hit;
use crate::table::memory::{Node, Reserve, Walk};
use crate::table::range::Part;
use crate::table::runs::Runs;
use crate::table::{Half, MapOptions, Mapping, TableError, TableFormat, TableWindow, change, harvest, split};
use crate::{Attributes, Touched};

/// The exclusive right to change what some pages map, as long as it lives.
///
/// It holds the lock of the lowest table that covers the pages, and of every table below it that they touch. What its
/// calls owe gathers in one token, which [`commit`](Self::commit) hands out when the locks are given back. Dropping it
/// gives the locks back too, but loses the token: as dropping a [`Flush`], that leaks tables and leaves stale
/// translations in use. What it changed, it changed: nothing is undone.
///
/// A table can be unlinked only from the one above. So a table stays when it becomes empty, if it is the one that covers the
/// pages of the transaction.
#[must_use = "it holds locks until it is committed"]
pub struct Transaction<'t, 's, F: TableFormat, W: TableWindow, S, L: TableLocks, G> {
    shared: &'t SharedTable<'s, F, W, S, L, G>,
    /// The lowest table that covers the pages. Locked, so it stays linked.
    node: Node<'t, F>,
    part: Part,
    /// Other roots link the tables: they stay.
    kept: bool,
    token: Flush,
}

impl<'t, 's, F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    Transaction<'t, 's, F, W, S, L, G>
{
    /// `None`: look again, or somebody has a lock and we do not `wait`.
    pub(super) fn begin(
        shared: &'t SharedTable<'s, F, W, S, L, G>,
        part: Part,
        wait: bool,
    ) -> Result<Option<Self>, TableError> {
        let table = &shared.table;
        let unreachable = TableError::Unreachable { table: table.root };
        let walk = Walk::new(&table.window);
        // A section: what the search finds is not freed before it ended. Nothing is waited for in it, since who waits for
        // its end may hold the lock.
        let search = || {
            shared.grace.read(|| {
                let node = lowest(walk, table.root_node(walk)?, part);
                let word = shared.locks.word(node.address)?;
                Some((node, word, word.try_lock()))
            })
        };
        let mut found = search().ok_or(unreachable)?;
        while found.2 == Err(Refused::Stray) {
            // It was unlinked meanwhile, and we have seen that now.
            found = search().ok_or(unreachable)?;
        }
        let (node, word, locked) = found;
        if locked.is_err() {
            if wait {
                pause(word);
            }
            return Ok(None);
        }
        if !lock_below(walk, &shared.locks, node, part, wait) {
            word.unlock();
            return Ok(None);
        }
        let root = F::index(part.first.into(), F::LEVELS - 1);
        let kept = node.level < F::LEVELS - 1 && table.pinned.holds(root);
        Ok(Some(Self { shared, node, part, kept, token: shared.token() }))
    }

    /// As [`PageTable::map`](crate::PageTable::map), inside the pages. What fresh mappings owe is in the token. A leaf is no
    /// larger than what one entry of the lowest covering table maps.
    ///
    /// # Errors
    /// As [`PageTable::map`](crate::PageTable::map); and if the pages are not the transaction's. Nothing is changed then.
    pub fn map(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<(), TableError> {
        let pages = run_of(first, frames)?;
        let part = self.inside(pages)?;
        let memory = frames.first().start(F::PAGE).ok_or(TableError::Range { pages })?;
        let mut job = Job::<F>::new(part, memory, attributes, options)?;
        let walk = self.walk();
        job.top = job.top.min(self.node.level);
        let needed = plan(walk, self.node, part, job.top)?;
        let mut reserve = Reserve::take(needed, walk.window, &mut self.source())?;
        if self.shared.table.pinned == Half::NONE {
            // Others link what is pinned: the leaves go below such tables.
            make_way(walk, self.node, part, job.top, &mut self.token);
        }
        fill::fill(walk, self.node, part, &job, &mut reserve);
        reserve.give_back(walk.window, &mut self.source());
        if !matches!(F::FRESH, format::Fresh::Nothing) {
            self.token.add(Span::new(F::delinear(part.first), part.pages::<F>(), F::PAGE));
        }
        if F::ROOT_LATCHED {
            self.token.add_reload();
        }
        Ok(())
    }

    /// As [`PageTable::unmap`](crate::PageTable::unmap), inside the pages. The frames may be used again when the token is
    /// finished.
    ///
    /// # Errors
    /// As [`PageTable::unmap`](crate::PageTable::unmap); and if the pages are not the transaction's. Nothing is changed then.
    pub fn unmap(&mut self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Result<(), TableError> {
        let part = self.cut(pages)?;
        let pinned = self.shared.table.pinned;
        let books = Books { settled: self.shared.is_settled(), pinned, kept: self.kept };
        clear::unmap_below(self.walk(), self.node, part, books, &mut self.token, report);
        Ok(())
    }

    /// As [`PageTable::protect`](crate::PageTable::protect), inside the pages.
    ///
    /// # Errors
    /// As [`PageTable::protect`](crate::PageTable::protect); and if the pages are not the transaction's. Nothing is changed
    /// then.
    pub fn protect(&mut self, pages: PageRun, permissions: Permissions) -> Result<(), TableError> {
        F::edit(Attributes::new(permissions), 0)?;
        let part = self.cut(pages)?;
        let settled = self.shared.is_settled();
        let change = |attributes: Attributes| attributes.with_permissions(permissions);
        let unsettles = change::change_below(self.walk(), self.node, part, settled, &mut self.token, change);
        if unsettles && self.token.unsettled == 0 {
            // Before the locks are given back: the next one on these pages knows.
            self.token.unsettled = 1;
            self.shared.unsettled.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// As [`PageTable::harvest`](crate::PageTable::harvest), inside the pages.
    ///
    /// # Errors
    /// As [`PageTable::harvest`](crate::PageTable::harvest); and if the pages are not the transaction's. Nothing is changed
    /// then.
    pub fn harvest(
        &mut self,
        pages: PageRun,
        clear: Touched,
        report: impl FnMut(Mapping<F>),
    ) -> Result<(), TableError> {
        let part = self.cut(pages)?;
        harvest::harvest_below(self.walk(), self.node, part, clear, &mut self.token, report);
        Ok(())
    }

    /// What an address of the pages stands for.
    ///
    /// # Errors
    /// The address is not in the transaction's pages.
    pub fn find(&self, address: VirtAddr) -> Result<Option<Hit<F>>, TableError> {
        let page = Page::new(address.value() >> F::PAGE.log2());
        self.inside(PageRun::new(page, 1).unwrap_or(fill::LAST))?;
        Ok(find_below(self.walk(), self.node, address))
    }

    /// The runs of mappings that touch the pages, as [`PageTable::runs`](crate::PageTable::runs).
    ///
    /// # Errors
    /// The pages are not the transaction's.
    pub fn runs(&self, pages: PageRun) -> Result<Runs<'_, F, W>, TableError> {
        Ok(Runs::below(self.walk(), Some(self.node), self.inside(pages)?))
    }

    /// Gives the locks back, and hands out what is owed, for [`SharedTable::finish`].
    pub fn commit(mut self) -> Flush {
        // Dropping what is left unlocks; the lists of tables that go with the token are looked at before.
        self.abandon();
        core::mem::replace(&mut self.token, self.shared.token())
    }

    fn source(&self) -> Born<'t, &'s S, L> {
        Born { source: self.shared.table.source, locks: &self.shared.locks }
    }

    fn inside(&self, pages: PageRun) -> Result<Part, TableError> {
        let part = Part::of::<F>(pages)?;
        let inside = self.part.first <= part.first && part.last <= self.part.last;
        if inside { Ok(part) } else { Err(TableError::Range { pages }) }
    }

    /// Cuts at the ends of the pages.
    fn cut(&mut self, pages: PageRun) -> Result<Part, TableError> {
        let part = self.inside(pages)?;
        let (walk, mut source) = (self.walk(), self.source());
        split::cut_below(walk, self.node, part, &mut self.token, &mut source)?;
        Ok(part)
    }
}

impl<'t, F: TableFormat, W: TableWindow, S, L: TableLocks, G> Transaction<'t, '_, F, W, S, L, G> {
    /// The pages that it may change.
    #[must_use]
    pub fn pages(&self) -> PageRun {
        let first = Page::new(F::delinear(self.part.first).value() >> F::PAGE.log2());
        PageRun::new(first, self.part.pages::<F>()).unwrap_or(fill::LAST)
    }

    fn walk(&self) -> Walk<'t, F, W> {
        Walk::new(&self.shared.table.window)
    }

    /// The tables that were unlinked are strays from now on.
    fn abandon(&self) {
        self.shared.table.each_freed(&self.token, &mut |table| {
            if let Some(word) = self.shared.locks.word(table) {
                word.abandon();
            }
        });
    }
}

impl<F: TableFormat, W: TableWindow, S, L: TableLocks, G> fmt::Debug for Transaction<'_, '_, F, W, S, L, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction on {:?} below {} (level {})", self.pages(), self.node.address, self.node.level)
    }
}

impl<F: TableFormat, W: TableWindow, S, L: TableLocks, G> Drop for Transaction<'_, '_, F, W, S, L, G> {
    fn drop(&mut self) {
        self.abandon();
        unlock(self.walk(), &self.shared.locks, self.node, self.part);
    }
}
