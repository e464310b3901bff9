//! Faults found in other heaps, each as a test that these do not have it, and the figures and regions by hand.
//!
//! | found in | fault | test |
//! |---|---|---|
//! | talc 5.0.4 | (64, align 1024) is refused while a hole of 512 bytes begins at a multiple of 1024 | `a_hole_at_an_aligned_address_is_found` |
//! | rlsf 0.2.3, other TLSF heaps | in a full heap, a freed block is not found by a request of its own size: 58 of 59 sizes | `a_freed_block_serves_its_own_size_again` |
//! | rlsf 0.2.3, dlmalloc 0.2.14 | (64, align 4096) is refused with many holes of 4 KiB | `holes_of_a_page_serve_small_page_aligned_requests` |
//! | `linked_list_allocator` 0.10.6 | a hole that would leave less than two words is refused | `a_rest_of_one_granule_is_no_reason_to_refuse` |
//! | talc 5.0.4 | pointer arithmetic with a layout near `isize::MAX` may wrap | `the_largest_layouts_are_refused` |
//! | talc 5.0.4, rlsf 0.2.3 | a block of 16 bytes costs 32 | `a_block_costs_its_size_in_granules` |
//! | mattconte/tlsf 3.1 | a reallocated block loses its alignment | `a_reallocated_block_keeps_its_alignment` |
//! | embedded-alloc 0.7.0 | a second initialisation panics | `a_second_initialisation_is_refused` |
//! | several | a bad region is undefined behaviour | `bad_regions_are_refused`, `a_region_at_null_is_refused` |
//! | `linked_list_allocator` 0.10.6, embedded-alloc 0.7.0 | one region only, which cannot shrink | `a_region_is_extended_truncated_and_removed` |
//! | this crate, before its release | a bounded heap did not look at the block freed last when a smaller one was asked for | `a_rest_of_one_granule_is_no_reason_to_refuse` |
//! | this crate, before its release | a hardened heap took its own map, moved by an extension, for a part of the block before it | `a_map_behind_a_block_is_no_part_of_it` |
//! | talc 5.0.3 | a source of memory is asked without end | `a_source_adds_a_region_and_is_asked_at_most_twice` |

#![allow(unsafe_code, clippy::unwrap_used, reason = "a test of heaps over raw memory")]

extern crate alloc;

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::sync::Mutex;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, Growing, RegionError, RegionHeap, Source,
};
use hectare_fit::heap::{BoundedHeap, FitHeap, HardenedHeap, Heap, Run, SmallHeap, StrictHeap};

/// Every heap's memory, kept for ever.
static MEMORY: Mutex<Vec<Vec<Page>>> = Mutex::new(Vec::new());

