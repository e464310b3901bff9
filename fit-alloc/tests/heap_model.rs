//! Every heap of the crate against the shadow model. The properties:
//!
//! * blocks are aligned, inside the regions, apart, and keep their bytes; zeroed ones are zero;
//! * nothing outside the regions is written, nor in memory that was truncated or removed;
//! * the holes are exactly what is not live (the sums agree after every few operations), and no two touch;
//! * a complete heap refuses only what fits no hole;
//! * when everything is freed, everything is free again, in one hole for each side of a region's map;
//! * bad frees that the mode promises to detect are refused and change nothing.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, RegionError, RegionHeap, Violation,
};
use hectare_fit::heap::{
    Bounded, Complete, GoodFit, Hardened, Mode, QuickLists, Run, Shape, Small, Standard,
};
use hectare_testkit::arena::Arena;
use hectare_testkit::drive::{HeapModel, HeapUnderTest, Space, drive};
use hectare_testkit::op::heap::{Shape as OpShape, strategy};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the two families of heaps have in common beside their traits.
trait Regions: RegionHeap + CheckInvariants + Figures {
    const GRANULE: usize;
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
struct Tested<H>(H);

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

fn model<H: Regions>(arena: usize) -> HeapModel<Tested<H>> {
    let mut arena = Arena::new(arena, 64);
    arena.give(3..arena.size() / 2);
    HeapModel::new(Tested(H::EMPTY), arena)
}

const OPS: usize = if cfg!(miri) { 40 } else { 500 };
const ARENA: u32 = if cfg!(miri) { 0x800 } else { 0x1_0000 };
/// Operations between two looks at everything.
const EVERY: usize = if cfg!(miri) { 16 } else { 4 };

fn cases(native: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(if cfg!(miri) { 1 } else { native });
    config.failure_persistence = None;
    config
}

fn ops() -> impl Strategy<Value = Vec<hectare_testkit::op::HeapOp>> {
    let large = if cfg!(miri) { 8 } else { 13 };
    let shape = OpShape { slots: 60, max_size_log2: large, max_align_log2: 9, arena: ARENA };
    let small = OpShape { slots: 200, max_size_log2: 6, max_align_log2: 5, arena: 0 };
    prop_oneof![vec(strategy(shape), 0..OPS), vec(strategy(small), 0..OPS)]
}

macro_rules! heaps {
    ($($name:ident: $heap:ty;)*) => {
        proptest! {
            #![proptest_config(cases(200))]
            $(
                #[test]
                fn $name(ops in ops()) {
                    drive(&mut model::<$heap>(ARENA as usize), ops, EVERY).unwrap();
                }
            )*
        }

        /// The fuzz target's seeds, and what it once found, against every heap.
        #[test]
        #[cfg_attr(miri, ignore)]
        fn fuzz_corpus() {
            for (name, bytes) in hectare_testkit::fuzz::corpus("heap") {
                println!("{name}");
                $(hectare_testkit::fuzz::heap(Tested(<$heap>::EMPTY), &bytes);)*
            }
        }
    };
}
heaps! {
    standard_complete: GoodFit<Standard, 3, Complete>;
    standard_bounded: GoodFit<Standard, 3, Bounded>;
    standard_hardened: GoodFit<Standard, 3, Hardened>;
    standard_single: GoodFit<Standard, 1, Complete>;
    small_complete: GoodFit<Small, 3, Complete>;
    small_hardened: GoodFit<Small, 2, Hardened>;
    quick_standard: QuickLists<Standard, 3>;
    quick_small: QuickLists<Small, 1>;
}

proptest! {
    #![proptest_config(cases(200))]

    /// Any pointer into the region and any size: a hardened heap takes back exactly its live blocks.
    #[test]
    fn hardened_refuses_every_bad_free(
        sizes in vec(1usize..300, 1..20),
        frees in vec((0usize..0x1000, 1usize..300), 0..OPS),
    ) {
        let (arena, region) = Arena::with_region(0x1000, 16, 0);
        let mut heap = hectare_fit::HardenedHeap::<1>::new();
        // SAFETY: the arena outlives the heap's use.
        unsafe { heap.add_region(region) }.unwrap();
        let mut live = BTreeMap::new();
        for size in sizes {
            if let Ok(block) = heap.allocate(Layout::from_size_align(size, 8).unwrap()) {
                live.insert(block.addr().get() - region.cast::<u8>().addr().get(), size.div_ceil(16));
            }
        }
        for (offset, size) in frees {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: inside the arena.
            let pointer = unsafe { region.cast::<u8>().add(offset) };
            let before = heap.usage();
            // SAFETY: none is given: the mode promises to refuse what is no live block of this size.
            let freed = unsafe { heap.deallocate(pointer, layout) };
            if live.get(&offset) == Some(&size.div_ceil(16)) {
                prop_assert_eq!(freed, Ok(()));
                live.remove(&offset);
            } else {
                let expected = if offset % 16 != 0 {
                    FreeError::Misaligned
                } else if live.contains_key(&offset) || offset + size.div_ceil(16) * 16 > 0x1000 {
                    FreeError::WrongSize
                } else {
                    FreeError::NotAllocated
                };
                prop_assert_eq!(freed, Err(expected), "offset {}, size {}", offset, size);
                prop_assert_eq!(heap.usage(), before);
            }
            heap.check_invariants().unwrap();
        }
        prop_assert_eq!(heap.blocks().count(), live.len());
        arena.check().unwrap();
    }
}
