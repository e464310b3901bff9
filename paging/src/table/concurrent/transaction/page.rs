//! What a transaction does to single pages.
#![forbid(unsafe_code)]

use hectare_core::{Frame, Page, SharedFrameSource};

use super::Transaction;
use crate::table::concurrent::{Grace, TableLocks};
use crate::table::single::{exchange, leaf_of, make_tables, page_run};
use crate::table::{TableError, TableFormat, TableWindow};
use crate::{Attributes, Touched};

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    Transaction<'_, '_, F, W, S, L, G>
{
    /// As [`PageTable::replace`](crate::PageTable::replace), for one of the pages.
    ///
    /// # Errors
    /// As [`PageTable::replace`](crate::PageTable::replace); and if the page is not the transaction's. Nothing is changed
    /// then.
    pub fn replace(
        &mut self,
        page: Page,
        frame: Frame,
        attributes: Attributes,
        touched: Touched,
    ) -> Result<(), TableError> {
        let pages = page_run(page);
        let entry = leaf_of::<F>(pages, frame, attributes, touched)?;
        let part = self.cut(pages)?;
        exchange(self.walk(), Some(self.node), part, entry, true, &mut self.token)
    }

    /// As [`PageTable::set_state`](crate::PageTable::set_state), for one of the pages.
    ///
    /// # Errors
    /// As [`PageTable::set_state`](crate::PageTable::set_state); and if the page is not the transaction's. Nothing is changed
    /// then.
    pub fn set_state(&mut self, page: Page, state: u64) -> Result<(), TableError> {
        let pages = page_run(page);
        if state == 0 {
            return self.unmap(pages, |_| {});
        }
        let entry = F::absent(state)?;
        let part = self.cut(pages)?;
        let (walk, mut source) = (self.walk(), self.source());
        make_tables(walk, self.node, part, &mut self.token, &mut source)?;
        exchange(walk, Some(self.node), part, entry, false, &mut self.token)
    }
}
