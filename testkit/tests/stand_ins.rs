//! The stand-ins that the driver does not drive, and what the others refuse.
#![allow(unsafe_code, reason = "frees blocks and frames")]

use core::alloc::Layout;
use core::num::NonZero;
use core::sync::atomic::{AtomicU64, Ordering};

use hectare_core::{
    Access, AllocError, ByteAllocator, CpuPin, Figures, FrameRequest, FrameSource, FreeError,
};
use hectare_core::{Extent, RangeRequest, RangeSource, Slot};
use hectare_core::{Order, Permissions, PhysAddr, PhysWindow, RegionError, RegionHeap, Translate, VirtAddr};
use hectare_testkit::arena::Arena;
use hectare_testkit::stand_in::{Failing, FlatFault, FlatTranslation, NaiveHeap, NaiveRanges, PlainFrames};
use hectare_testkit::stand_in::{Schedule, ThreadSlots};

#[test]
fn the_naive_heap_refuses_bad_frees_and_regions() {
    let (arena, region) = Arena::with_region(256, 16, 0);
    let (_other, foreign) = Arena::with_region(256, 16, 0);
    let mut heap = NaiveHeap::new();
    // SAFETY: the arena outlives the heap.
    assert_eq!(unsafe { heap.add_region(region) }, Ok(()));
    // SAFETY: refused.
    assert_eq!(unsafe { heap.add_region(arena.pointer(255..256)) }, Err(RegionError::Overlap));
    // SAFETY: refused.
    assert_eq!(unsafe { heap.add_region(arena.pointer(0..0)) }, Err(RegionError::TooSmall));
    let layout = Layout::from_size_align(100, 16).unwrap();
    let block = heap.allocate(layout).unwrap();
    let wrong = Layout::from_size_align(99, 16).unwrap();
    // SAFETY: a bad free, which this heap detects.
    assert_eq!(unsafe { heap.deallocate(block, wrong) }, Err(FreeError::WrongSize));
    // SAFETY: as above.
    assert_eq!(unsafe { heap.deallocate(foreign.cast(), layout) }, Err(FreeError::Foreign));
    // SAFETY: a good one.
    assert_eq!(unsafe { heap.deallocate(block, layout) }, Ok(()));
    // SAFETY: a bad one.
    assert_eq!(unsafe { heap.deallocate(block, layout) }, Err(FreeError::NotAllocated));
    let all = Layout::from_size_align(257, 1).unwrap();
    assert_eq!(heap.allocate(all), Err(AllocError::OutOfMemory));
}

#[test]
fn the_naive_heap_counts() {
    let (_arena, region) = Arena::with_region(256, 256, 0);
    let mut heap = NaiveHeap::EMPTY;
    // SAFETY: the arena outlives the heap.
    unsafe { heap.add_region(region) }.unwrap();
    let block = |size| Layout::from_size_align(size, 1).unwrap();
    let first = heap.allocate(block(64)).unwrap();
    heap.allocate(block(128)).unwrap();
    // SAFETY: live, with this layout.
    unsafe { heap.deallocate(first, block(64)) }.unwrap();
    let (usage, holes) = (heap.usage(), heap.fragmentation());
    assert_eq!((usage.capacity, usage.allocated, usage.free), (256, 128, 128));
    assert_eq!((holes.free, holes.largest, holes.holes), (128, 64, 2));
    assert_eq!(heap.unusable(65).permille(), 1000);
    assert_eq!(heap.unusable(64).permille(), 0);
    assert_eq!(heap.allocate(block(65)), Err(AllocError::Fragmented));
}

#[test]
fn plain_frames_have_memory_behind_them() {
    let mut frames = PlainFrames::<12>::new(5, 8);
    let window = frames.window();
    let four = FrameRequest::order(Order::new(2).unwrap());
    let run = frames.allocate_frames(four).unwrap();
    assert_eq!((run.first().number(), run.count(), frames.free()), (8, 4, 4));
    let pointer = window.pointer(PhysAddr::new(8 << 12), 4 << 12).unwrap();
    // SAFETY: the window shows the four frames, which are ours.
    unsafe { pointer.write_bytes(1, 4 << 12) };
    frames.check_memory().unwrap();
    assert!(window.pointer(PhysAddr::new(5 << 12), 8 << 12).is_some());
    assert!(window.pointer(PhysAddr::new((5 << 12) - 1), 1).is_none());
    assert!(window.pointer(PhysAddr::new(13 << 12), 1).is_none());
    assert_eq!(frames.allocate_frames(four), Err(AllocError::Fragmented));
    let nine = FrameRequest::exactly(NonZero::new(9).unwrap());
    assert_eq!(frames.allocate_frames(nine), Err(AllocError::TooLarge));
    // SAFETY: ours, and no longer used.
    assert_eq!(unsafe { frames.free_frames(run) }, Ok(()));
    // SAFETY: a bad free, which this source detects.
    assert_eq!(unsafe { frames.free_frames(run) }, Err(FreeError::NotAllocated));
}

