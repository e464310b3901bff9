//! The heap of size classes: against the shadow model, and by hand.
//!
//! The properties that the model checks:
//! * blocks are aligned, inside the frames, apart, and keep their bytes; zeroed ones are zero;
//! * nothing outside the frames is written;
//! * the slabs' invariants hold, and what the front has is what the slabs miss;
//! * when everything is freed and the heap shrunk, the source has every frame back;
//! * the same under refusals of the source.

use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, DirectMap, Figures, Frame, FrameRequest, FrameRun,
    FrameSource, FreeError, Heap, NoLock, PageSize, PhysAddr, Violation,
};
use hectare_slab::SlabHeap;
use hectare_slab::size_class::{CLASSES, LARGEST, class_of_layout, size_of_class};
use hectare_testkit::arena::Arena;
use hectare_testkit::drive::{HeapModel, HeapUnderTest, Space, drive};
use hectare_testkit::op::heap::{Shape, strategy};
use hectare_testkit::stand_in::{Failing, Schedule};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Machine, free};

/// A flag for each frame, the lowest run first: obviously right. The memory is somebody else's.
#[derive(Debug)]
struct Flags<const LOG2: u8> {
    used: Vec<bool>,
}

const FIRST: u64 = 1 << 10;

// SAFETY: (1) the arena's region behind the window is the frames' memory; (2) the run found is as asked; (3) its flags were
// clear and are set now; (4) freeing is unsafe; (5) foreign frames have no flag.
unsafe impl<const LOG2: u8> FrameSource for Flags<LOG2> {
    const FRAME_SIZE: PageSize = PageSize::from_log2(LOG2).unwrap();

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let count = usize::try_from(request.count.get()).unwrap();
        let step = usize::try_from(request.align.frames()).unwrap();
        for start in (0..self.used.len()).step_by(step) {
            match self.used.get_mut(start..start + count) {
                Some(flags) if !flags.contains(&true) => {
                    flags.fill(true);
                    return Ok(FrameRun::new(Frame::new(FIRST + start as u64), count as u64).unwrap());
                }
                _ => {}
            }
        }
        Err(AllocError::OutOfMemory)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let start =
            usize::try_from(run.first().number().checked_sub(FIRST).ok_or(FreeError::Foreign)?).unwrap();
        let count = usize::try_from(run.count()).unwrap();
        let flags = self.used.get_mut(start..start + count).ok_or(FreeError::Foreign)?;
        if flags.contains(&false) {
            return Err(FreeError::NotAllocated);
        }
        flags.fill(false);
        Ok(())
    }
}

/// A slab heap over an arena.
struct Under<const LOG2: u8>(RefCell<SlabHeap<Failing<Flags<LOG2>>, DirectMap>>);

// SAFETY: every promise is the heap's.
unsafe impl<const LOG2: u8> ByteAllocator for Under<LOG2> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.get_mut().allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { self.0.get_mut().deallocate(block, layout) }
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.get_mut().allocate_zeroed(layout)
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise.
        unsafe { self.0.get_mut().resize_in_place(block, layout, new_size) }
    }
}

// SAFETY: the heap touches only memory of frames that the source gave it.
unsafe impl<const LOG2: u8> HeapUnderTest for Under<LOG2> {
    fn check(&self) -> Result<(), Violation> {
        let heap = self.0.borrow();
        heap.check_invariants()?;
        Violation::unless(heap.rejected() == 0, "no good free is rejected", heap.rejected())
    }

    fn check_empty(&self) -> Result<(), String> {
        let mut heap = self.0.borrow_mut();
        if heap.usage().allocated != 0 {
            return Err(format!("{} bytes are still allocated", heap.usage().allocated));
        }
        heap.shrink();
        let used = heap.source().inner().used.iter().filter(|used| **used).count();
        if used != 0 {
            return Err(format!("{used} frames did not come back"));
        }
        Ok(())
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        if error == AllocError::NotInPlace {
            return Err("`NotInPlace` from an operation that may move".into());
        }
        // With so much room in one piece some slab or run fits, whatever its alignment.
        let slab = 1 << 19;
        let failing = self.0.borrow().source().refused() > 0;
        if !failing && space.has_room(layout.size() as u64 + slab, 4096, 4096) {
            return Err("half a mebibyte is free in one piece".into());
        }
        Ok(())
    }
}

