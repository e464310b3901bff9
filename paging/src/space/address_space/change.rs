//! Removing areas and changing their rights.
#![forbid(unsafe_code)]

use hectare_core::{Page, PageRun, Permissions};

use super::AddressSpace;
use crate::space::{Area, AreaFlags, Kernel, SpaceError};
use crate::table::TableFormat;

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Unmaps these pages; holes among them do not matter. Areas across the ends are split.
    ///
    /// Cost: O(log areas) for each area that goes, and what the pages cost that were used.
    ///
    /// # Errors
    /// The pages lie outside the window, or a split area needs a node or a split huge page a table that cannot be had.
    /// Nothing is changed.
    pub fn unmap(&mut self, first: Page, count: u64) -> Result<(), SpaceError> {
        let pages = self.range(first, count)?;
        self.areas.reserve(2).map_err(SpaceError::Nodes)?;
        self.remove(pages)
    }

    /// As `unmap`, with the nodes reserved.
    pub(super) fn remove(&mut self, pages: PageRun) -> Result<(), SpaceError> {
        self.table.cut_at_ends(pages)?;
        let (first, end) = (pages.first().number(), pages.end().number());
        while let Some(area) = self.areas.at_or_after(pages.first()) {
            let Some(part) = area.part(first, end) else { break };
            self.zap(&part)?;
            // What is left of it, below and above.
            match (area.part(0, first), area.part(end, u64::MAX)) {
                (None, None) => {
                    self.areas.remove(area.first());
                }
                (Some(rest), None) | (None, Some(rest)) => {
                    self.areas.replace(area.first(), rest);
                }
                (Some(low), Some(high)) => {
                    self.areas.replace(area.first(), low);
                    self.areas.insert(high)?;
                }
            }
        }
        Ok(())
    }

    /// Changes what may be done with these pages, all of which are mapped. Areas across the ends are split; neighbours that
    /// become alike are joined.
    ///
    /// The tables follow at once where rights are taken, and where they are given without the need of a fault. Pages that
    /// were never used cost nothing.
    ///
    /// # Errors
    /// There is a hole, the pages lie outside the window, or a split needs a node or a table that cannot be had. Nothing
    /// is changed.
    ///
    /// Linux gives the pages below a hole their new rights before it refuses (`do_mprotect_pkey`, `mm/mprotect.c`). A kernel
    /// that owes its programs this has the first hole from the error, and asks again for what lies below:
    /// ```
    /// use hectare_core::{Page, Permissions};
    /// use hectare_paging::space::{AddressSpace, Kernel, SpaceError};
    /// use hectare_paging::table::TableFormat;
    ///
    /// fn mprotect<F: TableFormat, K: Kernel>(
    ///     space: &mut AddressSpace<F, K>,
    ///     first: Page,
    ///     count: u64,
    ///     rights: Permissions,
    /// ) -> Result<(), SpaceError> {
    ///     let changed = space.protect(first, count, rights);
    ///     if let Err(SpaceError::Hole { page }) = changed {
    ///         if page > first {
    ///             space.protect(first, page.number() - first.number(), rights)?;
    ///         }
    ///     }
    ///     changed // a hole: ENOMEM
    /// }
    /// ```
    pub fn protect(&mut self, first: Page, count: u64, permissions: Permissions) -> Result<(), SpaceError> {
        let pages = self.range(first, count)?;
        if !cfg!(hectare_plant = "space_protect_hole") {
            self.without_holes(pages)?;
        }
        let permissions = permissions | Permissions::USER;
        self.modify_mapped(pages, |area| area.with_permissions(permissions))
    }

    /// Gives every area in a range what `change` makes of its part. Holes do not matter.
    pub(super) fn modify_mapped(
        &mut self,
        pages: PageRun,
        change: impl Fn(Area) -> Area,
    ) -> Result<(), SpaceError> {
        self.table.cut_at_ends(pages)?;
        self.areas.reserve(2).map_err(SpaceError::Nodes)?;
        self.areas.split(pages.first()).map_err(SpaceError::Nodes)?;
        self.areas.split(pages.end()).map_err(SpaceError::Nodes)?;
        let mut at = pages.first();
        while let Some(area) = self.areas.at_or_after(at).filter(|area| area.first() < pages.end()) {
            let new = change(area);
            at = area.end();
            if new == area {
                continue;
            }
            self.apply(&area, &new)?;
            self.areas.replace(area.first(), new);
        }
        self.join_in(pages);
        Ok(())
    }

    /// Joins what has become alike in a range and at its ends.
    fn join_in(&mut self, pages: PageRun) {
        let mut at = pages.first();
        loop {
            self.areas.join(at);
            match self.areas.at_or_after(at) {
                Some(area) if at < pages.end() => at = area.end(),
                _ => return,
            }
        }
    }

    /// The tables follow the new rights of an area.
    fn apply(&mut self, old: &Area, new: &Area) -> Result<(), SpaceError> {
        if old.permissions() == new.permissions() || !new.flags().contains(AreaFlags::TOUCHED) {
            return Ok(());
        }
        let Some(pages) = PageRun::new(new.first(), new.count()) else { return Ok(()) };
        let may = Self::attributes(new, true);
        let may_not = Self::attributes(new, false);
        // A private page that cannot be written to may be shared: the next write finds out.
        let shared = new.is_shared();
        let token = self.table.update(pages, |was| {
            let writable = shared || was.permissions.contains(Permissions::WRITE);
            let new = if writable { may } else { may_not };
            was.with_permissions(new.permissions)
        })?;
        let _ = self.table.finish(token, self.kernel.tlb());
        Ok(())
    }

    /// Finds the first hole in a range.
    pub(super) fn without_holes(&self, pages: PageRun) -> Result<(), SpaceError> {
        let mut at = pages.first();
        for area in self.areas.from(at) {
            if area.first() > at {
                return Err(SpaceError::Hole { page: at });
            }
            at = area.end();
            if at >= pages.end() {
                return Ok(());
            }
        }
        Err(SpaceError::Hole { page: at })
    }
}
