//! What a program says about its pages.
#![forbid(unsafe_code)]

use hectare_core::Page;

use super::AddressSpace;
use crate::space::{AreaFlags, Backing, Kernel, SpaceError};
use crate::table::TableFormat;

/// Advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// The contents are not needed any more: anonymous memory begins as zeros again, objects are read again.
    DontNeed,
    /// The contents of anonymous private memory may be dropped. They are dropped at once, which `MADV_FREE` allows.
    Free,
    /// Huge pages are welcome.
    Huge,
    /// They are not.
    NoHuge,
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Follows advice about pages, all of which are mapped.
    ///
    /// # Errors
    /// There is a hole, the advice does not suit an area, or as [`protect`](Self::protect). Nothing is changed.
    pub fn advise(&mut self, first: Page, count: u64, advice: Advice) -> Result<(), SpaceError> {
        match advice {
            Advice::Huge => {
                self.modify(first, count, |area| area.without(AreaFlags::NO_HUGE).with_flags(AreaFlags::HUGE))
            }
            Advice::NoHuge => {
                self.modify(first, count, |area| area.without(AreaFlags::HUGE).with_flags(AreaFlags::NO_HUGE))
            }
            Advice::DontNeed | Advice::Free => self.forget(first, count, advice),
        }
    }

    fn forget(&mut self, first: Page, count: u64, advice: Advice) -> Result<(), SpaceError> {
        let pages = self.range(first, count)?;
        self.without_holes(pages)?;
        if advice == Advice::Free {
            let own = |flags: AreaFlags| !flags.contains(AreaFlags::SHARED);
            let mut areas = self.areas.from(first).take_while(|area| area.first() < pages.end());
            let other = areas.find(|area| area.backing() != Backing::Anonymous || !own(area.flags()));
            if let Some(area) = other {
                return Err(SpaceError::Unsuitable { page: area.first() });
            }
        }
        self.table.cut_at_ends(pages)?;
        let mut at = pages.first();
        while let Some(area) = self.areas.find(at).filter(|_| at < pages.end()) {
            if let Some(part) = area.part(pages.first().number(), pages.end().number()) {
                self.zap(&part)?;
            }
            at = area.end();
        }
        Ok(())
    }
}