fn model<const LOG2: u8>(bytes: usize, schedule: Schedule) -> HeapModel<Under<LOG2>> {
    let bytes = if cfg!(miri) { bytes.min(1 << 16) } else { bytes };
    let (arena, region) = Arena::with_region(bytes, 1 << 15, 0);
    let source = Flags::<LOG2> { used: vec![false; bytes >> LOG2] };
    // SAFETY: the region is these frames' memory, and lives as long as the model.
    let window = unsafe { DirectMap::new(region.cast(), PhysAddr::new(FIRST << LOG2), bytes as u64) };
    let heap = SlabHeap::new(Failing::new(source, schedule), window.unwrap());
    // SAFETY: the heap has the arena's region, and nobody else.
    let model = unsafe { HeapModel::with_regions(Under(RefCell::new(heap)), arena) };
    model.looking_at(if cfg!(miri) { 32 } else { usize::MAX })
}

const CASES: u32 = if cfg!(miri) { 1 } else { 200 };
const OPS: usize = if cfg!(miri) { 20 } else { 400 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Many small blocks, in frames of 4 KiB.
    #[test]
    fn small_blocks(ops in vec(strategy(Shape { slots: 200, max_size_log2: 10, max_align_log2: 8, arena: 0 }), 0..OPS)) {
        drive(&mut model::<12>(1 << 18, Schedule::Never), ops, 16).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }

    /// All sizes, so that classes, whole frames and large blocks meet, in frames of 1 KiB and little memory.
    #[test]
    fn all_sizes(ops in vec(strategy(Shape { slots: 60, max_size_log2: 17, max_align_log2: 14, arena: 0 }), 0..OPS)) {
        drive(&mut model::<10>(1 << 19, Schedule::Never), ops, 16).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }

    /// The source refuses every third request.
    #[test]
    fn under_refusals(ops in vec(strategy(Shape { slots: 99, max_size_log2: 14, max_align_log2: 12, arena: 0 }), 0..OPS)) {
        drive(&mut model::<12>(1 << 19, Schedule::Every(3)), ops, 16).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }
}

#[test]
fn every_class_serves_its_sizes_and_alignments() {
    let mut machine = Machine::new(if cfg!(miri) { 64 } else { 512 });
    let (source, window) = machine.start();
    let total = free(&source);
    let mut heap = SlabHeap::new(&source, window);
    for class in (0..CLASSES).step_by(if cfg!(miri) { 18 } else { 1 }) {
        let size = size_of_class(class);
        let layout = Layout::from_size_align(size, size & size.wrapping_neg()).unwrap();
        assert_eq!(class_of_layout(layout), Some(class));
        let blocks: Vec<_> = (0..3).map(|_| heap.allocate(layout).unwrap()).collect();
        for block in &blocks {
            assert_eq!(block.addr().get() & (layout.align() - 1), 0, "{layout:?}");
            // SAFETY: a block of that size.
            unsafe { block.write_bytes(0xee, size) };
        }
        heap.check_invariants().unwrap();
        for block in blocks {
            // SAFETY: a live block.
            unsafe { heap.deallocate(block, layout) }.unwrap();
        }
    }
    assert_eq!(heap.usage().allocated, 0);
    heap.shrink();
    assert_eq!((free(&source), heap.rejected()), (total, 0));
    drop(heap);
    machine.check();
}

#[test]
fn what_was_freed_last_is_hottest() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut heap = SlabHeap::new(&source, window);
    let layout = Layout::new::<[u64; 8]>();
    let blocks: Vec<_> = (0..100).map(|_| heap.allocate(layout).unwrap()).collect();
    for block in &blocks[..10] {
        // SAFETY: a live block.
        unsafe { heap.deallocate(*block, layout) }.unwrap();
    }
    for block in blocks[..10].iter().rev() {
        assert_eq!(heap.allocate(layout), Ok(*block));
    }
    // A new slab is handed out from its lowest address up.
    let mut ascending = 0;
    blocks.windows(2).for_each(|pair| ascending += usize::from(pair[0] < pair[1]));
    assert!(ascending > 80, "{ascending}");
}

