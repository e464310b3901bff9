//! What a transaction does to ranges.
#![forbid(unsafe_code)]

use hectare_core::{FrameRun, Page, PageRun, Permissions, SharedFrameSource};

use super::Transaction;
use crate::table::clear::{self, Books};
use crate::table::coalesce::coalesce_below;
use crate::table::concurrent::{Grace, TableLocks};
use crate::table::empty::make_way;
use crate::table::fill::{self, Job, plan, run_of};
use crate::table::flush::Span;
use crate::table::memory::Reserve;
use crate::table::range::Part;
use crate::table::remap::{Shift, move_below};
use crate::table::{Half, MapOptions, Mapping, TableError, TableFormat, TableWindow, change, harvest};
use crate::{Attributes, Touched, format};

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    Transaction<'_, '_, F, W, S, L, G>
{
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

    /// As [`PageTable::forget`](crate::PageTable::forget), inside the pages. Lookups that are under way may find what was
    /// forgotten until they end.
    ///
    /// # Errors
    /// As [`PageTable::forget`](crate::PageTable::forget); and if the pages are not the transaction's. Nothing is changed
    /// then.
    pub fn forget(&mut self, pages: PageRun) -> Result<(), TableError> {
        let part = self.cut(pages)?;
        let pinned = self.shared.table.pinned;
        clear::forget_below(self.walk(), self.node, part, pinned, self.kept, &mut self.token);
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
        if change::change_below(self.walk(), self.node, part, settled, &mut self.token, change) {
            self.unsettle();
        }
        Ok(())
    }

    /// As [`PageTable::update`](crate::PageTable::update), inside the pages.
    ///
    /// # Errors
    /// As [`PageTable::update`](crate::PageTable::update); and if the pages are not the transaction's. Nothing is changed
    /// then.
    pub fn update(
        &mut self,
        pages: PageRun,
        mut change: impl FnMut(Attributes) -> Attributes,
    ) -> Result<(), TableError> {
        change::sayable(self.runs(pages)?, &mut change)?;
        let part = self.cut(pages)?;
        let settled = self.shared.is_settled();
        if change::change_below(self.walk(), self.node, part, settled, &mut self.token, change) {
            self.unsettle();
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

    /// As [`PageTable::touch`](crate::PageTable::touch), inside the pages: what a fault handler does where software manages
    /// accessed and dirty bits. Under the lock, since who holds it may rely on it that nothing is set meanwhile, and change
    /// entries by plain stores.
    ///
    /// # Errors
    /// As [`PageTable::touch`](crate::PageTable::touch); and if the pages are not the transaction's. Nothing is changed then.
    pub fn touch(&mut self, pages: PageRun, touched: Touched) -> Result<(), TableError> {
        let part = self.cut(pages)?;
        harvest::touch(self.walk(), self.node, part, touched);
        Ok(())
    }

    /// As [`PageTable::coalesce`](crate::PageTable::coalesce), inside the pages. The lowest table that covers the pages of the
    /// transaction stays: to replace a table, be wider than it.
    ///
    /// # Errors
    /// The pages are not the transaction's. Nothing is changed then.
    pub fn coalesce(&mut self, pages: PageRun) -> Result<(), TableError> {
        let part = self.inside(pages)?;
        let settled = self.shared.is_settled();
        if !self.is_pinned(part)
            && coalesce_below(self.walk(), self.node, part, settled, &mut self.token)
            && !cfg!(hectare_plant = "shared_coalesce_settled")
        {
            self.unsettle();
        }
        Ok(())
    }

    /// As [`PageTable::remap`](crate::PageTable::remap), inside the pages: with a transaction on both places
    /// ([`transaction_on_both`](crate::table::SharedTable::transaction_on_both)). Leaf by leaf, since a lookup may stand in
    /// any table: if it moved, the lookup would find at the old address what others map at the new one. What was at the new
    /// place must be paid for.
    ///
    /// # Errors
    /// As [`PageTable::remap`](crate::PageTable::remap); and if the pages are not the transaction's. Nothing is changed then.
    pub fn remap(&mut self, pages: PageRun, to: Page) -> Result<(), TableError> {
        let range = TableError::Range { pages };
        let target = PageRun::new(to, pages.count()).ok_or(range)?;
        let (from, into) = (self.inside(pages)?, self.inside(target)?);
        if pages.overlaps(target) {
            return Err(range);
        }
        if let Some(part) = [from, into].into_iter().find(|part| self.is_pinned(*part)) {
            return Err(TableError::Shared { address: F::delinear(part.first) });
        }
        let (walk, mut source, settled) = (self.walk(), self.source(), self.shared.is_settled());
        let shift = Shift::new::<F>(from, into, cfg!(hectare_plant = "shared_move_tables"));
        move_below(walk, self.node, from, shift, settled, &mut self.token, &mut source)
    }

    /// Whether other roots link a table there.
    fn is_pinned(&self, part: Part) -> bool {
        let (first, last) = part.indices::<F>(F::LEVELS - 1);
        let pinned = self.shared.table.pinned;
        self.kept || self.node.level == F::LEVELS - 1 && (first..=last).any(|index| pinned.holds(index))
    }
}
