//! The heap of every policy against the shadow model. The properties:
//!
//! * blocks are aligned, inside the regions, apart, and keep their bytes; zeroed ones are zero;
//! * nothing outside the regions is written, nor in memory that was removed;
//! * the holes are exactly what is not live, and the figures count them;
//! * only what fits no hole is refused;
//! * when everything is freed, each region is one hole again;
//! * whatever is free already is refused when it is freed, wholly or in part, and nothing is changed.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, RegionError, RegionHeap, Violation,
};
use hectare_fit::PolicyHeap;
use hectare_fit::heap::Run;
use hectare_fit::policy::{BestFit, FirstFit, HalfFit, LastFit, NextFit, WorstFit};
use hectare_fit::policy_heap::Placement;
use hectare_testkit::arena::Arena;
use hectare_testkit::drive::{HeapModel, HeapUnderTest, Space, drive};
use hectare_testkit::op::heap::{Shape as OpShape, strategy};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug)]
struct Tested<P: Placement, const N: usize>(PolicyHeap<P, N>);

// SAFETY: every call goes to the heap inside.
unsafe impl<P: Placement, const N: usize> ByteAllocator for Tested<P, N> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.allocate(layout)
    }
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.deallocate(block, layout) }?;
        let before = self.0.usage();
        // SAFETY: none is given: what is free already is promised to be refused.
        let again = unsafe { self.0.deallocate(block, layout) };
        assert_eq!((again, self.0.usage()), (Err(FreeError::NotAllocated), before), "a second free");
        Ok(())
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

impl<P: Placement, const N: usize> Tested<P, N> {
    fn holes(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> {
        self.0
            .runs()
            .filter_map(|run| if let Run::Hole(start, size) = run { Some((start, size)) } else { None })
    }
}

// SAFETY: the heaps promise it; this test watches them.
unsafe impl<P: Placement, const N: usize> HeapUnderTest for Tested<P, N> {
    fn check(&self) -> Result<(), Violation> {
        self.0.check_invariants()?;
        let (usage, figures) = (self.0.usage(), self.0.fragmentation());
        let (sum, count) = self.holes().fold((0, 0), |(sum, count), hole| (sum + hole.1 as u64, count + 1));
        let agree = (sum, count) == (figures.free, figures.holes) && usage.free == figures.free;
        Violation::unless(agree, "the walk and the figures agree", figures.free)?;
        let largest = self.0.largest_free() as u64 == figures.largest;
        Violation::unless(largest, "the largest hole is exact", figures.largest)?;
        Violation::unless(usage.peak_allocated >= usage.allocated, "the peak is the highest", usage.allocated)
    }

    fn check_empty(&self) -> Result<(), String> {
        let used = self.0.runs().count() - self.holes().count();
        match (self.0.usage().allocated, self.holes().count() == used) {
            (0, true) => Ok(()),
            (allocated, _) => Err(format!("{allocated} bytes allocated, {} holes", self.holes().count())),
        }
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        if error == AllocError::NotInPlace {
            return Err("`NotInPlace` from an operation that may move".into());
        }
        let mut granules = layout.size().max(1).div_ceil(16);
        if P::NAME == HalfFit::NAME_OF {
            granules = granules.next_power_of_two();
        }
        let fits = |(start, length): (NonNull<u8>, usize)| {
            let padding = start.addr().get().wrapping_neg() & (layout.align() - 1);
            padding + granules * 16 <= length
        };
        if self.holes().any(fits) {
            return Err("a hole would hold it".into());
        }
        if self.holes().any(|(_, length)| length >= layout.size().max(1))
            && !space.has_room(layout.size() as u64, 1, 1)
        {
            return Err("the walk shows a hole where blocks live".into());
        }
        Ok(())
    }

    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        Some(unsafe { self.0.add_region(region) })
    }

    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: inside the region.
        let inside = unsafe { region.cast::<u8>().add(region.len() / 2) };
        Some(self.0.remove_region(inside).map(|taken| assert!(taken.len() <= region.len())))
    }
}

/// The policy's name as a constant of its own, so that a test can compare with it.
trait NameOf {
    const NAME_OF: &'static str;
}

impl NameOf for HalfFit {
    const NAME_OF: &'static str = <Self as hectare_fit::policy::Policy>::NAME;
}

const OPS: usize = if cfg!(miri) { 40 } else { 500 };
const ARENA: u32 = if cfg!(miri) { 0x800 } else { 0x1_0000 };
/// Operations between two looks at everything.
const EVERY: usize = if cfg!(miri) { 16 } else { 4 };

fn model<P: Placement, const N: usize>() -> HeapModel<Tested<P, N>> {
    let mut arena = Arena::new(ARENA as usize, 64);
    arena.give(3..arena.size() / 2);
    HeapModel::new(Tested(PolicyHeap::EMPTY), arena)
}

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
    ($($name:ident: $policy:ty, $regions:literal;)*) => {
        proptest! {
            #![proptest_config(cases(200))]
            $(
                #[test]
                fn $name(ops in ops()) {
                    drive(&mut model::<$policy, $regions>(), ops, EVERY).unwrap();
                }
            )*
        }

        /// The fuzz target's seeds, and what it once found, against every policy.
        #[test]
        #[cfg_attr(miri, ignore)]
        fn fuzz_corpus() {
            for (name, bytes) in hectare_testkit::fuzz::corpus("heap") {
                println!("{name}");
                $(hectare_testkit::fuzz::heap(Tested::<$policy, $regions>(PolicyHeap::EMPTY), &bytes);)*
            }
        }
    };
}
heaps! {
    best: BestFit, 3;
    worst: WorstFit, 3;
    first: FirstFit, 3;
    next: NextFit, 3;
    last: LastFit, 3;
    half: HalfFit, 3;
    best_single: BestFit, 1;
    first_single: FirstFit, 1;
    next_single: NextFit, 1;
}
