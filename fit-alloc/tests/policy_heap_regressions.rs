//! Faults found in other heaps, each as a test that the heaps of policies do not have it; regions; broken memory.
//!
//! | found in | fault | test |
//! |---|---|---|
//! | rlsf 0.2.3 | in a full heap, a freed block is not found by a request of its own size | `a_freed_block_serves_its_own_size_again` |
//! | rlsf 0.2.3, dlmalloc 0.2.14, talc 5.0.4 | an over-aligned request is refused although a hole has a place for it | `an_aligned_place_is_found_wherever_it_is` |
//! | talc 5.0.4 | a write to freed memory breaks the lists, and the heap hands out what is allocated | `broken_holes_never_give_away_live_blocks` |
//! | mattconte/tlsf 3.1 | a reallocated block loses its alignment | `a_reallocated_block_keeps_its_alignment` |
//! | several | a bad region is undefined behaviour | `bad_regions_are_refused` |
//! | several | a free of a part of free memory goes unnoticed | `what_is_free_already_is_refused` |
//! | several | a layout near `isize::MAX` wraps | `the_largest_layouts_are_refused` |

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test of heaps over raw memory"
)]

#[path = "range_oracle/random.rs"]
mod random;

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, Heap, RegionError, RegionHeap, SpinLock,
};
use hectare_fit::PolicyHeap;
use hectare_fit::heap::Run;
use hectare_fit::policy::{BestFit, FirstFit, HalfFit, LastFit, NextFit, WorstFit};
use hectare_fit::policy_heap::Placement;
use hectare_testkit::arena::Arena;
use random::Random;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn with<P: Placement, const N: usize>(size: usize) -> (Arena, NonNull<[u8]>, PolicyHeap<P, N>) {
    let (arena, region) = Arena::with_region(size, 4096, 0);
    let mut heap = PolicyHeap::new();
    // SAFETY: the arena is kept by the caller.
    unsafe { heap.add_region(region) }.unwrap();
    (arena, region, heap)
}

fn fill<P: Placement, const N: usize>(heap: &mut PolicyHeap<P, N>, layout: Layout) -> Vec<NonNull<u8>> {
    core::iter::from_fn(|| heap.allocate(layout).ok()).collect()
}

fn free<P: Placement, const N: usize>(heap: &mut PolicyHeap<P, N>, block: NonNull<u8>, layout: Layout) {
    // SAFETY: the tests free what they allocated, once.
    unsafe { heap.deallocate(block, layout) }.unwrap();
}

macro_rules! for_policies {
    ($($test:ident;)*) => {$(
        #[test]
        fn $test() {
            generic::$test::<BestFit>();
            generic::$test::<WorstFit>();
            generic::$test::<FirstFit>();
            generic::$test::<NextFit>();
            generic::$test::<LastFit>();
            generic::$test::<HalfFit>();
        }
    )*};
}
for_policies! {
    a_freed_block_serves_its_own_size_again;
    an_aligned_place_is_found_wherever_it_is;
    broken_holes_never_give_away_live_blocks;
    a_reallocated_block_keeps_its_alignment;
    bad_regions_are_refused;
    what_is_free_already_is_refused;
    the_largest_layouts_are_refused;
    a_block_costs_its_granules;
    it_works_as_a_static_behind_a_lock;
}

mod generic {
    use super::*;

    pub(super) fn a_freed_block_serves_its_own_size_again<P: Placement>() {
        for size in (1..60).map(|n| n * 56).step_by(if cfg!(miri) { 20 } else { 1 }) {
            let (_arena, _, mut heap) = with::<P, 1>(if cfg!(miri) { 0x4000 } else { 0x2_0000 });
            let wanted = layout(size, 8);
            let block = heap.allocate(wanted).unwrap();
            fill(&mut heap, layout(640, 8));
            fill(&mut heap, layout(1, 1));
            free(&mut heap, block, wanted);
            assert_eq!(heap.allocate(wanted), Ok(block), "{}, size {size}", P::NAME);
            heap.check_invariants().unwrap();
        }
    }

    pub(super) fn an_aligned_place_is_found_wherever_it_is<P: Placement>() {
        let (_arena, _, mut heap) = with::<P, 1>(if cfg!(miri) { 0x8000 } else { 0x5_0000 });
        let page = layout(4096, 4096);
        let pages = fill(&mut heap, page);
        fill(&mut heap, layout(16, 16));
        for block in pages.iter().step_by(2) {
            free(&mut heap, *block, page);
        }
        for _ in pages.iter().step_by(2) {
            let block = heap.allocate(layout(64, 4096)).unwrap();
            assert_eq!(block.addr().get() % 4096, 0);
        }
        assert_eq!(heap.allocate(layout(64, 4096)), Err(AllocError::Fragmented));
        heap.check_invariants().unwrap();
    }

