//! Every heap of the crate against the shadow model. The properties:
//!
//! * blocks are aligned, inside the regions, apart, and keep their bytes; zeroed ones are zero;
//! * nothing outside the regions is written, nor in memory that was truncated or removed;
//! * the holes are exactly what is not live (the sums agree after every few operations), and no two touch;
//! * a complete heap refuses only what fits no hole;
//! * when everything is freed, everything is free again, in one hole for each side of a region's map;
//! * bad frees that the mode promises to detect are refused and change nothing.

extern crate alloc;

#[path = "driven/heap.rs"]
mod driven;

use alloc::collections::BTreeMap;
use core::alloc::Layout;

use driven::{Regions, Tested};
use hectare_core::{ByteAllocator, CheckInvariants, Figures, FreeError, RegionHeap};
use hectare_fit::heap::{Bounded, Complete, GoodFit, Hardened, QuickLists, Small, Standard};
use hectare_testkit::arena::Arena;
use hectare_testkit::drive::{HeapModel, drive};
use hectare_testkit::op::heap::{Shape as OpShape, strategy};
use proptest::collection::vec;
use proptest::prelude::*;

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