#[test]
fn a_block_grows_inside_its_class() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut heap = SlabHeap::new(&source, window);
    let layout = Layout::from_size_align(300, 8).unwrap();
    let block = heap.allocate(layout).unwrap();
    // SAFETY: a live block.
    assert_eq!(unsafe { heap.resize_in_place(block, layout, 320) }, Ok(()));
    let layout = Layout::from_size_align(320, 8).unwrap();
    // SAFETY: a live block.
    assert_eq!(unsafe { heap.resize_in_place(block, layout, 321) }, Err(AllocError::NotInPlace));
    // SAFETY: a live block.
    unsafe { block.write_bytes(7, 320) };
    // SAFETY: a live block.
    let moved = unsafe { heap.reallocate(block, layout, LARGEST + 1) }.unwrap();
    let layout = Layout::from_size_align(LARGEST + 1, 8).unwrap();
    // SAFETY: inside the block.
    let last = unsafe { moved.add(319) };
    // SAFETY: copied there.
    assert_eq!(unsafe { last.read() }, 7);
    // SAFETY: a live block.
    assert_eq!(unsafe { heap.resize_in_place(moved, layout, 9 << 12) }, Ok(()));
    let layout = Layout::from_size_align(9 << 12, 8).unwrap();
    // SAFETY: a live block.
    unsafe { heap.deallocate(moved, layout) }.unwrap();
    heap.shrink();
    assert_eq!(free(&source), 64);
}

/// What the front cannot see, the slab finds when the block comes to it.
#[test]
fn bad_frees_never_reach_a_slab() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut heap = SlabHeap::new(&source, window);
    let layout = Layout::new::<[u64; 8]>();
    let block = heap.allocate(layout).unwrap();
    // SAFETY: a live block.
    unsafe { heap.deallocate(block, layout) }.unwrap();
    heap.flush();
    // SAFETY: not live; nobody allocates before the flush.
    unsafe { heap.deallocate(block, layout) }.unwrap();
    // SAFETY: no block begins there.
    unsafe { heap.deallocate(block.map_addr(|address| address.saturating_add(8)), layout) }.unwrap();
    let elsewhere = [0u64; 8];
    // SAFETY: not of the heap.
    unsafe { heap.deallocate(NonNull::from(&elsewhere).cast(), layout) }.unwrap();
    heap.flush();
    assert_eq!(heap.rejected(), 3);
    heap.check_invariants().unwrap();
    heap.shrink();
    assert_eq!(free(&source), 64);
}

/// The last frame is in a class that is not asked for: it is given up before a refusal.
#[test]
fn the_last_frames() {
    let mut machine = Machine::new(4);
    let (source, window) = machine.start();
    let mut heap = SlabHeap::new(&source, window);
    for size in [16, 100, 1000, 4096, 3 << 12, 40_000] {
        let layout = Layout::from_size_align(size, 16).unwrap();
        let mut blocks: Vec<_> = core::iter::from_fn(|| heap.allocate(layout).ok()).collect();
        assert!(blocks.len() >= 4 * 4096 * 7 / 8 / size, "{size}: {}", blocks.len());
        while let Some(block) = blocks.pop() {
            // SAFETY: a live block.
            unsafe { heap.deallocate(block, layout) }.unwrap();
        }
    }
    drop(heap);
    assert_eq!(free(&source), 4);
}

#[test]
fn as_a_global_allocator() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let heap: Heap<NoLock, _> = Heap::new(SlabHeap::new(&source, window));
    let layout = Layout::new::<[u64; 8]>();
    let block = heap.allocate_block(layout).unwrap();
    assert_eq!(heap.used(), 64);
    // SAFETY: a live block.
    unsafe { heap.free_block(block, layout) }.unwrap();
    assert_eq!(heap.used(), 0);
    let mut infos = Vec::new();
    heap.with(|heap| infos.extend(heap.info().filter(|info| info.slabs > 0))).unwrap();
    assert_eq!((infos.len(), infos[0].name, infos[0].slabs), (1, "kmalloc-64", 1));
}
