//! Areas that are resized or moved.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Order, Page, PageRun};

use super::AddressSpace;
use crate::Touched;
use crate::space::{Area, AreaFlags, Kernel, SpaceError};
use crate::table::{MapOptions, TableFormat};

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
    /// With an `old_count` of 0, a second mapping of a shared area is made beside the first.
    ///
    /// Cost: nothing for pages that were not used; a few stores for each that moves.
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
        if pages.end() > area.end() {
            return Err(SpaceError::Hole { page: area.end() });
        }
        if let Move::To(new) = to {
            return self.move_to(&area, pages, new, count);
        }
        if count <= old_count {
            if count < old_count {
                self.unmap(Page::new(old.number() + count), old_count - count)?;
            }
            return Ok(old);
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
        let new = self.place(new_count, Order::ZERO)?;
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
            self.move_pages(part, new)?;
        }
        // A tail that is cut off by a shrinking move has pages of its own.
        self.remove(pages)?;
        self.enter(moved)?;
        Ok(new)
    }

    /// Moves pages in the tables: first all are mapped at both places, then no more at the old one. So a table that cannot
    /// be had refuses the whole.
    fn move_pages(&mut self, pages: PageRun, new: Page) -> Result<(), SpaceError> {
        let place = |page: Page| Page::new(page.number() - pages.first().number() + new.number());
        let result = self.map_twice(pages, new);
        let gone = if result.is_ok() { Some(pages) } else { PageRun::new(new, pages.count()) };
        let Some(gone) = gone else { return result };
        let mut dirty: [Option<PageRun>; 16] = [None; 16];
        let mut all = false;
        let token = self.table.unmap(gone, |run| {
            // A page may have become dirty since it was mapped at its new place.
            if run.touched().dirty {
                match dirty.iter_mut().find(|place| place.is_none()) {
                    Some(place) => *place = Some(run.pages()),
                    None => all = true,
                }
            }
        })?;
        let _ = self.table.finish(token, self.kernel.tlb());
        result?;
        if all {
            // Too many to tell apart: calling a page dirty costs a write, not calling it so its contents.
            let there = PageRun::new(new, pages.count()).ok_or(SpaceError::Range)?;
            self.table.touch(there, Touched::DIRTY)?;
        } else {
            for run in dirty.into_iter().flatten() {
                if let Some(there) = PageRun::new(place(run.first()), run.count()) {
                    self.table.touch(there, Touched::DIRTY)?;
                }
            }
        }
        Ok(())
    }

    /// Maps what is mapped at `pages` a second time from `new` on.
    fn map_twice(&mut self, pages: PageRun, new: Page) -> Result<(), SpaceError> {
        let place = |page: Page| Page::new(page.number() - pages.first().number() + new.number());
        let mut at = pages.first();
        loop {
            let rest = PageRun::new(at, pages.end().number().saturating_sub(at.number()));
            let Some(rest) = rest else { break };
            let Some(run) = self.table.runs(rest)?.next() else { break };
            at = run.pages().end();
            let options = MapOptions::DEFAULT.with_largest(run.leaf_size()).with_touched(run.touched());
            let fresh =
                self.table.map(place(run.pages().first()), run.frames(), run.attributes(), options)?;
            fresh.finish(self.kernel.tlb());
        }
        let mut at = pages.first();
        loop {
            let rest = PageRun::new(at, pages.end().number().saturating_sub(at.number()));
            let Some((page, state)) = rest.and_then(|rest| self.table.states(rest).next()) else { break };
            at = Page::new(page.number() + 1);
            let token = self.table.set_state(place(page), state)?;
            let _ = self.table.finish(token, self.kernel.tlb());
        }
        Ok(())
    }
}
