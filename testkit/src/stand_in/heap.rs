//! First fit over a tree of live blocks that is kept apart from the memory: no headers, nothing to corrupt.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::alloc::Layout;
use core::iter::once;
use core::ops::Range;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use hectare_core::{AllocError, ByteAllocator, CheckInvariants, Figures, Fragmentation, FreeError, Ratio};
use hectare_core::{RegionError, RegionHeap, Usage, Violation};

use crate::drive::{HeapUnderTest, Space};

/// A heap that is obviously right. Every operation is O(live).
///
/// Detects every bad free: a block is known by its address, size and alignment.
///
/// # Invariants
/// * regions are disjoint and not empty
/// * live blocks are disjoint, aligned, and each lies in one region (one of size 0 takes a byte)
#[derive(Debug, Default)]
pub struct NaiveHeap {
    regions: Vec<NonNull<[u8]>>,
    /// The live blocks by address.
    live: BTreeMap<usize, Layout>,
    /// The most bytes that were live.
    peak: u64,
}

/// The addresses of a region.
fn addresses(region: NonNull<[u8]>) -> Range<usize> {
    let start = region.addr().get();
    start..start.saturating_add(region.len())
}

/// Whether two regions are the same bytes.
fn same(one: NonNull<[u8]>, other: NonNull<[u8]>) -> bool {
    addresses(one) == addresses(other)
}

impl NaiveHeap {
    /// A heap without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { regions: Vec::new(), live: BTreeMap::new(), peak: 0 }
    }

    /// A block is live from now on, of this size.
    fn insert(&mut self, address: usize, layout: Layout) {
        self.live.insert(address, layout);
        self.peak = self.peak.max(self.allocated());
    }

    /// How many bytes are live; a block of none takes one.
    fn allocated(&self) -> u64 {
        self.live.values().map(|layout| layout.size().max(1) as u64).sum()
    }

    /// The live blocks in a range of addresses, as ranges.
    fn live_in(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        self.live.range(range).map(|(start, layout)| *start..start + layout.size().max(1))
    }

    /// The holes of a region, in order.
    fn holes(&self, region: NonNull<[u8]>) -> impl Iterator<Item = Range<usize>> {
        let region = addresses(region);
        let mut from = region.start;
        self.live_in(region.clone()).chain(once(region.end..region.end)).filter_map(move |next| {
            let hole = from..next.start;
            from = next.end;
            (!hole.is_empty()).then_some(hole)
        })
    }

    fn all_holes(&self) -> impl Iterator<Item = u64> {
        self.regions.iter().flat_map(|region| self.holes(*region)).map(|hole| hole.len() as u64)
    }

    fn find(&self, layout: Layout) -> Option<NonNull<u8>> {
        let size = layout.size().max(1);
        self.regions.iter().find_map(|region| {
            let start = self.holes(*region).find_map(|hole| {
                let start = hole.start.checked_next_multiple_of(layout.align())?;
                (start.checked_add(size)? <= hole.end).then_some(start)
            })?;
            // SAFETY: the hole lies in the region, so the offset does.
            Some(unsafe { region.cast::<u8>().add(start - region.addr().get()) })
        })
    }

    fn check_live(&self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let address = block.addr().get();
        if !self.regions.iter().any(|region| addresses(*region).contains(&address)) {
            return Err(FreeError::Foreign);
        }
        match self.live.get(&address) {
            None => Err(FreeError::NotAllocated),
            Some(live) if *live != layout => Err(FreeError::WrongSize),
            Some(_) => Ok(()),
        }
    }

    fn region_index(&self, region: NonNull<[u8]>) -> Result<usize, RegionError> {
        self.regions.iter().position(|known| same(*known, region)).ok_or(RegionError::Unknown)
    }

    /// Whether a region can be given or become part of one.
    fn check_new(&self, region: NonNull<[u8]>, except: Option<NonNull<[u8]>>) -> Result<(), RegionError> {
        let new = addresses(region);
        if new.is_empty() {
            return Err(RegionError::TooSmall);
        }
        let overlaps = |known: &NonNull<[u8]>| {
            let known = addresses(*known);
            known.start < new.end && new.start < known.end
        };
        let others = self.regions.iter().filter(|known| except.is_none_or(|except| !same(**known, except)));
        if others.into_iter().any(overlaps) { Err(RegionError::Overlap) } else { Ok(()) }
    }
}

