//! Fork: the areas twice, the pages once.
#![forbid(unsafe_code)]

use hectare_core::{Frame, FrameRun, Page, PageRun};

use super::AddressSpace;
use super::zap::counted;
use crate::space::{Area, AreaFlags, Backing, FrameRefs, Kernel, Pager, SpaceError, SwapSlot, TooManyUsers};
use crate::table::{Copied, TableFormat};

impl<F: TableFormat, K: Kernel + Clone> AddressSpace<F, K> {
    /// A second address space with the same areas and contents. Private pages are shared until one of the two writes:
    /// both lose the right to write in the tables. Shared areas are shared, and their pages are mapped again when they are
    /// used, as are an object's pages that were not copied yet.
    ///
    /// Cost: O(areas) nodes, and for each private page that was used a few stores and a counted reference.
    ///
    /// # Errors
    /// A frame, a node, a reference or a slot cannot be had. The areas and contents are as they were; pages may have lost
    /// their right to write until the next write.
    pub fn fork(&mut self) -> Result<Self, SpaceError> {
        let mut child = Self::new(self.kernel.clone(), self.settings)?;
        child.heap = self.heap;
        if let Err(error) = child.table.share(&self.table) {
            child.destroy();
            return Err(error.into());
        }
        match self.copy_areas(&mut child) {
            Ok(()) => Ok(child),
            Err(error) => {
                child.destroy();
                Err(error)
            }
        }
    }

    fn copy_areas(&mut self, child: &mut Self) -> Result<(), SpaceError> {
        let mut token = self.table.token();
        let mut at = Page::new(0);
        let mut result = Ok(());
        while let Some(area) = self.areas.at_or_after(at) {
            at = area.end();
            result = self.copy_area(&area, child, &mut token);
            if result.is_err() {
                break;
            }
        }
        // Also after an error: rights were taken.
        let _ = self.table.finish(token, self.kernel.tlb());
        result
    }

    fn copy_area(
        &mut self,
        area: &Area,
        child: &mut Self,
        token: &mut crate::table::Flush,
    ) -> Result<(), SpaceError> {
        let flags = area.flags();
        let own = match area.backing() {
            Backing::Anonymous => true,
            Backing::Object { .. } => !area.is_shared() && flags.contains(AreaFlags::OWN),
            Backing::Device { .. } => false,
        };
        if !own || !flags.contains(AreaFlags::TOUCHED) {
            child.areas.insert(area.without(AreaFlags::HISTORY))?;
            return Ok(());
        }
        child.areas.insert(*area)?;
        let pages = PageRun::new(area.first(), area.count()).ok_or(SpaceError::Range)?;
        self.copy_pages(pages, child, token)?;
        if flags.contains(AreaFlags::SWAPPED) {
            self.copy_slots(pages, child)?;
        }
        Ok(())
    }

    fn copy_pages(
        &mut self,
        pages: PageRun,
        child: &mut Self,
        token: &mut crate::table::Flush,
    ) -> Result<(), SpaceError> {
        let (refs, zero) = (self.kernel.refs(), self.settings.zero_frame);
        let protect = !cfg!(hectare_plant = "space_fork_writable");
        let copied =
            self.table.copy_frames(pages, &mut child.table, protect, |frames| share(refs, frames, zero))?;
        let Copied { owed, fresh, count, refused } = copied;
        fresh.later();
        if let Err(other) = self.table.merge(token, owed) {
            // Never: both are this table's.
            let _ = self.table.finish(other, self.kernel.tlb());
        }
        child.resident += count;
        let Some((from, many)) = refused else { return Ok(()) };
        // What was copied but not counted is not the child's.
        let count = pages.end().number().saturating_sub(from.number());
        if let Some(rest) = PageRun::new(from, count) {
            let token = child.table.forget(rest)?;
            let _ = child.table.finish(token, child.kernel.tlb());
        }
        Err(many.into())
    }

    fn copy_slots(&mut self, pages: PageRun, child: &mut Self) -> Result<(), SpaceError> {
        let pager = self.kernel.pager();
        for (page, state) in self.table.states(pages) {
            let Some(slot) = SwapSlot::new(state) else { continue };
            pager.share_slot(slot)?;
            match child.table.set_state(page, state) {
                // Nobody uses the child's tables yet.
                Ok(token) => {
                    let _ = child.table.finish(token, child.kernel.tlb());
                }
                Err(error) => {
                    pager.release_slot(slot);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// One user more for each frame but the one of zeros, or for none.
#[inline(always)]
fn share(refs: &impl FrameRefs, frames: FrameRun, zero: Option<Frame>) -> Result<(), TooManyUsers> {
    // No frame has the last number.
    let nth = zero.map_or(u64::MAX, Frame::number).wrapping_sub(frames.first().number());
    if nth < frames.count() { share_around(refs, frames, zero) } else { refs.share(frames) }
}

/// The same with the frame of zeros in the midst.
#[cold]
fn share_around(refs: &impl FrameRefs, frames: FrameRun, zero: Option<Frame>) -> Result<(), TooManyUsers> {
    let [low, high] = counted(frames, zero);
    low.map_or(Ok(()), |low| refs.share(low))?;
    let shared = high.map_or(Ok(()), |high| refs.share(high));
    if let (Err(_), Some(low)) = (&shared, low) {
        // Nobody is the last: the parent has its own use.
        low.iter().for_each(|frame| {
            let _ = refs.release(frame);
        });
    }
    shared
}