    /// Holes are overwritten with anything at any time: no panic, no endless loop, and nothing that is live is handed
    /// out again or written to.
    pub(super) fn broken_holes_never_give_away_live_blocks<P: Placement>() {
        for seed in 0..if cfg!(miri) { 2 } else { 60 } {
            let mut random = Random::new(seed);
            let (arena, _, mut heap) = with::<P, 1>(if cfg!(miri) { 0x1000 } else { 0x8000 });
            let mut live: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
            for step in 0..if cfg!(miri) { 60 } else { 600 } {
                match random.below(10) {
                    0..=4 => {
                        let wanted = layout(random.below(700) as usize, 1 << random.below(8));
                        if let Ok(block) = heap.allocate(wanted) {
                            let low = block.addr().get();
                            let apart = |other: &(NonNull<u8>, Layout, u8)| {
                                let start = other.0.addr().get();
                                start + other.1.size().max(1) <= low || low + wanted.size().max(1) <= start
                            };
                            assert!(live.iter().all(apart), "{} at step {step} of {seed}", P::NAME);
                            assert!(arena.contains(low, wanted.size().max(1)));
                            // SAFETY: the block is the test's.
                            unsafe { block.write_bytes(step as u8, wanted.size()) };
                            live.push((block, wanted, step as u8));
                        }
                    }
                    5..=8 if !live.is_empty() => {
                        let (block, was, fill) = live.swap_remove(random.below(live.len() as u64) as usize);
                        for at in 0..was.size() {
                            // SAFETY: inside a live block.
                            let byte = unsafe { block.add(at) };
                            // SAFETY: the block was filled.
                            let byte = unsafe { byte.read() };
                            assert_eq!(byte, fill, "{} at step {step} of {seed}", P::NAME);
                        }
                        free(&mut heap, block, was);
                    }
                    _ => {
                        // The stray write: words that are plausible numbers as often as not.
                        let holes: Vec<_> = heap.runs().collect();
                        for run in holes {
                            let Run::Hole(start, size) = run else { continue };
                            let word = random.below(size as u64 / 4) as usize;
                            let value =
                                if random.below(2) == 0 { random.next() } else { random.below(2_100) };
                            // SAFETY: inside a hole of the arena, which the heap does not use while this runs.
                            let at = unsafe { start.cast::<u32>().add(word) };
                            // SAFETY: as above.
                            unsafe { at.write(value as u32) };
                        }
                    }
                }
            }
        }
    }

    pub(super) fn a_reallocated_block_keeps_its_alignment<P: Placement>() {
        let (_arena, _, mut heap) = with::<P, 1>(0x8000);
        let first = heap.allocate(layout(100, 1024)).unwrap();
        let _barrier = heap.allocate(layout(16, 16)).unwrap();
        // SAFETY: live.
        let moved = unsafe { heap.reallocate(first, layout(100, 1024), 3000) }.unwrap();
        assert_eq!(moved.addr().get() % 1024, 0);
        heap.check_invariants().unwrap();
    }

    pub(super) fn bad_regions_are_refused<P: Placement>() {
        let mut arena = Arena::new(0x4000, 64);
        let mut heap = PolicyHeap::<P, 2>::new();
        assert_eq!(heap.allocate(layout(1, 1)), Err(AllocError::TooLarge));
        let region = arena.give(0..0x1000);
        let part = |from: usize, length: usize| {
            // SAFETY: inside the arena.
            let start = unsafe { region.cast::<u8>().add(from) };
            NonNull::slice_from_raw_parts(start, length)
        };
        // SAFETY: refused, whatever they are.
        let mut refused = |memory| unsafe { heap.add_region(memory) }.unwrap_err();
        assert_eq!(refused(part(0, 0)), RegionError::TooSmall);
        assert_eq!(refused(part(1, 20)), RegionError::TooSmall);
        assert_eq!(refused(part(0, 16)), RegionError::TooSmall);
        assert_eq!(refused(part(0, isize::MAX as usize + 1)), RegionError::BadRange);
        #[cfg(target_pointer_width = "64")]
        assert_eq!(refused(part(0, 1 << 40)), RegionError::TooLarge);
        // SAFETY: the arena's region.
        unsafe { heap.add_region(region) }.unwrap();
        // SAFETY: refused.
        let mut refused = |memory| unsafe { heap.add_region(memory) }.unwrap_err();
        assert_eq!(refused(part(0, 0x1000)), RegionError::Overlap);
        assert_eq!(refused(part(0xf00, 0x400)), RegionError::Overlap);
        for start in [0x1000, 0x2000] {
            let more = arena.give(start..start + 0x800);
            // SAFETY: the arena's region.
            let added = unsafe { heap.add_region(more) };
            assert_eq!(added, if start == 0x1000 { Ok(()) } else { Err(RegionError::TableFull) });
        }
        let block = heap.allocate(layout(1, 1)).unwrap();
        assert_eq!(heap.remove_region(block), Err(RegionError::InUse));
        free(&mut heap, block, layout(1, 1));
        assert!(heap.remove_region(block).is_ok());
        assert_eq!(heap.remove_region(block), Err(RegionError::Unknown));
        heap.check_invariants().unwrap();
    }

