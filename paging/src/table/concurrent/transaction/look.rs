//! What a transaction sees: nobody changes it meanwhile.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{Page, PageRun, SharedFrameSource, VirtAddr};

use super::Transaction;
use crate::table::concurrent::{Grace, TableLocks};
use crate::table::lookup::{Hit, end_of_walk};
use crate::table::runs::Runs;
use crate::table::single::{States, page_run};
use crate::table::{TableError, TableFormat, TableWindow};

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    Transaction<'_, '_, F, W, S, L, G>
{
    /// What an address of the pages stands for.
    ///
    /// # Errors
    /// The address is not in the transaction's pages.
    pub fn find(&self, address: VirtAddr) -> Result<Option<Hit<F>>, TableError> {
        self.inside(page_run(Page::new(address.value() >> F::PAGE.log2())))?;
        Ok(end_of_walk(self.walk(), Some(self.node), address).hit(address))
    }

    /// The runs of mappings that touch the pages, as [`PageTable::runs`](crate::PageTable::runs).
    ///
    /// # Errors
    /// The pages are not the transaction's.
    pub fn runs(&self, pages: PageRun) -> Result<Runs<'_, F, W>, TableError> {
        Ok(Runs::below(self.walk(), Some(self.node), self.inside(pages)?))
    }

    /// As [`PageTable::absent_state`](crate::PageTable::absent_state), for an address of the pages. No lookup without locks
    /// can tell it: tables that were unlinked are chained by such states.
    ///
    /// # Errors
    /// The address is not in the transaction's pages.
    pub fn absent_state(&self, address: VirtAddr) -> Result<Option<u64>, TableError> {
        self.inside(page_run(Page::new(address.value() >> F::PAGE.log2())))?;
        Ok(end_of_walk(self.walk(), Some(self.node), address).absent_state())
    }

    /// As [`PageTable::states`](crate::PageTable::states), inside the pages.
    ///
    /// # Errors
    /// The pages are not the transaction's.
    pub fn states(&self, pages: PageRun) -> Result<States<'_, F, W>, TableError> {
        Ok(States::below(self.walk(), Some(self.node), Some(self.inside(pages)?)))
    }
}

impl<F: TableFormat, W: TableWindow, S, L: TableLocks, G> fmt::Display
    for Transaction<'_, '_, F, W, S, L, G>
{
    /// A line for each run of the pages, as [`PageTable`](crate::PageTable) shows them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [Some(self.area.low), self.area.high].into_iter().flatten();
        let mut runs = parts.flat_map(|part| Runs::below(self.walk(), Some(self.node), part));
        runs.try_for_each(|run| writeln!(f, "{run}"))
    }
}