#[test]
fn naive_ranges_take_the_first_hole() {
    let mut ranges = NaiveRanges::new(Extent::new(10, 100).unwrap());
    let request = |length, align| {
        RangeRequest::new(NonZero::new(length).unwrap()).aligned(NonZero::new(align).unwrap())
    };
    let first = ranges.allocate_range(request(5, 7)).unwrap();
    assert_eq!(first, Extent::new(14, 5).unwrap());
    assert_eq!(ranges.allocate_range(request(4, 1)), Ok(Extent::new(10, 4).unwrap()));
    assert_eq!(ranges.allocate_range(request(92, 1)), Err(AllocError::OutOfMemory));
    assert_eq!(ranges.allocate_range(request(91, 2)), Err(AllocError::Fragmented));
    assert_eq!(ranges.free_range(Extent::new(14, 4).unwrap()), Err(FreeError::WrongSize));
    assert_eq!(ranges.free_range(Extent::new(15, 4).unwrap()), Err(FreeError::NotAllocated));
    assert_eq!(ranges.free_range(Extent::new(9, 4).unwrap()), Err(FreeError::Foreign));
    assert_eq!(ranges.free_range(first), Ok(()));
    assert_eq!(ranges.holes(), [Extent::new(14, 96).unwrap()]);
}

#[test]
fn a_flat_translation_has_edges_and_rights() {
    let rights = Permissions::READ | Permissions::USER;
    let flat = FlatTranslation::new(VirtAddr::new(0x1000), PhysAddr::new(0x50), 0x20, rights).unwrap();
    let at = |address| flat.translate(VirtAddr::new(address), Access::user_read());
    let last = at(0x101f).unwrap();
    assert_eq!((last.address, last.length.get()), (PhysAddr::new(0x6f), 1));
    assert_eq!(at(0x1000).unwrap().length.get(), 0x20);
    for address in [0xfff, 0x1020, u64::MAX] {
        assert!(matches!(at(address), Err(FlatFault::Unmapped { .. })));
    }
    let written = flat.translate(VirtAddr::new(0x1000), Access::user_write());
    assert!(matches!(written, Err(FlatFault::Forbidden { .. })));
    assert!(FlatTranslation::new(VirtAddr::new(u64::MAX), PhysAddr::new(0), 2, rights).is_none());
}

#[test]
fn a_slot_has_one_thread_at_a_time() {
    let slots = ThreadSlots::new(2);
    let inside = [AtomicU64::new(0), AtomicU64::new(0)];
    let (pinned, shared) = (AtomicU64::new(0), AtomicU64::new(0));
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    let work = || {
        for _ in 0..rounds {
            slots.with(|slot| match slot {
                Some(slot) => {
                    let inside = &inside[usize::from(slot.number())];
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two in one slot");
                    slots.with(|again| assert_eq!(again, None, "re-entry takes the shared path"));
                    inside.fetch_sub(1, Ordering::Relaxed);
                    pinned.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    shared.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    assert_eq!(pinned.load(Ordering::Relaxed) + shared.load(Ordering::Relaxed), 4 * rounds);
    assert!(pinned.load(Ordering::Relaxed) > 0);
    let drained = AtomicU64::new(0);
    slots.request_drain(&|slot: Slot| {
        drained.fetch_add(1 << slot.number(), Ordering::Relaxed);
    });
    assert_eq!(drained.load(Ordering::Relaxed), 3, "both slots, once each");
    let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| slots.with(|_| panic!("inside"))));
    assert!(result.is_err());
    slots.with(|slot| assert!(slot.is_some(), "a panic leaves the slot"));
    ThreadSlots::new(0).with(|slot| assert_eq!(slot, None));
}

#[test]
fn refusals_come_by_schedule() {
    let unit = RangeRequest::new(NonZero::new(1).unwrap());
    for (schedule, granted) in [
        (Schedule::Never, [true; 6]),
        (Schedule::After(2), [true, true, false, false, false, false]),
        (Schedule::Every(3), [true, true, false, true, true, false]),
        (Schedule::Every(0), [true; 6]),
    ] {
        let mut ranges = Failing::new(NaiveRanges::new(Extent::new(0, 100).unwrap()), schedule);
        assert_eq!(granted, [(); 6].map(|()| ranges.allocate_range(unit).is_ok()));
        assert_eq!(ranges.refused(), granted.iter().filter(|granted| !**granted).count() as u64);
        ranges.reschedule(Schedule::Never);
        assert!(ranges.allocate_range(unit).is_ok());
    }
    let mut frames = Failing::new(PlainFrames::<4>::new(0, 4), Schedule::After(1));
    let one = FrameRequest::order(Order::ZERO);
    assert!(frames.allocate_frames(one).is_ok());
    assert_eq!(frames.allocate_frames(one), Err(AllocError::OutOfMemory));
    assert_eq!(frames.inner().free(), 3);
}
