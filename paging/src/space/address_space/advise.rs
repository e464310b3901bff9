//! What a program says about its pages.
#![forbid(unsafe_code)]

use hectare_core::{Page, PageRun};

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
    /// Follows advice about pages. Holes among them are skipped and reported at the end, as Linux does
    /// (`madvise_walk_vmas`, `mm/madvise.c`).
    ///
    /// # Errors
    /// [`SpaceError::Hole`] with the first hole, after the advice was followed for all that is mapped;
    /// [`SpaceError::Unsuitable`] at the first area that the advice does not suit, after it was followed for those below.
    /// With any other, as of [`protect`](Self::protect), nothing is changed.
    pub fn advise(&mut self, first: Page, count: u64, advice: Advice) -> Result<(), SpaceError> {
        let pages = self.range(first, count)?;
        match advice {
            Advice::Huge => self
                .modify_mapped(pages, |area| area.without(AreaFlags::NO_HUGE).with_flags(AreaFlags::HUGE))?,
            Advice::NoHuge => self
                .modify_mapped(pages, |area| area.without(AreaFlags::HUGE).with_flags(AreaFlags::NO_HUGE))?,
            Advice::DontNeed | Advice::Free => self.forget(pages, advice)?,
        }
        self.without_holes(pages)
    }

    fn forget(&mut self, pages: PageRun, advice: Advice) -> Result<(), SpaceError> {
        // All that could be refused for want of memory.
        self.table.cut_at_ends(pages)?;
        let mut at = pages.first();
        while let Some(area) = self.areas.at_or_after(at) {
            let Some(part) = area.part(pages.first().number(), pages.end().number()) else { break };
            let suits = match (advice, area.backing()) {
                (_, Backing::Device { .. }) => false,
                (Advice::Free, backing) => backing == Backing::Anonymous && !area.is_shared(),
                _ => true,
            };
            if !suits {
                return Err(SpaceError::Unsuitable { page: part.first() });
            }
            self.zap(&part)?;
            at = area.end();
        }
        Ok(())
    }
}