#[repr(align(4096))]
struct Page(#[allow(dead_code, reason = "memory only")] [MaybeUninit<u8>; 4096]);

/// `pages` pages for a heap.
fn memory(pages: usize) -> NonNull<[u8]> {
    let mut memory = Vec::<Page>::with_capacity(pages);
    let start = NonNull::new(memory.as_mut_ptr()).unwrap().cast();
    MEMORY.lock().unwrap().push(memory);
    NonNull::slice_from_raw_parts(start, pages * 4096)
}

/// The bytes `[from, to)` of a region.
fn part(region: NonNull<[u8]>, from: usize, to: usize) -> NonNull<[u8]> {
    assert!(from <= to && to <= region.len());
    // SAFETY: inside the region.
    let start = unsafe { region.cast::<u8>().add(from) };
    NonNull::slice_from_raw_parts(start, to - from)
}

/// Gives a heap memory that is nobody else's.
fn feed<H: RegionHeap>(heap: &mut H, region: NonNull<[u8]>) -> Result<(), RegionError> {
    // SAFETY: the memory is kept, and each test gives each part of it to one heap.
    unsafe { heap.add_region(region) }
}

fn with<H: RegionHeap>(pages: usize) -> H {
    let mut heap = H::EMPTY;
    feed(&mut heap, memory(pages)).unwrap();
    heap
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Frees a block that a test has from the heap.
fn free<H: ByteAllocator>(heap: &mut H, block: NonNull<u8>, layout: Layout) {
    // SAFETY: the tests free what they allocated, once.
    unsafe { heap.deallocate(block, layout) }.unwrap();
}

/// Fills a heap with blocks of one layout.
fn fill<H: ByteAllocator>(heap: &mut H, layout: Layout) -> Vec<NonNull<u8>> {
    core::iter::from_fn(|| heap.allocate(layout).ok()).collect()
}

macro_rules! for_heaps {
    ($($test:ident: $($heap:ty),*;)*) => {$(
        #[test]
        fn $test() {
            $(generic::$test::<$heap>();)*
        }
    )*};
}
for_heaps! {
    a_hole_at_an_aligned_address_is_found: FitHeap, StrictHeap, HardenedHeap;
    a_freed_block_serves_its_own_size_again: FitHeap, StrictHeap, BoundedHeap, HardenedHeap, SmallHeap;
    holes_of_a_page_serve_small_page_aligned_requests: FitHeap, StrictHeap, BoundedHeap, HardenedHeap;
    a_rest_of_one_granule_is_no_reason_to_refuse: FitHeap, StrictHeap, BoundedHeap, HardenedHeap, SmallHeap;
    the_largest_layouts_are_refused: FitHeap, StrictHeap, BoundedHeap, HardenedHeap, SmallHeap;
    a_reallocated_block_keeps_its_alignment: FitHeap, StrictHeap, BoundedHeap, HardenedHeap, SmallHeap;
    bad_regions_are_refused: FitHeap<2>, StrictHeap<2>, BoundedHeap<2>, HardenedHeap<2>, SmallHeap<2>;
}

mod generic {
    use super::*;

    pub(super) fn a_hole_at_an_aligned_address_is_found<H: RegionHeap + CheckInvariants>() {
        let mut heap = with::<H>(4);
        let half = layout(512, 8);
        let blocks = fill(&mut heap, half);
        // What is left where the blocks do not fit: taken too, so that the hole is the only one.
        fill(&mut heap, layout(1, 1));
        let at = *blocks.iter().find(|block| block.addr().get() % 1024 == 0).unwrap_or(&blocks[0]);
        if at.addr().get() % 1024 != 0 {
            // The map moved the blocks off the multiples: two neighbours hold one.
            let next = blocks.iter().position(|block| block.addr().get() % 1024 > 512).unwrap();
            free(&mut heap, blocks[next], half);
            free(&mut heap, blocks[next + 1], half);
        } else {
            free(&mut heap, at, half);
        }
        let block = heap.allocate(layout(64, 1024)).unwrap();
        assert_eq!(block.addr().get() % 1024, 0);
        heap.check_invariants().unwrap();
    }

    pub(super) fn a_freed_block_serves_its_own_size_again<H: RegionHeap + CheckInvariants>() {
        let sizes = (1..60usize).map(|n| n * 56);
        for size in sizes.step_by(if cfg!(miri) { 12 } else { 1 }) {
            let mut heap = with::<H>(if cfg!(miri) { 4 } else { 32 });
            let wanted = layout(size, 8);
            let block = heap.allocate(wanted).unwrap();
            fill(&mut heap, layout(640, 8));
            fill(&mut heap, layout(1, 1));
            free(&mut heap, block, wanted);
            assert_eq!(heap.allocate(wanted), Ok(block), "size {size}");
            heap.check_invariants().unwrap();
        }
    }

    pub(super) fn holes_of_a_page_serve_small_page_aligned_requests<H: RegionHeap>() {
        let mut heap = with::<H>(if cfg!(miri) { 8 } else { 80 });
        let page = layout(4096, 4096);
        let pages = fill(&mut heap, page);
        fill(&mut heap, layout(64, 8));
        // Every second page, so that no two join.
        for block in pages.iter().step_by(2) {
            free(&mut heap, *block, page);
        }
        let wanted = layout(64, 4096);
        for _ in pages.iter().step_by(2) {
            assert_eq!(heap.allocate(wanted).map(|block| block.addr().get() % 4096), Ok(0));
        }
        heap.allocate(wanted).unwrap_err();
    }

    pub(super) fn a_rest_of_one_granule_is_no_reason_to_refuse<H: RegionHeap + CheckInvariants>() {
        let mut heap = with::<H>(2);
        let large = layout(256, 8);
        let block = heap.allocate(large).unwrap();
        fill(&mut heap, layout(16, 8));
        fill(&mut heap, layout(1, 1));
        free(&mut heap, block, large);
        let smaller = heap.allocate(layout(240, 8)).unwrap();
        assert_eq!(smaller, block);
        let rest = heap.allocate(layout(16, 8)).unwrap();
        assert_eq!(rest.addr().get(), block.addr().get() + 240);
        heap.check_invariants().unwrap();
    }

    pub(super) fn the_largest_layouts_are_refused<H: RegionHeap + CheckInvariants + Figures>() {
        let mut heap = with::<H>(2);
        let before = heap.usage().allocated;
        let max = isize::MAX as usize;
        for align in [1, 2, 16, 64, 4096, 1 << 20, (max >> 1) + 1] {
            for size in [max - (align - 1), max / 2 - (align / 2), max / 4, 0x1_0000] {
                let huge = layout(size, align);
                assert_eq!(heap.allocate(huge), Err(AllocError::TooLarge), "{huge:?}");
            }
        }
        // The alignment alone is beyond every address of the heap.
        heap.allocate(layout(1, (max >> 1) + 1)).unwrap_err();
        let small = layout(24, 8);
        let block = heap.allocate(small).unwrap();
        // SAFETY: a live block, and sizes that a layout may have.
        let grown = unsafe { heap.resize_in_place(block, small, max - 7) };
        assert_eq!(grown, Err(AllocError::NotInPlace));
        // SAFETY: as above.
        let moved = unsafe { heap.reallocate(block, small, max - 7) };
        assert_eq!(moved, Err(AllocError::TooLarge));
        free(&mut heap, block, small);
        heap.check_invariants().unwrap();
        assert!(heap.usage().allocated - before <= 32, "only a quick list may hold the block");
    }

    pub(super) fn a_reallocated_block_keeps_its_alignment<H: RegionHeap + CheckInvariants>() {
        let mut heap = with::<H>(8);
        let mut now = layout(100, 256);
        let mut block = heap.allocate(now).unwrap();
        for size in [300_usize, 5000, 40, 9000] {
            // In the way of growth in place.
            let _ = heap.allocate(layout(40, 8)).unwrap();
            // SAFETY: a live block of 40 bytes or more.
            unsafe { block.write_bytes(size.to_le_bytes()[0], 40) };
            // SAFETY: a live block of this layout.
            block = unsafe { heap.reallocate(block, now, size) }.unwrap();
            now = layout(size, 256);
            assert_eq!(block.addr().get() % 256, 0, "size {size}");
            // SAFETY: the bytes that were written and kept.
            let kept = unsafe { NonNull::slice_from_raw_parts(block, 40).as_ref() };
            assert!(kept.iter().all(|byte| *byte == size.to_le_bytes()[0]));
            heap.check_invariants().unwrap();
        }
    }

    pub(super) fn bad_regions_are_refused<H: RegionHeap + Figures>() {
        let mut heap = H::EMPTY;
        let region = memory(4);
        // One granule, less than one, nothing: no room for a map and a block.
        for size in [0, 1, 8] {
            assert_eq!(feed(&mut heap, part(region, 0, size)), Err(RegionError::TooSmall), "size {size}");
        }
        // Only a part of a granule is left after alignment.
        assert_eq!(feed(&mut heap, part(region, 1, 16)), Err(RegionError::TooSmall));
        // Wrapping, and longer than any object: refused by the numbers alone, nothing is touched.
        let start = region.cast::<u8>();
        for size in [usize::MAX, usize::MAX - start.addr().get() + 1, isize::MAX as usize + 1] {
            let wrapping = NonNull::slice_from_raw_parts(start, size);
            assert_eq!(feed(&mut heap, wrapping), Err(RegionError::BadRange), "size {size:#x}");
        }
        assert_eq!(heap.usage().capacity, 0);
        assert_eq!(heap.allocate(layout(1, 1)), Err(AllocError::TooLarge));

        // A misaligned one is taken from its first granule on.
        feed(&mut heap, part(region, 4097, 8191)).unwrap();
        let before = heap.usage();
        for (from, to) in [(4097, 8191), (0, 4200), (8000, 9000), (5000, 6000), (0, 16384)] {
            assert_eq!(feed(&mut heap, part(region, from, to)), Err(RegionError::Overlap), "{from}..{to}");
        }
        assert_eq!(heap.usage(), before);
        feed(&mut heap, part(region, 8192, 12288)).unwrap();
        assert_eq!(feed(&mut heap, part(region, 12288, 16384)), Err(RegionError::TableFull));
    }
}

#[test]
fn a_block_costs_its_size_in_granules() {
    let mut heap = with::<StrictHeap>(2);
    let mut small = with::<SmallHeap>(2);
    let capacity = heap.usage().capacity;
    for size in [1, 8, 16, 24, 32, 48, 64, 128, 256, 1024] {
        let before = (heap.usage().allocated, small.usage().allocated);
        heap.allocate(layout(size, 8)).unwrap();
        small.allocate(layout(size, 8)).unwrap();
        let cost = (heap.usage().allocated - before.0, small.usage().allocated - before.1);
        let size = size as u64;
        assert_eq!(cost, (size.next_multiple_of(16), size.next_multiple_of(8)));
    }
    assert_eq!(fill(&mut with::<StrictHeap>(2), layout(16, 16)).len() as u64, capacity / 16);
}

#[test]
fn a_second_initialisation_is_refused() {
    let heap: Heap = Heap::empty();
    let region = memory(2);
    // SAFETY: the memory is kept.
    let init = || unsafe { heap.init_ptr(region.cast(), region.len()) };
    init().unwrap();
    let free = heap.free();
    let block = heap.allocate_block(layout(100, 8)).unwrap();
    assert_eq!(init(), Err(RegionError::TableFull).or(Err(RegionError::Overlap)));
    // SAFETY: a live block.
    unsafe { heap.free_block(block, layout(100, 8)) }.unwrap();
    assert_eq!(heap.free(), free);
}

#[test]
#[cfg_attr(miri, ignore = "turns an address into a pointer, which strict provenance refuses")]
fn a_region_at_null_is_refused() {
    let null: Heap = Heap::empty();
    // SAFETY: refused before anything is touched.
    assert_eq!(unsafe { null.init(0, 4096) }, Err(RegionError::BadRange));
}

/// Refusals flush the quick lists: what they hold back is never missing.
#[test]
fn quick_lists_keep_blocks_and_give_them_back() {
    let mut heap = with::<FitHeap>(32);
    let small = layout(32, 8);
    let blocks = [(); 3].map(|()| heap.allocate(small).unwrap());
    for block in blocks {
        free(&mut heap, block, small);
        heap.check_invariants().unwrap();
    }
    assert_eq!(heap.cached(), 96);
    // The second of two frees in a row is refused.
    // SAFETY: none: the heap documents that it detects this.
    assert_eq!(unsafe { heap.deallocate(blocks[2], small) }, Err(FreeError::NotAllocated));
    assert_eq!(heap.allocate(small), Ok(blocks[2]));
    free(&mut heap, blocks[2], small);
    let all = usize::try_from(heap.usage().capacity).unwrap();
    let whole = heap.allocate(layout(all, 8)).unwrap();
    assert_eq!(heap.cached(), 0);
    free(&mut heap, whole, layout(all, 8));
    heap.check_invariants().unwrap();
    assert_eq!(heap.usage().allocated, 0);
}

/// Holes of 16, 48 and 64 granules of 16 bytes: the figures by hand.
#[test]
fn the_figures_of_three_holes() {
    let mut heap = with::<StrictHeap>(2);
    let all = heap.usage().capacity;
    let sizes = [256, 16, 768, 16, 1024, 16];
    let blocks = sizes.map(|size| heap.allocate(layout(size, 8)).unwrap());
    let rest = usize::try_from(all).unwrap() - sizes.iter().sum::<usize>();
    heap.allocate(layout(rest, 8)).unwrap();
    for (block, size) in blocks.into_iter().zip(sizes).step_by(2) {
        free(&mut heap, block, layout(size, 8));
    }
    let (usage, figures) = (heap.usage(), heap.fragmentation());
    assert_eq!((usage.free, usage.allocated, usage.peak_allocated), (2048, all - 2048, all));
    assert_eq!((figures.free, figures.largest, figures.holes), (2048, 1024, 3));
    // Half of the free bytes are outside the largest hole; 256 and 1024 of 2048 bytes are in holes below 257 and 1000.
    assert_eq!(heap.unusable(257), hectare_core::Ratio::new(256, 2048));
    assert_eq!(heap.unusable(1000), hectare_core::Ratio::new(1024, 2048));
    let holes: Vec<_> = heap
        .runs()
        .filter_map(|run| match run {
            Run::Hole(_, size) => Some(size),
            _ => None,
        })
        .collect();
    assert_eq!(holes, [256, 768, 1024]);
    heap.allocate(layout(1025, 8)).unwrap_err();
    assert_eq!((heap.usage().failures.fragmented, heap.usage().failures.out_of_memory), (1, 0));
    heap.allocate(layout(2049, 8)).unwrap_err();
    assert_eq!((heap.usage().failures.fragmented, heap.usage().failures.out_of_memory), (1, 1));
}

#[test]
fn a_map_behind_a_block_is_no_part_of_it() {
    let memory = memory(2);
    let mut heap = HardenedHeap::<1>::EMPTY;
    feed(&mut heap, part(memory, 0, 4096)).unwrap();
    let block = layout(16, 16);
    let blocks: Vec<_> = core::iter::from_fn(|| heap.allocate(block).ok()).collect();
    // The last block ends where the region does; the larger map goes right behind it.
    // SAFETY: the memory is one allocation, and its second half nobody's yet.
    unsafe { heap.extend_region(part(memory, 4096, 8192)) }.unwrap();
    assert_eq!(heap.blocks().count(), blocks.len());
    assert!(heap.blocks().all(|(_, size)| size == 16));
    blocks.into_iter().for_each(|freed| free(&mut heap, freed, block));
    heap.check_invariants().unwrap();
    assert_eq!(heap.usage().allocated, 0);
}

#[test]
fn a_region_is_extended_truncated_and_removed() {
    let mut heap = StrictHeap::<2>::new();
    let region = memory(8);
    feed(&mut heap, part(region, 0, 4096)).unwrap();
    let first = heap.usage().capacity;
    assert_eq!(heap.allocate(layout(8192, 8)), Err(AllocError::TooLarge));
    // SAFETY: the rest of the same allocation, which nobody uses.
    let extend = |heap: &mut StrictHeap<2>, from, to| unsafe { heap.extend_region(part(region, from, to)) };
    assert_eq!(extend(&mut heap, 8192, 12288), Err(RegionError::Unknown));
    assert_eq!(extend(&mut heap, 2048, 8192), Err(RegionError::Overlap));
    // The map has bits for 382 granules: up to there it stays.
    extend(&mut heap, 4096, 6112).unwrap();
    assert_eq!(heap.usage().capacity, first + 6112 - 4096);
    assert_eq!(extend(&mut heap, 6112, 6128), Err(RegionError::TooSmall));
    assert_eq!(heap.usage().capacity, first + 6112 - 4096);
    extend(&mut heap, 6112, 32768).unwrap();
    heap.check_invariants().unwrap();
    // The map moved into the new memory, and its old place is free.
    let usage = heap.usage();
    assert_eq!(usage.capacity + usage.metadata_bytes, 32768);
    assert_eq!(usage.free, usage.capacity);

    let block = heap.allocate(layout(8192, 8)).unwrap();
    let end = block.addr().get() - region.cast::<u8>().addr().get() + 8192;
    assert_eq!(heap.truncate_region(part(region, end - 16, end).cast()), Err(RegionError::InUse));
    let taken = heap.truncate_region(part(region, end, end).cast()).unwrap();
    assert_eq!((taken.cast(), taken.len()), (part(region, end, end).cast::<u8>(), 32768 - end));
    heap.check_invariants().unwrap();
    assert_eq!(heap.truncate_region(part(region, end, end).cast()), Err(RegionError::Unknown));
    // What was taken back is the caller's.
    // SAFETY: the caller's memory again.
    unsafe { taken.cast::<u8>().write_bytes(0xff, taken.len()) };
    heap.check_invariants().unwrap();

    assert_eq!(heap.remove_region(region.cast()), Err(RegionError::InUse));
    free(&mut heap, block, layout(8192, 8));
    let taken = heap.remove_region(region.cast()).unwrap();
    assert_eq!((taken.cast(), taken.len()), (region.cast::<u8>(), end));
    assert_eq!(heap.usage().capacity, 0);
    assert_eq!(heap.remove_region(region.cast()), Err(RegionError::Unknown));
    feed(&mut heap, region).unwrap();
}

/// Gives one page for each request; counts how often it is asked.
struct Pages(u32);

// SAFETY: it adds regions, and leaves the heap in place.
unsafe impl<const N: usize> Source<FitHeap<N>> for Pages {
    fn acquire(&mut self, heap: &mut FitHeap<N>, _: Layout) -> Result<(), RegionError> {
        self.0 += 1;
        feed(heap, memory(1))
    }
}

#[test]
fn a_source_adds_a_region_and_is_asked_at_most_twice() {
    let mut heap = Growing::new(FitHeap::<4>::new(), Pages(0));
    let half = layout(2500, 8);
    let first = heap.allocate(half).unwrap();
    assert_eq!(heap.source().0, 1);
    let second = heap.allocate(half).unwrap();
    assert_eq!(heap.source().0, 2);
    assert_ne!(first, second);
    // No page holds this: two more are asked for, and no third.
    assert_eq!(heap.allocate(layout(5000, 8)), Err(AllocError::TooLarge));
    assert_eq!(heap.source().0, 4);
    // The table of regions is full now.
    assert_eq!(heap.allocate(layout(5000, 8)), Err(AllocError::TooLarge));
    assert_eq!(heap.source().0, 5);
    heap.check_invariants().unwrap();
}
