//! Huge pages out of small ones: what a kernel's background thread does for pages that have proved useful.
//!
//! ```text
//!   small pages, all there, all one's own
//!        │ frames consecutive and aligned ──────────────► one leaf in place of the table
//!        │ otherwise: no writes, copy to a new run ─► 64 pages change their frame, flush, old frames go ─► …
//! ```
//! Every page is readable all the time, and has its contents, whatever is refused meanwhile.
#![forbid(unsafe_code)]

use hectare_core::{Frame, FrameRun, Order, Page, PageRun, VirtAddr};

use super::{AddressSpace, HugePages};
use crate::Touched;
use crate::space::memory::{Owned, Used};
use crate::space::{Area, AreaFlags, Backing, Kernel, SpaceError};
use crate::table::TableFormat;

/// Pages that change their frame between two flushes.
const BATCH: usize = 64;

/// How small pages became a huge one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promoted {
    /// It was one before.
    Already,
    /// Their frames were consecutive and aligned: nothing was copied.
    InPlace,
    /// They were copied to new frames, and the old ones given up.
    Copied,
}

/// What a search for small pages came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Where the next search should begin; `None` at the end of the address space.
    pub next: Option<Page>,
    /// How many huge pages were made.
    pub promoted: u64,
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Makes the aligned group of pages around a page, as many as a leaf of the format's level 1 covers, one huge page.
    ///
    /// All of them must be mapped, in one area of private anonymous memory that does not refuse huge pages, and used by
    /// nobody else; pages of the zero frame are copied too. Cost: a copy of the group, unless its frames are consecutive;
    /// a flush for each 64 pages. The huge page is dirty.
    ///
    /// # Errors
    /// A page is not there ([`SpaceError::Hole`]), the area or a page does not suit ([`SpaceError::Unsuitable`]), or there
    /// is no run of frames. The small pages stay, with their contents; they may have lost their right to write until the
    /// next write.
    pub fn promote(&mut self, page: Page) -> Result<Promoted, SpaceError> {
        let unsuitable = SpaceError::Unsuitable { page };
        let area = self.areas.find(page).ok_or(SpaceError::Hole { page })?;
        let count = Self::HUGE.ok_or(unsuitable)?;
        let first = Page::new(page.number() & !(count - 1));
        let pages = PageRun::new(first, count).ok_or(SpaceError::Range)?;
        let inside = area.contains(first) && pages.end() <= area.end();
        let refused = AreaFlags::SHARED.union(AreaFlags::NO_HUGE);
        if !inside || area.backing() != Backing::Anonymous || area.flags().intersects(refused) {
            return Err(unsuitable);
        }
        let Some(in_place) = self.look(pages)? else { return Ok(Promoted::Already) };
        let how = if in_place {
            let token = self.table.protect(pages, Self::attributes(&area, true).permissions)?;
            let _ = self.table.finish(token, self.kernel.tlb());
            Promoted::InPlace
        } else {
            self.gather(&area, pages)?;
            Promoted::Copied
        };
        let token = self.table.coalesce(pages)?;
        let _ = self.table.finish(token, self.kernel.tlb());
        let hit = first.start(F::PAGE).and_then(|address| self.table.find(address));
        if hit.is_none_or(|hit| hit.leaf_size() == F::PAGE) {
            // The format has no such leaf at this place.
            return Err(unsuitable);
        }
        self.counts.promoted += 1;
        Ok(how)
    }

    /// Looks at up to `groups` groups of pages from `from` on in areas that welcome huge pages, and promotes what can be.
    /// One step of a background thread.
    pub fn promote_some(&mut self, from: Page, groups: u64) -> Scan {
        let mut scan = Scan { next: Some(from), promoted: 0 };
        let Some(count) = Self::HUGE else { return Scan::default() };
        for _ in 0..groups {
            let Some(group) = scan.next.and_then(|from| self.next_group(from, count)) else {
                scan.next = None;
                return scan;
            };
            scan.next = group.checked_add(count);
            match self.promote(group) {
                Ok(Promoted::InPlace | Promoted::Copied) => scan.promoted += 1,
                Ok(Promoted::Already) | Err(_) => {}
            }
        }
        scan
    }

    /// The first aligned group at or behind a page that lies in an area which was used and welcomes huge pages.
    fn next_group(&self, mut from: Page, count: u64) -> Option<Page> {
        loop {
            let area = self.areas.at_or_after(from)?;
            let first = area.first().max(from).number().checked_next_multiple_of(count)?;
            let touched = area.flags().contains(AreaFlags::TOUCHED);
            if touched && self.wants_huge(&area) && first.checked_add(count)? <= area.end().number() {
                return Some(Page::new(first));
            }
            from = area.end();
        }
    }

    /// Whether huge pages are wanted in an area.
    pub(super) fn wants_huge(&self, area: &Area) -> bool {
        match self.settings.huge {
            HugePages::Never => false,
            HugePages::Advised => area.flags().contains(AreaFlags::HUGE),
            HugePages::Always => !area.flags().contains(AreaFlags::NO_HUGE),
        }
    }

    /// Whether the frames of the pages can stay where they are; `None` if they are a huge page already.
    fn look(&self, pages: PageRun) -> Result<Option<bool>, SpaceError> {
        let (mut at, mut next_frame, mut in_place) = (pages.first(), None, true);
        for run in self.table.runs(pages)? {
            if run.leaf_size() != F::PAGE {
                return Ok(None);
            }
            if run.pages().first() > at {
                break;
            }
            let frames = run.frames();
            for (nth, frame) in frames.iter().enumerate() {
                let zero = Some(frame) == self.settings.zero_frame;
                if !zero && !self.is_own(frame) {
                    return Err(SpaceError::Unsuitable { page: Page::new(at.number() + nth as u64) });
                }
                in_place &= !zero;
            }
            in_place &= match next_frame {
                None => frames.first().number() % pages.count() == 0,
                Some(next) => next == frames.first(),
            };
            next_frame = Some(frames.end());
            at = run.pages().end();
        }
        if at < pages.end() { Err(SpaceError::Hole { page: at }) } else { Ok(Some(in_place)) }
    }

    /// Copies pages to a run of new frames, which they have afterwards.
    fn gather(&mut self, area: &Area, pages: PageRun) -> Result<(), SpaceError> {
        let order = Order::holding(pages.count()).ok_or(SpaceError::Range)?;
        let taken = Owned::take(self.table.source_mut(), self.kernel.refs(), order);
        let mut new = taken.map_err(SpaceError::Frames)?;
        // Nobody may write while it is copied.
        let read_only = Self::attributes(area, false).permissions;
        let copied = match self.table.protect(pages, read_only) {
            Ok(token) => {
                let _ = self.table.finish(token, self.kernel.tlb());
                self.copy_all(pages, &mut new)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = copied {
            self.give_back(new);
            return Err(error);
        }
        let frames = new.run();
        let _ = new.into_used();
        let (mut page, mut frame) = (pages.first(), frames.first());
        while page < pages.end() {
            let left = pages.end().number() - page.number();
            let count = self.change_frames(area, page, frame, left.min(BATCH as u64));
            page = Page::new(page.number() + count);
            frame = Frame::new(frame.number() + count);
            if count < left.min(BATCH as u64) {
                // Never: each page is mapped by a leaf of its own. What was not used yet goes.
                if let Some(rest) = FrameRun::new(frame, frames.end().number() - frame.number()) {
                    Used::of(rest).release(self.table.source_mut(), self.kernel.refs());
                }
                return Err(SpaceError::Unsuitable { page });
            }
        }
        Ok(())
    }

    /// Copies each page to its place in a run of frames.
    fn copy_all(&self, pages: PageRun, new: &mut Owned) -> Result<(), SpaceError> {
        let window = self.table.window();
        for run in self.table.runs(pages)? {
            for (page, frame) in run.pages().iter().zip(run.frames().iter()) {
                let nth = page.number() - pages.first().number();
                let nth = if cfg!(hectare_plant = "space_promote_order") { nth ^ 1 } else { nth };
                // The frame of zeros holds zeros.
                if !new.copy_to(nth, frame, window, F::PAGE) {
                    return Err(SpaceError::Unsuitable { page });
                }
            }
        }
        Ok(())
    }

    /// Gives consecutive pages consecutive frames, which the caller has, and gives their old ones up; for how many that
    /// could be done.
    fn change_frames(&mut self, area: &Area, first: Page, frame: Frame, count: u64) -> u64 {
        let attributes = Self::attributes(area, true);
        let mut old = [None; BATCH];
        let mut token = self.table.token();
        let mut done = 0;
        for (nth, place) in (0..count).zip(&mut old) {
            let page = Page::new(first.number() + nth);
            let hit = page.start(F::PAGE).and_then(|address: VirtAddr| self.table.find(address));
            let Some(hit) = hit else { break };
            let new = Frame::new(frame.number() + nth);
            let Ok(owed) = self.table.replace(page, new, attributes, Touched::DIRTY) else { break };
            if let Err(other) = self.table.merge(&mut token, owed) {
                // Never: both are this table's.
                let _ = self.table.finish(other, self.kernel.tlb());
            }
            *place = FrameRun::new(hit.address.split(F::PAGE).0, 1);
            done += 1;
        }
        // Every CPU uses the copies before the old frames are given up.
        let _ = self.table.finish(token, self.kernel.tlb());
        old.into_iter().flatten().for_each(|old| {
            self.release(old);
        });
        done
    }
}
