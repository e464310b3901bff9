//! Areas that change their length: the heap, by `brk`, and stacks, by faults.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Page, PageRun, Permissions, VirtAddr};

use super::AddressSpace;
use super::map::{MapRequest, Place};
use crate::space::{Area, AreaFlags, Cause, Kernel, SpaceError};
use crate::table::TableFormat;

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Says where the heap begins: the byte behind the program's data. Nothing is mapped yet.
    pub fn set_heap(&mut self, start: VirtAddr) {
        self.heap = (start, start);
    }

    /// Where the heap begins, and the first byte behind it.
    #[must_use]
    pub const fn heap(&self) -> (VirtAddr, VirtAddr) {
        self.heap
    }

    /// Moves the end of the heap, a byte address. What lies between the pages of the old and the new end is mapped, or
    /// unmapped. A heap that grows leaves a page free behind it, and below a stack its guard (`brk`, `mm/mmap.c`).
    ///
    /// # Errors
    /// The end lies below the heap's beginning or outside the window, something is mapped there or on the page behind it,
    /// a stack's guard is there, or as [`map`](Self::map) and [`unmap`](Self::unmap). Nothing is changed.
    pub fn brk(&mut self, end: VirtAddr) -> Result<(), SpaceError> {
        let (start, old) = self.heap;
        if end < start {
            return Err(SpaceError::Range);
        }
        let page = |address: VirtAddr| Some(address.align_up(F::PAGE)?.split(F::PAGE).0);
        let (from, to) = page(old).zip(page(end)).ok_or(SpaceError::Range)?;
        if let Some(count) = to.number().checked_sub(from.number()).and_then(NonZero::new) {
            let pages = PageRun::new(from, count.get() + 1).ok_or(SpaceError::Range)?;
            if !self.is_clear(pages) && !cfg!(hectare_plant = "space_brk_guard") {
                return Err(SpaceError::Occupied { pages });
            }
            let rights = Permissions::READ | Permissions::WRITE;
            let request = MapRequest::anonymous(count, rights).at(Place::NoReplace(from));
            self.map(request.with(AreaFlags::HEAP))?;
        } else if from > to {
            self.unmap(to, from.number() - to.number())?;
        }
        self.heap.1 = end;
        Ok(())
    }

    /// The stack above a page that faulted grows down to it, if it may. What it was before.
    pub(super) fn grow_stack(&mut self, page: Page) -> Result<Area, Cause> {
        let above = self.areas.at_or_after(page);
        let stack = above.filter(|area| area.flags().contains(AreaFlags::GROWS_DOWN)).ok_or(Cause::NoArea)?;
        let count = stack.end().number() - page.number();
        if count > self.settings.stack_limit || page < self.settings.window.first() {
            return Err(Cause::StackLimit);
        }
        if let Some(below) = self.areas.before(page) {
            // What may not be accessed is as good as a guard, and another stack needs none above it: `expand_downwards`,
            // `mm/mmap.c`.
            let guards = below.permissions() - Permissions::USER == Permissions::empty()
                || below.flags().contains(AreaFlags::GROWS_DOWN);
            let room = page.number() - below.end().number();
            if room < self.settings.stack_guard && !guards {
                return Err(Cause::StackLimit);
            }
        }
        let grown = stack.down_to(page).ok_or(Cause::StackLimit)?;
        self.areas.replace(stack.first(), grown);
        Ok(stack)
    }
}
