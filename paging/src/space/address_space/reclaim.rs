//! Memory is short: who was used, and who goes.
#![forbid(unsafe_code)]

use hectare_core::{FrameRun, Page, PageRun, Permissions};

use super::AddressSpace;
use crate::Touched;
use crate::space::{Area, AreaFlags, Backing, Kernel, Pager, SpaceError};
use crate::table::TableFormat;

/// What a harvest found: pages with equal marks, and consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The pages.
    pub pages: PageRun,
    /// Their frames.
    pub frames: FrameRun,
    /// Whether they were used, and written to, since the last harvest.
    pub touched: Touched,
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Reports every page that is mapped, with its marks, and clears the accessed marks: what feeds a
    /// [replacement policy](crate::space::replacement). Dirty pages of shared objects are reported to the pager, and their
    /// dirty marks cleared too.
    ///
    /// Cost: O(pages that are mapped).
    ///
    /// # Errors
    /// The tables refuse.
    pub fn harvest(&mut self, mut visit: impl FnMut(Visit)) -> Result<(), SpaceError> {
        let mut at = Page::new(0);
        while let Some(area) = self.areas.at_or_after(at) {
            at = area.end();
            let Some(pages) = PageRun::new(area.first(), area.count()) else { continue };
            if !area.flags().contains(AreaFlags::TOUCHED) {
                continue;
            }
            let object = match area.backing() {
                Backing::Object { id, .. } if area.is_shared() => Some(id),
                _ => None,
            };
            let clear = if object.is_some() { Touched::DIRTY } else { Touched::ACCESSED };
            let pager = self.kernel.pager();
            let token = self.table.harvest(pages, clear, |run| {
                let (pages, frames, touched) = (run.pages(), run.frames(), run.touched());
                if let (Some(id), true) = (object, touched.dirty) {
                    pager.dirty(id, area.offset_of(pages.first().number()), pages.count());
                }
                visit(Visit { pages, frames, touched });
            })?;
            let _ = self.table.finish(token, self.kernel.tlb());
        }
        Ok(())
    }

    /// Evicts a page: an object's is dropped (a dirty one reported to the pager), any other goes to a swap slot. How many
    /// frames returned to their source: 1, or 0 if others use the frame: the pager, or a process that shares it since a
    /// fork and gets a slot of its own when it is its turn.
    ///
    /// # Errors
    /// Nothing is mapped there, the page is a device's, or a private copy of an object's page that is shared since a fork,
    /// or the pager or the tables refuse. Nothing is changed.
    pub fn evict(&mut self, page: Page) -> Result<u64, SpaceError> {
        let area = self.areas.find(page).ok_or(SpaceError::Hole { page })?;
        let unsuitable = SpaceError::Unsuitable { page };
        let address = page.start(F::PAGE).ok_or(SpaceError::Range)?;
        let hit = self.table.find(address).ok_or(SpaceError::Hole { page })?;
        let frame = hit.address.split(F::PAGE).0;
        let part = area.part(page.number(), page.number().saturating_add(1)).ok_or(SpaceError::Range)?;
        match area.backing() {
            Backing::Device { .. } => Err(unsuitable),
            Backing::Object { .. } if area.is_shared() => self.zap(&part),
            Backing::Object { id, .. }
                if self.kernel.pager().holds(id, area.offset_of(page.number()), frame) =>
            {
                self.zap(&part)
            }
            // Zeros come back by themselves.
            Backing::Anonymous if Some(frame) == self.settings.zero_frame => self.zap(&part),
            Backing::Object { .. } if !self.is_own(frame) => Err(unsuitable),
            _ if cfg!(hectare_plant = "space_evict_lost") => self.zap(&part),
            _ => self.swap_out(&area, page, frame),
        }
    }

    /// Writes one's own page to a slot, and leaves the slot in its place.
    fn swap_out(&mut self, area: &Area, page: Page, frame: hectare_core::Frame) -> Result<u64, SpaceError> {
        let one = PageRun::new(page, 1).ok_or(SpaceError::Range)?;
        // Nobody may write while it is written out.
        let read_only = Self::attributes(area, false).permissions;
        let before = self.table.runs(one)?.next().map(|run| run.attributes().permissions);
        let token = self.table.protect(one, read_only)?;
        let _ = self.table.finish(token, self.kernel.tlb());
        let slot = self.kernel.pager().swap_out(frame);
        let replaced = slot.map_err(SpaceError::from).and_then(|slot| {
            self.table.set_state(page, slot.0.get()).map_err(|error| {
                self.kernel.pager().release_slot(slot);
                SpaceError::from(error)
            })
        });
        let token = match replaced {
            Ok(token) => token,
            Err(error) => {
                if before.is_some_and(|before| before.contains(Permissions::WRITE)) {
                    let token = self.table.protect(one, Self::attributes(area, true).permissions)?;
                    let _ = self.table.finish(token, self.kernel.tlb());
                }
                return Err(error);
            }
        };
        let _ = self.table.finish(token, self.kernel.tlb());
        self.resident -= 1;
        self.counts.swapped_out += 1;
        self.mark(area, AreaFlags::SWAPPED | AreaFlags::TOUCHED | AreaFlags::OWN);
        Ok(self.release(FrameRun::new(frame, 1).ok_or(SpaceError::Range)?))
    }
}
