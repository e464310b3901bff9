//! A range under lock: found, locked, changed, given back.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{PageRun, SharedFrameSource};

use super::area::Area;
use super::grace::Grace;
use super::locks::{Born, Lock, Refused, TableLocks};
use super::search::{lock_below, lowest, pause, unlock};
use super::{Flush, SharedTable};
use crate::table::memory::{Node, Walk};
use crate::table::range::Part;
use crate::table::{TableError, TableFormat, TableWindow, split};

mod change;
mod look;
mod page;

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
    area: Area,
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
        area: Area,
        wait: bool,
    ) -> Result<Option<Self>, TableError> {
        let table = &shared.table;
        let unreachable = TableError::Unreachable { table: table.root };
        let walk = Walk::new(&table.window);
        // A section: what the search finds is not freed before it ended. Nothing is waited for in it, since who waits for
        // its end may hold the lock.
        let search = || {
            shared.grace.read(|| {
                let node = lowest(walk, table.root_node(walk)?, area.cover());
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
        if !lock_below(walk, &shared.locks, node, area, wait) {
            word.unlock();
            return Ok(None);
        }
        let root = F::index(area.low.first.into(), F::LEVELS - 1);
        let kept = node.level < F::LEVELS - 1 && table.pinned.holds(root);
        Ok(Some(Self { shared, node, area, kept, token: shared.token() }))
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
        if self.area.holds(part) { Ok(part) } else { Err(TableError::Range { pages }) }
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
        self.area.low.run::<F>()
    }

    /// Those of the other place, if it is on two: `pages` are the lower ones.
    #[must_use]
    pub fn other_pages(&self) -> Option<PageRun> {
        self.area.high.map(Part::run::<F>)
    }

    fn walk(&self) -> Walk<'t, F, W> {
        Walk::new(&self.shared.table.window)
    }

    /// What the calls owe unsettles the table: noted before the locks are given back, so that the next one on these pages
    /// knows.
    fn unsettle(&mut self) {
        if self.token.unsettled == 0 {
            self.token.unsettled = 1;
            self.shared.unsettled.fetch_add(1, Relaxed);
        }
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
        unlock(self.walk(), &self.shared.locks, self.node, self.area);
    }
}
