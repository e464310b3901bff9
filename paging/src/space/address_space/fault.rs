//! Faults: what was wanted, what is there, and what has to be done about it.
//!
//! ```text
//!   area? ──no──► stack above? grow : segmentation fault
//!     │ yes
//!   rights? ──no──► segmentation fault
//!     │ yes
//!   entry ──► present, rights suffice ────────► spurious: somebody was faster
//!         ──► present, write, private ────────► copy on write
//!         ──► present otherwise ──────────────► rights were raised since
//!         ──► absent, a slot ─────────────────► swap in
//!         ──► absent ─────────────────────────► zeros, the object's page, the device's frame
//! ```
#![forbid(unsafe_code)]

use hectare_core::{Access, AccessKind, Frame, FrameRun, Page, PageRun, Permissions, VirtAddr};

use super::AddressSpace;
use crate::format::SetBy;
use crate::space::{Area, AreaFlags, Cause, FrameRefs, Handled, How, Kernel, SpaceFault, SwapSlot};
use crate::table::{Hit, TableError, TableFormat};
use crate::{Attributes, Touched};

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Decides what comes of a fault, and does it. The access of a kernel on behalf of the program counts as the
    /// program's.
    ///
    /// With a page present and all rights there, another CPU was faster; with [`Handled::Pending`] the pager reads. In
    /// both cases, as after a success, the access is to be tried again.
    ///
    /// # Errors
    /// Where, what and why, with the [signal](Cause::signal) for the program. Nothing is changed.
    pub fn handle_fault(&mut self, address: VirtAddr, access: Access) -> Result<Handled, SpaceFault> {
        match self.resolve(address, access) {
            Ok(handled) => {
                self.counts.faults += 1;
                Ok(handled)
            }
            Err(cause) => Err(SpaceFault { address, access, cause }),
        }
    }

    fn resolve(&mut self, address: VirtAddr, access: Access) -> Result<Handled, Cause> {
        let page = address.split(F::PAGE).0;
        if let Some(area) = self.areas.find(page) {
            return self.resolve_in(&area, page, address, access);
        }
        let stack = self.grow_stack(page)?;
        let Some(grown) = self.areas.find(page) else { return Err(Cause::NoArea) };
        let handled = self.resolve_in(&grown, page, address, access);
        if handled.is_err() {
            self.areas.replace(page, stack);
        }
        handled
    }

    fn resolve_in(
        &mut self,
        area: &Area,
        page: Page,
        address: VirtAddr,
        access: Access,
    ) -> Result<Handled, Cause> {
        if !Self::permits(area.permissions(), access.kind) {
            return Err(Cause::Forbidden { permissions: area.permissions() });
        }
        if !area.flags().contains(AreaFlags::TOUCHED) {
            self.mark(area, AreaFlags::TOUCHED);
            return self.absent(area, page, access.kind);
        }
        // Another CPU may have been faster since the fault.
        match self.table.find(address).filter(|_| !cfg!(hectare_plant = "space_fault_blind")) {
            Some(hit) => self.present(area, page, access.kind, &hit),
            None => {
                let swapped = area.flags().contains(AreaFlags::SWAPPED);
                let state = if swapped { self.table.absent_state(address) } else { None };
                match state.and_then(SwapSlot::new) {
                    Some(slot) => self.swap_in(area, page, slot),
                    None => self.absent(area, page, access.kind),
                }
            }
        }
    }

    /// Whether an area with these rights permits the access. What the format cannot forbid, it permits: where a page that
    /// may be written to can be read as well, reading is permitted.
    fn permits(permissions: Permissions, kind: AccessKind) -> bool {
        let right = match kind {
            AccessKind::Read => Permissions::READ,
            AccessKind::Write => Permissions::WRITE,
            AccessKind::Execute => Permissions::EXECUTE,
        };
        let nearest = || F::nearest(Attributes::new(permissions)).permissions.contains(right);
        permissions.contains(right)
            || (kind == AccessKind::Read
                && permissions - Permissions::USER != Permissions::empty()
                && nearest())
    }

    /// Remembers that something happened to an area.
    pub(super) fn mark(&mut self, area: &Area, flags: AreaFlags) {
        if !area.flags().contains(flags) {
            self.areas.replace(area.first(), area.with_history(flags));
        }
    }

    /// A fault on a page that is mapped.
    fn present(&mut self, area: &Area, page: Page, kind: AccessKind, hit: &Hit<F>) -> Result<Handled, Cause> {
        let has = hit.attributes().permissions;
        if Self::permits(has, kind) && has.contains(Permissions::USER) {
            return self.spurious(page, kind);
        }
        let one = PageRun::new(page, 1).ok_or(Cause::Tables)?;
        if kind == AccessKind::Write && !has.contains(Permissions::WRITE) {
            if !area.is_shared() && !area.flags().contains(AreaFlags::DEVICE) {
                return self.copy_on_write(area, page, hit);
            }
            self.rewrite(one, Self::attributes(area, true))?;
            return Ok(Handled::Mapped { how: How::MadeWritable, pages: 0, flushed: true });
        }
        self.rewrite(one, Self::attributes(area, has.contains(Permissions::WRITE)))?;
        Ok(Handled::Mapped { how: How::RightsRaised, pages: 0, flushed: true })
    }

    /// Nothing was wrong but a stale translation, or an accessed or dirty bit that software must set.
    fn spurious(&mut self, page: Page, kind: AccessKind) -> Result<Handled, Cause> {
        let one = PageRun::new(page, 1).ok_or(Cause::Tables)?;
        if F::ACCESSED == SetBy::Fault || F::DIRTY == SetBy::Fault {
            let touched = if kind == AccessKind::Write { Touched::DIRTY } else { Touched::ACCESSED };
            self.table.touch(one, touched).map_err(cause)?;
        }
        let token = self.table.doubt(one).map_err(cause)?;
        let _ = self.table.finish(token, self.kernel.tlb());
        Ok(Handled::Spurious)
    }

    /// Gives mapped pages other rights.
    fn rewrite(&mut self, pages: PageRun, attributes: Attributes) -> Result<(), Cause> {
        let token = self.table.protect(pages, attributes.permissions).map_err(cause)?;
        let _ = self.table.finish(token, self.kernel.tlb());
        Ok(())
    }

    /// A write to a page that may be shared with others since a fork, or is an object's.
    fn copy_on_write(&mut self, area: &Area, page: Page, hit: &Hit<F>) -> Result<Handled, Cause> {
        let frame = hit.address.split(F::PAGE).0;
        let writable = Self::attributes(area, true);
        if self.is_own(frame) {
            // Nobody else can come to it any more: a reference is made only of one that is held. A huge page that is one's
            // own throughout stays one.
            let pages = self.own_leaf(area, page, hit).ok_or(Cause::Tables)?;
            self.rewrite(pages, writable)?;
            self.counts.reused += pages.count();
            return Ok(Handled::Mapped { how: How::Reused, pages: 0, flushed: true });
        }
        let new = self.copied(frame)?;
        let token = match self.table.replace(page, new.run().first(), writable, Touched::DIRTY) {
            Ok(token) => token,
            Err(error) => {
                self.give_back(new);
                return Err(cause(error));
            }
        };
        let _ = new.into_used();
        let old = FrameRun::new(frame, 1).ok_or(Cause::Tables)?;
        if cfg!(hectare_plant = "space_cow_early") {
            self.release(old);
        }
        // Every CPU reads the copy before the old frame is given up.
        let _ = self.table.finish(token, self.kernel.tlb());
        if !cfg!(hectare_plant = "space_cow_early") {
            self.release(old);
        }
        self.mark(area, AreaFlags::OWN);
        self.counts.copied += 1;
        Ok(Handled::Mapped { how: How::Copied, pages: 0, flushed: true })
    }

    /// Whether this address space alone uses the frame.
    pub(super) fn is_own(&self, frame: Frame) -> bool {
        (self.kernel.refs().is_sole(frame) || cfg!(hectare_plant = "space_cow_reuse"))
            && Some(frame) != self.settings.zero_frame
    }

    /// The pages of the leaf at `page` that belong to the area, if all of its frames are one's own; else the page alone.
    fn own_leaf(&self, area: &Area, page: Page, hit: &Hit<F>) -> Option<PageRun> {
        let one = PageRun::new(page, 1);
        let leaf = 1 << (hit.leaf_size().log2() - F::PAGE.log2());
        if leaf == 1 {
            return one;
        }
        let first = page.number() & !(leaf - 1);
        let frame = hit.address.split(F::PAGE).0.number() - (page.number() - first);
        let whole = PageRun::new(Page::new(first), leaf)?;
        let inside = area.contains(whole.first()) && whole.end() <= area.end();
        let own = (frame..frame + leaf).all(|frame| self.is_own(Frame::new(frame)));
        if inside && own { Some(whole) } else { one }
    }
}

/// Why the tables refused.
pub(super) fn cause(error: TableError) -> Cause {
    match error {
        TableError::Frames(error) => Cause::Memory(error),
        _ => Cause::Tables,
    }
}
