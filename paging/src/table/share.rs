//! The kernel's half: tables that many roots link and one page table owns, and leaves of the root that all have alike.
//!
//! ```text
//!   kernel's root   │ … │ K0 │ K1 │         pinned: K0, K1 and all below never return to the source
//!                          │    └───────────────┐
//!   a process's     │ P0 │ K0 │ K1 │  ◄─ share ─┘        changes below K0 and K1 are the kernel table's alone
//! ```
#![forbid(unsafe_code)]

use hectare_core::{FrameSource, PageRun};

use super::fill::taken;
use super::flush::Fresh;
use super::memory::{self, Reserve, Slot, Walk};
use super::range::Part;
use super::{Half, PageTable, TableError, TableFormat, TableWindow};
use crate::Entry;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Makes the places of the root that the pages touch ready for sharing: each that is empty gets a table, and
    /// no table below returns to the source, not even by [`destroy`](Self::destroy), until [`unpin`](Self::unpin). Roots that share the half see
    /// every later change below at once; what its tokens owe, all CPUs owe.
    ///
    /// A place that holds a leaf, 1 GiB of a direct map, say, keeps it: the roots that share the half have copies,
    /// so whatever would change it is refused from now on ([`TableError::Shared`]).
    ///
    /// ```
    /// # use hectare_core::{Frame, FrameRun, Locked, Page, PageRun, Permissions, SpinLock, VirtAddr};
    /// # use hectare_paging::{Attributes, MapOptions, PageTable, format::Sv48, table::NotLoaded};
    /// # let frames = hectare_testkit::stand_in::PlainFrames::<12>::new(0x100, 8);
    /// # let window = frames.window();
    /// # let frames = Locked::<SpinLock, _>::new(frames);
    /// # // SAFETY: no CPU uses the tables.
    /// # let tlb = unsafe { NotLoaded::new() };
    /// let mut kernel = PageTable::<Sv48, _, _>::new(window.clone(), &frames)?;
    /// let half = PageRun::new(Page::new(0xF_FFF8_0000_0000), 1 << 27).unwrap(); // one place of the root: 512 GiB
    /// kernel.pin(half)?.finish(&tlb);
    /// let mut program = PageTable::<Sv48, _, _>::new(window, &frames)?;
    /// program.share(&kernel)?;
    ///
    /// // What the kernel maps afterwards, the program's table shows too, but cannot change.
    /// let memory = FrameRun::new(Frame::new(0x8_0000), 1).unwrap();
    /// let data = Attributes::new(Permissions::READ | Permissions::WRITE).with_global(true);
    /// kernel.map(half.first(), memory, data, MapOptions::DEFAULT)?.finish(&tlb);
    /// assert!(program.find(VirtAddr::new(0xFFFF_8000_0000_0000)).is_some());
    /// assert!(program.unmap(half, |_| {}).is_err());
    /// # program.destroy(&tlb);
    /// # Ok::<(), hectare_paging::TableError>(())
    /// ```
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or in another table's half, a place holds software state, the
    /// places do not adjoin those pinned before, the format has one level only, or a table cannot be had. Nothing is
    /// changed then.
    pub fn pin(&mut self, pages: PageRun) -> Result<Fresh<F>, TableError> {
        let part = Part::of::<F>(pages)?;
        let top = F::LEVELS - 1;
        let (first, last) = part.indices::<F>(top);
        let wanted = Half { first, end: last + 1 };
        if self.foreign != Half::NONE && (first..=last).any(|index| self.foreign.holds(index)) {
            return Err(TableError::Shared { address: F::delinear(part.first) });
        }
        let pinned = self.pinned.with(wanted).ok_or(TableError::Range { pages })?;
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk).filter(|_| top != 0) else {
            return Err(TableError::Range { pages });
        };
        let mut needed = 0;
        for index in first..=last {
            match walk.slot(root, index) {
                Slot::Table(_) | Slot::Leaf(_) => {}
                Slot::Absent(entry) if entry == F::Entry::ZERO => needed += 1,
                _ => return Err(taken(root, Part::all::<F>(), index)),
            }
        }
        let mut reserve = Reserve::<F>::take(needed, &self.window, &mut self.source)?;
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            for index in first..=last {
                if root.load(index) != F::Entry::ZERO {
                    continue;
                }
                if let Some(mut spare) = reserve.pop(&self.window, top - 1) {
                    let count = spare.entries.len();
                    spare.zero(0..count);
                    walk.link(root, index, spare);
                }
            }
        }
        self.pinned = pinned;
        Ok(Fresh::new(pages, self.asid))
    }

    /// Links what `kernel` pinned, or shares itself. This table translates there from now on, and refuses to change anything
    /// there ([`TableError::Shared`]). O(places).
    ///
    /// # Errors
    /// If and only if a place is taken here, or this table pins or shares something already. Nothing is changed then.
    pub fn share<V: TableWindow, T: FrameSource>(
        &mut self,
        kernel: &PageTable<F, V, T>,
    ) -> Result<(), TableError> {
        let half = if kernel.pinned == Half::NONE { kernel.foreign } else { kernel.pinned };
        let (walk, theirs) = (Walk::new(&self.window), Walk::new(&kernel.window));
        let (Some(root), Some(from)) = (self.root_node(walk), kernel.root_node(theirs)) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        let start = F::delinear((half.first as u64) << F::SHIFTS[F::LEVELS - 1]);
        if self.foreign != Half::NONE || self.pinned != Half::NONE {
            return Err(TableError::Shared { address: start });
        }
        for index in half.first..half.end {
            if root.load(index) != F::Entry::ZERO {
                return Err(taken(root, Part::all::<F>(), index));
            }
        }
        for index in half.first..half.end {
            memory::copy_link(walk, root, from, index);
        }
        self.foreign = half;
        Ok(())
    }
}