    pub(super) fn what_is_free_already_is_refused<P: Placement>() {
        let (_arena, region, mut heap) = with::<P, 2>(0x1000);
        let size = layout(64, 16);
        let mut blocks = [(); 5].map(|()| heap.allocate(size).unwrap());
        blocks.sort_unstable();
        free(&mut heap, blocks[1], size);
        free(&mut heap, blocks[3], size);
        let before = heap.usage();
        let mut refused = |block: NonNull<u8>, layout| {
            // SAFETY: refused.
            unsafe { heap.deallocate(block, layout) }.unwrap_err()
        };
        // SAFETY: inside the arena.
        let inside = |block: NonNull<u8>, by: usize| unsafe { block.add(by) };
        assert_eq!(refused(blocks[1], size), FreeError::NotAllocated);
        assert_eq!(refused(inside(blocks[1], 16), layout(16, 16)), FreeError::NotAllocated);
        assert_eq!(refused(blocks[0], layout(128, 16)), FreeError::WrongSize);
        assert_eq!(refused(blocks[2], layout(256, 16)), FreeError::WrongSize);
        assert_eq!(refused(inside(blocks[2], 8), size), FreeError::Misaligned);
        assert_eq!(refused(region.cast(), size), FreeError::Foreign);
        assert_eq!(refused(NonNull::<u128>::dangling().cast(), size), FreeError::Foreign);
        assert_eq!(refused(blocks[4], layout(0x2000, 16)), FreeError::WrongSize);
        assert_eq!(heap.usage(), before);
        heap.check_invariants().unwrap();
    }

    pub(super) fn the_largest_layouts_are_refused<P: Placement>() {
        let (_arena, _, mut heap) = with::<P, 1>(0x1000);
        let most = isize::MAX as usize;
        for (size, align) in [(most, 1), (most - 4095, 4096), (1, 1 << (usize::BITS - 2)), (most / 2, 16)] {
            heap.allocate(layout(size, align)).unwrap_err();
        }
        let block = heap.allocate(layout(64, 16)).unwrap();
        // SAFETY: live.
        let grown = unsafe { heap.resize_in_place(block, layout(64, 16), most - 15) };
        assert_eq!(grown, Err(AllocError::NotInPlace));
        heap.check_invariants().unwrap();
    }

    pub(super) fn a_block_costs_its_granules<P: Placement>() {
        let (_arena, _, mut heap) = with::<P, 1>(0x10_0000);
        for (size, granules) in [(0, 1_u64), (1, 1), (16, 1), (17, 2), (64, 4), (100, 7)] {
            let before = heap.usage().allocated;
            heap.allocate(layout(size, 1)).unwrap();
            let half = P::NAME == <HalfFit as hectare_fit::policy::Policy>::NAME;
            let granules = if half { granules.next_power_of_two() } else { granules };
            assert_eq!(heap.usage().allocated - before, 16 * granules);
        }
        // 1/128 and at most 1/240 of the region, and the ends of the levels.
        let metadata = heap.usage().metadata_bytes;
        assert!(metadata <= 0x10_0000 / 128 + 0x10_0000 / 240 + 256, "{metadata}");
    }

    pub(super) fn it_works_as_a_static_behind_a_lock<P: Placement>() {
        let (_arena, region) = Arena::with_region(0x1000, 64, 0);
        let heap = Heap::<SpinLock, PolicyHeap<P>>::empty();
        // SAFETY: the arena's region.
        unsafe { heap.init_ptr(region.cast(), region.len()) }.unwrap();
        let size = layout(100, 8);
        let block = heap.allocate_block(size).unwrap();
        // SAFETY: live.
        unsafe { heap.free_block(block, size) }.unwrap();
        // SAFETY: refused.
        unsafe { heap.free_block(block, size) }.unwrap_err();
        assert_eq!((heap.used(), heap.bad_frees()), (0, 1));
    }
}