// SAFETY: (1)–(3) a block lies in a hole of a region, by the tree of live blocks; (4) the tree is not in that memory.
unsafe impl ByteAllocator for NaiveHeap {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let Some(block) = self.find(layout) else {
            let free: u64 = self.all_holes().sum();
            let enough = free >= layout.size().max(1) as u64;
            return Err(if enough { AllocError::Fragmented } else { AllocError::OutOfMemory });
        };
        self.insert(block.addr().get(), layout);
        Ok(block)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        self.check_live(block, layout)?;
        self.live.remove(&block.addr().get());
        Ok(())
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        self.check_live(block, layout)?;
        let address = block.addr().get();
        let new = Layout::from_size_align(new_size, layout.align()).map_err(|_| AllocError::TooLarge)?;
        let end = address.checked_add(new_size.max(1)).ok_or(AllocError::TooLarge)?;
        let region =
            self.regions.iter().map(|region| addresses(*region)).find(|region| region.contains(&address));
        let limit = self.live.range(address + 1..).next().map_or(usize::MAX, |(next, _)| *next);
        if end > region.map_or(0, |region| region.end).min(limit) {
            return Err(AllocError::NotInPlace);
        }
        self.insert(address, new);
        Ok(())
    }
}

// SAFETY: memory is touched only by the provided methods, in live blocks.
unsafe impl RegionHeap for NaiveHeap {
    const EMPTY: Self = Self::new();

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        self.check_new(region, None)?;
        self.regions.push(region);
        Ok(())
    }
}

impl CheckInvariants for NaiveHeap {
    /// O(live × regions). `at` is an address.
    fn check_invariants(&self) -> Result<(), Violation> {
        for region in &self.regions {
            let apart = self.check_new(*region, Some(*region)).is_ok();
            Violation::unless(apart, "regions are disjoint and not empty", region.addr().get() as u64)?;
        }
        let mut from = 0;
        for (start, layout) in &self.live {
            let block = *start..start + layout.size().max(1);
            let at = *start as u64;
            Violation::unless(block.start >= from, "live blocks are disjoint", at)?;
            Violation::unless(start % layout.align() == 0, "live blocks are aligned", at)?;
            let mut regions = self.regions.iter().map(|region| addresses(*region));
            let inside = regions.any(|region| region.start <= block.start && block.end <= region.end);
            Violation::unless(inside, "each live block lies in one region", at)?;
            from = block.end;
        }
        Ok(())
    }
}

impl Figures for NaiveHeap {
    /// O(live).
    fn usage(&self) -> Usage {
        let capacity = self.regions.iter().map(|region| region.len() as u64).sum();
        let mut usage = Usage::new(1, capacity, self.allocated());
        usage.peak_allocated = self.peak;
        usage
    }

    /// O(live).
    fn fragmentation(&self) -> Fragmentation {
        let largest = self.all_holes().max().unwrap_or(0);
        Fragmentation::new(self.all_holes().sum(), largest, self.all_holes().count() as u64)
    }

    /// O(live).
    fn unusable(&self, units: u64) -> Ratio {
        Ratio::new(self.all_holes().filter(|hole| *hole < units).sum(), self.all_holes().sum())
    }
}

// SAFETY: as for `RegionHeap`; a region that leaves holds no live block.
unsafe impl HeapUnderTest for NaiveHeap {
    fn check(&self) -> Result<(), Violation> {
        self.check_invariants()
    }

    fn check_empty(&self) -> Result<(), String> {
        if self.live.is_empty() { Ok(()) } else { Err(format!("{} blocks are live", self.live.len())) }
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        if space.has_room(layout.size() as u64, layout.align() as u64, 1) {
            return Err("there is room".into());
        }
        match error {
            AllocError::OutOfMemory | AllocError::Fragmented | AllocError::NotInPlace => Ok(()),
            _ => Err("not a reason that this heap may give".into()),
        }
    }

    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        Some(unsafe { self.add_region(region) })
    }

    unsafe fn extend(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        Some(self.region_index(old).and_then(|index| {
            self.check_new(new, Some(old))?;
            self.regions[index] = new;
            Ok(())
        }))
    }

    unsafe fn truncate(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        Some(self.region_index(old).and_then(|index| {
            let kept = addresses(new);
            let leaves = |block: Range<usize>| block.start < kept.start || kept.end < block.end;
            if self.live_in(addresses(old)).any(leaves) {
                return Err(RegionError::InUse);
            }
            self.regions[index] = new;
            Ok(())
        }))
    }

    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        Some(self.region_index(region).and_then(|index| {
            if self.live_in(addresses(region)).next().is_some() {
                return Err(RegionError::InUse);
            }
            self.regions.remove(index);
            Ok(())
        }))
    }
}
