//! Pages that are not there yet: zeros, an object's page and its neighbours, a device's frame, a swapped page.
#![forbid(unsafe_code)]

use hectare_core::{AccessKind, Frame, FrameRun, Order, Page, PageRun};

use super::AddressSpace;
use super::fault::cause;
use crate::space::memory::Owned;
use crate::space::{
    Area, AreaFlags, Backing, Cause, FrameRefs, Handled, How, Kernel, ObjectId, Pager, PagerError, SwapSlot,
};
use crate::table::{MapOptions, TableFormat};
use crate::{Attributes, Touched};

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// A fault on a page that nothing is known about but its area.
    pub(super) fn absent(&mut self, area: &Area, page: Page, kind: AccessKind) -> Result<Handled, Cause> {
        let write = kind == AccessKind::Write;
        let touched = if write { Touched::DIRTY } else { Touched::ACCESSED };
        match area.backing() {
            Backing::Anonymous => self.zeros(area, page, touched),
            Backing::Device { .. } => {
                let frame = Frame::new(area.offset_of(page.number()));
                self.enter_page(page, frame, Self::attributes(area, true), touched)?;
                Ok(Handled::Mapped { how: How::Device, pages: 1, flushed: false })
            }
            Backing::Object { id, .. } if write && !area.is_shared() => self.private_copy(area, page, id),
            Backing::Object { id, .. } => self.object(area, page, id, touched),
        }
    }

    /// Maps a frame whose reference is ours.
    fn enter_page(
        &mut self,
        page: Page,
        frame: Frame,
        attributes: Attributes,
        touched: Touched,
    ) -> Result<(), Cause> {
        let run = FrameRun::new(frame, 1).ok_or(Cause::Tables)?;
        let options = MapOptions::DEFAULT.with_largest(F::PAGE).with_touched(touched);
        self.table.map(page, run, attributes, options).map_err(cause)?.finish(self.kernel.tlb());
        self.resident += 1;
        Ok(())
    }

    fn zeros(&mut self, area: &Area, page: Page, touched: Touched) -> Result<Handled, Cause> {
        if let Some(huge) = self.huge_zeros(area, page, touched) {
            return Ok(huge);
        }
        if let Some(zero) = self.settings.zero_frame.filter(|_| !touched.dirty) {
            self.enter_page(page, zero, Self::attributes(area, false), touched)?;
            return Ok(Handled::Mapped { how: How::ZeroFrame, pages: 1, flushed: false });
        }
        let mut new = self.take(Order::ZERO)?;
        let shown = new.zero(self.table.window(), F::PAGE);
        self.enter_owned(page, new, shown, area, touched)?;
        Ok(Handled::Mapped { how: How::Zeroed, pages: 1, flushed: false })
    }

    /// Maps one new frame, or gives it back.
    fn enter_owned(
        &mut self,
        page: Page,
        new: Owned,
        shown: bool,
        area: &Area,
        touched: Touched,
    ) -> Result<(), Cause> {
        let entered = match shown {
            true => self.enter_page(page, new.run().first(), Self::attributes(area, true), touched),
            false => Err(Cause::Tables),
        };
        match entered {
            Ok(()) => {
                let _ = new.into_used();
                Ok(())
            }
            Err(cause) => {
                self.give_back(new);
                Err(cause)
            }
        }
    }

    /// Pages that a leaf of the second level covers, if the format has such leaves.
    pub(super) const HUGE: Option<u64> = {
        let log2 = F::SHIFTS[1] - F::SHIFTS[0];
        if F::LEVELS > 1 && F::LEAF_LEVELS & 2 != 0 { Some(1 << log2) } else { None }
    };

    /// A huge page of zeros around a page, if that is wanted, the area has room, nothing is there yet, and there is
    /// memory for it.
    fn huge_zeros(&mut self, area: &Area, page: Page, touched: Touched) -> Option<Handled> {
        let count = Self::HUGE.filter(|_| self.wants_huge(area))?;
        let first = page.number() & !(count - 1);
        let pages = PageRun::new(Page::new(first), count)?;
        let inside = area.contains(pages.first()) && pages.end() <= area.end();
        if !inside || self.table.runs(pages).ok()?.next().is_some() {
            return None;
        }
        if area.flags().contains(AreaFlags::SWAPPED) && self.table.states(pages).next().is_some() {
            return None;
        }
        let mut new = self.take(Order::holding(count)?).ok()?;
        let shown = new.zero(self.table.window(), F::PAGE);
        let options = MapOptions::DEFAULT.with_touched(touched);
        let attributes = Self::attributes(area, true);
        let mapped =
            if shown { self.table.map(pages.first(), new.run(), attributes, options).ok() } else { None };
        let Some(fresh) = mapped else {
            self.give_back(new);
            return None;
        };
        fresh.finish(self.kernel.tlb());
        let _ = new.into_used();
        self.resident += count;
        self.counts.huge += 1;
        Some(Handled::Mapped { how: How::ZeroedHuge, pages: count, flushed: false })
    }

    /// The first write to a page of an object in a private mapping: a copy at once.
    fn private_copy(&mut self, area: &Area, page: Page, id: ObjectId) -> Result<Handled, Cause> {
        let frame = match self.kernel.pager().page(id, area.offset_of(page.number()), false) {
            Ok(frame) => frame,
            Err(PagerError::Pending) => return Ok(Handled::Pending),
            Err(error) => return Err(Cause::Pager(error)),
        };
        let entered =
            self.copied(frame).and_then(|new| self.enter_owned(page, new, true, area, Touched::DIRTY));
        self.release(FrameRun::new(frame, 1).ok_or(Cause::Tables)?);
        entered?;
        self.mark(area, AreaFlags::OWN | AreaFlags::TOUCHED);
        self.counts.copied += 1;
        Ok(Handled::Mapped { how: How::ObjectCopied, pages: 1, flushed: false })
    }

    /// The object's own page, and for a read what is resident around it.
    fn object(&mut self, area: &Area, page: Page, id: ObjectId, touched: Touched) -> Result<Handled, Cause> {
        let frame = match self.kernel.pager().page(id, area.offset_of(page.number()), touched.dirty) {
            Ok(frame) => frame,
            Err(PagerError::Pending) => return Ok(Handled::Pending),
            Err(error) => return Err(Cause::Pager(error)),
        };
        let attributes = Self::attributes(area, area.is_shared());
        let (around, covered) =
            if touched.dirty { (0, false) } else { self.around(area, page, id, attributes) };
        let one = FrameRun::new(frame, 1).ok_or(Cause::Tables)?;
        if covered {
            // Mapped with its neighbours, which counted it once more.
            self.release(one);
        } else if let Err(cause) = self.enter_page(page, frame, attributes, touched) {
            self.release(one);
            return Err(cause);
        }
        let pages = around + u64::from(!covered);
        self.counts.around += pages - 1;
        Ok(Handled::Mapped { how: How::Object, pages, flushed: false })
    }

    /// Maps what the pager has of the aligned group of pages around one, each run of frames as one run of entries. How
    /// many pages that were, and whether the page was among them.
    fn around(&mut self, area: &Area, page: Page, id: ObjectId, attributes: Attributes) -> (u64, bool) {
        let group = self.settings.fault_around.clamp(1, 64).next_power_of_two().min(64);
        let first = page.number() & !(group - 1);
        let Some(part) = area.part(first, first.saturating_add(group)).filter(|part| part.count() > 1) else {
            return (0, false);
        };
        let Some(pages) = PageRun::new(part.first(), part.count()) else { return (0, false) };
        // A bit for each page of the part that is taken.
        let mut taken = 0_u64;
        if let Ok(runs) = self.table.runs(pages) {
            for mapped in runs.flat_map(|run| run.pages().iter()) {
                let bit = mapped.number().wrapping_sub(part.first);
                taken |= if bit < 64 { 1 << bit } else { 0 };
            }
        }
        let Self { kernel, table, resident, .. } = self;
        let (refs, tlb) = (kernel.refs(), kernel.tlb());
        let begin = part.offset_of(part.first);
        let (mut mapped, mut covered) = (0, false);
        let options = MapOptions::DEFAULT.with_largest(F::PAGE);
        kernel.pager().resident(id, begin, part.count(), &mut |offset, frames| {
            for piece in free_pieces(taken, offset.wrapping_sub(begin), frames.count().min(part.count())) {
                let (at, count) = piece;
                let skip = at - offset.wrapping_sub(begin);
                let run = frames.first().checked_add(skip).and_then(|frame| FrameRun::new(frame, count));
                let first = Page::new(part.first + at);
                let fits = at + count <= part.count();
                let Some(run) = run.filter(|run| fits && refs.join(*run).is_ok()) else { continue };
                match table.map(first, run, attributes, options) {
                    Ok(fresh) => {
                        fresh.finish(tlb);
                        *resident += count;
                        mapped += count;
                        covered |= first <= page && page.number() < first.number() + count;
                    }
                    // The pager keeps its own use: nobody is the last.
                    Err(_) => run.iter().for_each(|frame| {
                        let _ = refs.release(frame);
                    }),
                }
            }
        });
        (mapped, covered)
    }

    /// A page that was swapped out.
    pub(super) fn swap_in(&mut self, area: &Area, page: Page, slot: SwapSlot) -> Result<Handled, Cause> {
        let new = self.take(Order::ZERO)?;
        match self.kernel.pager().swap_in(slot, new.run().first()) {
            Ok(()) => {}
            Err(error) => {
                self.give_back(new);
                return if error == PagerError::Pending {
                    Ok(Handled::Pending)
                } else {
                    Err(Cause::Pager(error))
                };
            }
        }
        let (frame, attributes) = (new.run().first(), Self::attributes(area, true));
        // Its slot goes, so it must be written again: it is dirty.
        match self.table.replace(page, frame, attributes, Touched::DIRTY) {
            Ok(token) => {
                let _ = self.table.finish(token, self.kernel.tlb());
            }
            Err(error) => {
                self.give_back(new);
                return Err(cause(error));
            }
        }
        let _ = new.into_used();
        self.kernel.pager().release_slot(slot);
        self.resident += 1;
        self.counts.swapped_in += 1;
        Ok(Handled::Mapped { how: How::SwappedIn, pages: 1, flushed: false })
    }

    /// New frames.
    pub(super) fn take(&mut self, order: Order) -> Result<Owned, Cause> {
        Owned::take(self.table.source_mut(), self.kernel.refs(), order).map_err(Cause::Memory)
    }

    /// New frames that were not used after all.
    pub(super) fn give_back(&mut self, owned: Owned) {
        owned.into_used().release(self.table.source_mut(), self.kernel.refs());
    }

    /// A copy of a frame that is ours to read.
    pub(super) fn copied(&mut self, frame: Frame) -> Result<Owned, Cause> {
        let mut new = self.take(Order::ZERO)?;
        let shown = if Some(frame) == self.settings.zero_frame {
            new.zero(self.table.window(), F::PAGE)
        } else {
            new.copy_to(0, frame, self.table.window(), F::PAGE)
        };
        if shown {
            return Ok(new);
        }
        self.give_back(new);
        Err(Cause::Tables)
    }
}

/// The maximal runs of clear bits in `taken` between `at` and `at + count`, as begin and length.
fn free_pieces(taken: u64, at: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = at.saturating_add(count).min(64);
    let mut next = at;
    core::iter::from_fn(move || {
        while next < end && taken >> next & 1 != 0 {
            next += 1;
        }
        if next >= end {
            return None;
        }
        let begin = next;
        while next < end && taken >> next & 1 == 0 {
            next += 1;
        }
        Some((begin, next - begin))
    })
}
