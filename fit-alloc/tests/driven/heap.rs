//! The heaps as the test kit's model wants them: for the model's tests and for the fuzz target.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, RegionError, RegionHeap, Violation,
};
use hectare_fit::heap::{GoodFit, Mode, QuickLists, Run, Shape};
use hectare_testkit::drive::{HeapUnderTest, Space};

/// What the two families of heaps have in common beside their traits.
pub(crate) trait Regions: RegionHeap + CheckInvariants + Figures {
    /// Bytes.
    const GRANULE: usize;
    /// Whether a refusal means that no hole would do.
    const COMPLETE: bool;
    fn all_runs(&self) -> Vec<Run>;
    /// Bytes in quick lists, which the figures count as allocated.
    fn held_back(&self) -> usize {
        0
    }
    unsafe fn lengthen(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError>;
    fn shorten(&mut self, from: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError>;
    fn drop_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError>;
}

impl<S: Shape, const N: usize, M: Mode> Regions for GoodFit<S, N, M> {
    const GRANULE: usize = S::GRANULE;
    const COMPLETE: bool = M::COMPLETE;
    fn all_runs(&self) -> Vec<Run> {
        self.runs().collect()
    }
    unsafe fn lengthen(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.extend_region(memory) }
    }
    fn shorten(&mut self, from: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.truncate_region(from)
    }
    fn drop_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.remove_region(inside)
    }
}

impl<S: Shape, const N: usize> Regions for QuickLists<S, N> {
    const GRANULE: usize = S::GRANULE;
    const COMPLETE: bool = true;
    fn held_back(&self) -> usize {
        self.cached()
    }
    fn all_runs(&self) -> Vec<Run> {
        self.runs().collect()
    }
    unsafe fn lengthen(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.extend_region(memory) }
    }
    fn shorten(&mut self, from: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.truncate_region(from)
    }
    fn drop_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.remove_region(inside)
    }
}

#[derive(Debug)]
pub(crate) struct Tested<H>(pub(crate) H);

// SAFETY: every call goes to the heap inside.
unsafe impl<H: Regions> ByteAllocator for Tested<H> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.allocate(layout)
    }
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.deallocate(block, layout) }
    }
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        old: Layout,
        new: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.resize_in_place(block, old, new) }
    }
    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        old: Layout,
        new: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.reallocate(block, old, new) }
    }
}

// SAFETY: the heaps promise it; this test watches them.
unsafe impl<H: Regions> HeapUnderTest for Tested<H> {
    fn check(&self) -> Result<(), Violation> {
        self.0.check_invariants()?;
        let (usage, figures) = (self.0.usage(), self.0.fragmentation());
        let holes = self
            .0
            .all_runs()
            .iter()
            .map(|run| if let Run::Hole(_, size) = run { *size } else { 0 })
            .sum::<usize>();
        Violation::unless(
            holes as u64 == figures.free,
            "the walk sees what the figures count",
            figures.free,
        )?;
        Violation::unless(usage.free == figures.free, "the figures agree", usage.free)?;
        Violation::unless(usage.peak_allocated >= usage.allocated, "the peak is the highest", usage.allocated)
    }

    fn check_empty(&self) -> Result<(), String> {
        let usage = self.0.usage();
        if usage.allocated != self.0.held_back() as u64 {
            return Err(format!("{} bytes are still allocated", usage.allocated));
        }
        // A region's map splits it in two at most.
        let runs = self.0.all_runs();
        let holes = runs.iter().filter(|run| matches!(run, Run::Hole(..))).count();
        let regions = runs.len() - holes;
        if usage.allocated == 0 && holes > 2 * regions {
            return Err(format!("{holes} holes in {regions} regions"));
        }
        Ok(())
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        if error == AllocError::NotInPlace {
            return Err("`NotInPlace` from an operation that may move".into());
        }
        if self.0.held_back() != 0 {
            return Err("refused with blocks in the quick lists".into());
        }
        let size = layout.size().max(1).next_multiple_of(H::GRANULE);
        let fits = |start: NonNull<u8>, length: usize| {
            let padding = start.addr().get().wrapping_neg() & (layout.align() - 1);
            padding + size <= length
        };
        let runs = self.0.all_runs();
        let holes = || {
            runs.iter()
                .filter_map(|run| if let Run::Hole(start, size) = run { Some((*start, *size)) } else { None })
        };
        if H::COMPLETE && holes().any(|(start, length)| fits(start, length)) {
            return Err("a hole would hold it".into());
        }
        // The shadow knows nothing of maps, so it may find room where one lies; never less than the walk finds.
        if holes().any(|(start, length)| fits(start, length)) && !space.has_room(size as u64, 1, 1) {
            return Err("the walk shows a hole where blocks live".into());
        }
        Ok(())
    }

    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        Some(unsafe { self.0.add_region(region) })
    }

    unsafe fn extend(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        let end = old.cast::<u8>().addr().get() + old.len();
        let new_end = new.cast::<u8>().addr().get() + new.len();
        // The heap knows the region by its last whole granule; it grows at the end only.
        let from = end / H::GRANULE * H::GRANULE;
        if new_end <= end || new.cast::<u8>() != old.cast::<u8>() {
            return None;
        }
        let start = new.cast::<u8>();
        // SAFETY: inside the new region.
        let memory = unsafe { start.add(from - start.addr().get()) };
        let memory = NonNull::slice_from_raw_parts(memory, new_end - from);
        // SAFETY: the caller's promise; the arena is one allocation.
        Some(unsafe { self.0.lengthen(memory) })
    }

    unsafe fn truncate(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        if new.cast::<u8>() != old.cast::<u8>() || new.len() >= old.len() {
            return None;
        }
        // SAFETY: inside the old region.
        let from = unsafe { new.cast::<u8>().add(new.len()) };
        // The granule that the cut goes through stays with the heap; so the cut must be at a boundary.
        if from.addr().get() % H::GRANULE != 0 {
            return None;
        }
        Some(self.0.shorten(from).map(|taken| {
            assert_eq!(taken.cast::<u8>(), from);
            assert!(taken.len() <= old.len() - new.len());
        }))
    }

    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: inside the region.
        let inside = unsafe { region.cast::<u8>().add(region.len() / 2) };
        Some(self.0.drop_region(inside).map(|taken| assert!(taken.len() <= region.len())))
    }
}
