//! Areas that are resized or moved.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Order, Page, PageRun};

use super::AddressSpace;
use crate::space::{Area, AreaFlags, Kernel, SpaceError};
use crate::table::TableFormat;

/// Whether a mapping may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// It must stay where it is.
    Never,
    /// It may if it cannot grow in place.
    May,
    /// It must, to here; what is mapped here goes.
    To(Page),
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Resizes or moves the pages from `old` on, all of one area, and returns where they are. What is resident stays so.
    /// With an `old_count` of 0, a second mapping of a shared area is made beside the first. What becomes smaller where it is
    /// may reach over holes and other areas behind the first page's: the tail is unmapped, as Linux does.
    ///
    /// Cost: nothing for pages that were not used; one store for each table that moves whole, a few for each page that
    /// moves by itself. Where the place can be chosen, it is one to which whole tables can move.
    ///
    /// # Errors
    /// The old pages are not of one area, the new ones overlap them or lie outside the window, there is no room, or a
    /// node or a table cannot be had. The pages are as they were; what a destination held may be gone.
    pub fn remap(
        &mut self,
        old: Page,
        old_count: u64,
        new_count: NonZero<u64>,
        to: Move,
    ) -> Result<Page, SpaceError> {
        let area = self.areas.find(old).ok_or(SpaceError::Hole { page: old })?;
        let count = new_count.get();
        if old_count == 0 {
            return self.map_again(&area, old, new_count, to);
        }
        let pages = self.range(old, old_count)?;
        let stays = !matches!(to, Move::To(_));
        if stays && count <= old_count {
            // Of pages that go it does not matter whose they are.
            if count < old_count {
                self.unmap(Page::new(old.number() + count), old_count - count)?;
            }
            return Ok(old);
        }
        if pages.end() > area.end() {
            return Err(SpaceError::Hole { page: area.end() });
        }
        if let Move::To(new) = to {
            return self.move_to(&area, pages, new, count);
        }
        let more = PageRun::new(pages.end(), count - old_count).ok_or(SpaceError::Range)?;
        if pages.end() == area.end() && self.settings.window.contains(more) && self.is_free(more) {
            let grown = area.until(more.end());
            if Self::fits(&grown) {
                self.areas.replace(area.first(), grown);
                self.areas.join(more.end());
                return Ok(old);
            }
        }
        if to == Move::Never {
            return Err(SpaceError::NoRoom);
        }
        let new = self.place_alike(old, new_count)?;
        self.move_to(&area, pages, new, count)
    }

    /// Whether the offsets of all pages fit 64 bits.
    fn fits(area: &Area) -> bool {
        area.with_backing(area.backing()).is_some()
    }

    fn map_again(
        &mut self,
        area: &Area,
        old: Page,
        count: NonZero<u64>,
        to: Move,
    ) -> Result<Page, SpaceError> {
        if !area.is_shared() {
            return Err(SpaceError::Unsuitable { page: old });
        }
        let first = match to {
            Move::To(first) => first,
            Move::May => self.place(count, Order::ZERO)?,
            Move::Never => return Err(SpaceError::NoRoom),
        };
        let pages = self.range(first, count.get())?;
        let part = area.part(old.number(), u64::MAX).ok_or(SpaceError::Hole { page: old })?;
        let new = part.moved_to(first).until(pages.end()).without(AreaFlags::HISTORY);
        if !Self::fits(&new) {
            return Err(SpaceError::Range);
        }
        self.areas.reserve(3).map_err(SpaceError::Nodes)?;
        self.remove(pages)?;
        self.enter(new)?;
        Ok(first)
    }

    fn move_to(&mut self, area: &Area, pages: PageRun, new: Page, count: u64) -> Result<Page, SpaceError> {
        let target = self.range(new, count)?;
        if target.overlaps(pages) {
            return Err(SpaceError::Occupied { pages: target });
        }
        let kept = pages.count().min(count);
        let moved = area.part(pages.first().number(), pages.first().number() + kept);
        let moved = moved.ok_or(SpaceError::Range)?.moved_to(new).until(target.end());
        if !Self::fits(&moved) {
            return Err(SpaceError::Range);
        }
        self.areas.reserve(5).map_err(SpaceError::Nodes)?;
        // Also where a move that shrinks ends: no huge page may reach beyond what is moved.
        let part = PageRun::new(pages.first(), kept).ok_or(SpaceError::Range)?;
        self.table.cut_at_ends(pages)?;
        self.table.cut_at_ends(part)?;
        self.remove(target)?;
        if area.flags().contains(AreaFlags::TOUCHED) {
            let token = self.table.remap(part, new)?;
            let _ = self.table.finish(token, self.kernel.tlb());
        }
        // A tail that is cut off by a shrinking move has pages of its own.
        self.remove(pages)?;
        self.enter(moved)?;
        Ok(new)
    }

    /// A place for pages that come from `old`: where whole tables can move, if they are so many that there are any.
    fn place_alike(&self, old: Page, count: NonZero<u64>) -> Result<Page, SpaceError> {
        let table = F::entries(0) as u64;
        let more = count.checked_add(table - 1).filter(|_| count.get() >= table);
        let Some(Ok(first)) = more.map(|more| self.place(more, Order::ZERO)) else {
            return self.place(count, Order::ZERO);
        };
        let ahead = old.number().wrapping_sub(first.number()) % table;
        Ok(Page::new(first.number() + ahead))
    }
}
