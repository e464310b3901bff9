//! Lookups without locks: loads only, at any time.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::sync::atomic::Ordering::Acquire;
use hectare_core::sync::atomic::fence;
use hectare_core::{Access, PageRun, SharedFrameSource, Translate, Translation, VirtAddr};

use super::{Grace, SharedTable, TableLocks};
use crate::Kind;
use crate::table::lookup::{End, Hit, end_of_walk};
use crate::table::memory::Walk;
use crate::table::{Mapping, PageFault, TableError, TableFormat, TableWindow};

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    SharedTable<'_, F, W, S, L, G>
{
    /// What `address` stands for, as [`PageTable::find`](crate::PageTable::find). Takes no lock and waits for nobody: what a
    /// transaction does at the same time, it sees or does not see, entry by entry. Where the architecture wants
    /// break-before-make, it may find a page absent that is being changed, as CPUs do.
    #[must_use]
    #[inline]
    pub fn find(&self, address: VirtAddr) -> Option<Hit<F>> {
        self.grace.read(|| self.table.find(address).or_else(|| self.again(address)))
    }

    /// As [`PageTable::find_many`](crate::PageTable::find_many), in one section.
    #[inline]
    pub fn find_many(&self, addresses: &[VirtAddr], hits: &mut [Option<Hit<F>>]) {
        self.grace.read(|| {
            self.table.find_many(addresses, hits);
            for (address, hit) in addresses.iter().zip(hits).filter(|(_, hit)| hit.is_none()) {
                *hit = self.again(*address);
            }
        });
    }

    /// Reports the runs of mappings that touch the pages: of each page what it mapped at some moment of the call, but the
    /// first page of a table that a larger leaf replaces meanwhile may be left out. `report` runs in a section: it waits for
    /// nobody.
    ///
    /// # Errors
    /// If and only if the format cannot translate all of the pages.
    pub fn each_run(&self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Result<(), TableError> {
        self.grace.read(|| self.table.runs(pages).map(|runs| runs.for_each(report)))
    }

    /// How many tables there are, as far as one look tells. O(tables).
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.grace.read(|| self.table.tables())
    }

    #[cold]
    fn again(&self, address: VirtAddr) -> Option<Hit<F>> {
        F::accepts(address).then(|| self.end(address))?.hit(address)
    }

    /// Where a walk ends. In a section.
    fn end(&self, address: VirtAddr) -> End<F> {
        let walk = Walk::new(&self.table.window);
        let look = || end_of_walk(walk, self.table.root_node(walk), address);
        let mut end = look();
        while end.index == 0
            && end.level != F::LEVELS - 1
            && F::kind(end.entry, end.level) == Kind::Absent
            && !cfg!(hectare_plant = "shared_one_look")
        {
            // Pairs with the release in `Walk::retire`.
            fence(Acquire);
            let again = look();
            if again.table == end.table {
                return again;
            }
            end = again;
        }
        end
    }
}

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace> Translate
    for SharedTable<'_, F, W, S, L, G>
{
    type Fault = PageFault;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, PageFault> {
        self.grace.read(|| {
            let hit = self.table.find(address).and_then(|hit| hit.translation(address, access));
            hit.map_or_else(|| self.translate_again(address, access), Ok)
        })
    }
}

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    SharedTable<'_, F, W, S, L, G>
{
    /// One look decides both whether it is refused and why.
    #[cold]
    fn translate_again(&self, address: VirtAddr, access: Access) -> Result<Translation, PageFault> {
        let end = self.end(address);
        let hit = end.hit(address).filter(|_| F::accepts(address));
        let found = hit.and_then(|hit| hit.translation(address, access));
        found.ok_or_else(|| end.fault(address, access))
    }
}

impl<F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace> fmt::Display
    for SharedTable<'_, F, W, S, L, G>
{
    /// As [`PageTable`](crate::PageTable) shows itself, without a lock: of a kernel that hangs too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.grace.read(|| self.table.fmt(f))
    }
}
