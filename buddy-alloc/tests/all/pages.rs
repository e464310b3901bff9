//! Pages as a heap: over a direct map, and in a region of its own.
#![expect(unsafe_code, reason = "writes to blocks and gives them back")]

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use hectare_buddy::{Banks, Engine, Frames, Heap, Pages, RegionPages, Rows64, words_for};
use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, DirectMap, FrameRun, FreeError, PhysAddr, RegionError,
};

use crate::support::run;

const FRAME: usize = 1 << 12;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn buffer(bytes: usize) -> &'static mut [MaybeUninit<u8>] {
    Box::leak(vec![MaybeUninit::uninit(); bytes].into_boxed_slice())
}

/// Sizes and alignments, live at once: apart, aligned, whole; at the end nothing is held.
fn exercise(heap: &mut impl ByteAllocator) {
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    for (number, (size, align)) in
        [(1, 1), (FRAME, 8), (FRAME + 1, FRAME), (10 * FRAME, 4 * FRAME), (0, 2 * FRAME), (3, 8 * FRAME)]
            .into_iter()
            .enumerate()
    {
        let layout = layout(size, align);
        let block = heap.allocate(layout).unwrap();
        assert_eq!(block.addr().get() % align.max(FRAME), 0);
        // SAFETY: the block is ours and has so many bytes.
        unsafe { block.write_bytes(u8::try_from(number).unwrap(), size) };
        live.push((block, layout));
    }
    for (number, (block, layout)) in live.into_iter().enumerate() {
        // SAFETY: so many bytes were written to the block, which is ours.
        let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), layout.size()) };
        assert!(bytes.iter().all(|byte| usize::from(*byte) == number));
        // SAFETY: the block is ours.
        unsafe { heap.deallocate(block, layout) }.unwrap();
        // SAFETY: refused: it is free.
        assert_eq!(unsafe { heap.deallocate(block, layout) }, Err(FreeError::NotAllocated));
    }
}

#[test]
fn blocks_over_a_direct_map() {
    // Physical frames 0x200 to 0x240, seen at an address that is aligned to 16 frames.
    let memory = buffer(0x50 * FRAME);
    let start = NonNull::from(&mut *memory).cast::<u8>();
    let skip = start.align_offset(16 * FRAME);
    // SAFETY: at most 16 frames into the buffer.
    let start = unsafe { start.add(skip) };
    let frames = run(0x200, 0x40);
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(frames).unwrap();
    let mut words = vec![0; words_for::<Rows64>(frames).unwrap()];
    // SAFETY: the frames are the buffer, which nothing else uses.
    let source = unsafe { Frames::<Rows64>::new(Engine::new(banks, &mut words).unwrap()) };
    // SAFETY: 0x40 frames lie behind the address.
    let map = unsafe { DirectMap::new(start, PhysAddr::new(0x20_0000), 0x40 << 12) }.unwrap();
    // SAFETY: never used.
    assert!(unsafe { Pages::new(&Never, map, run(0x200, 0x41)) }.is_none(), "more than the map shows");
    // SAFETY: the map shows the source's frames.
    let mut heap = unsafe { Pages::new(source, map, frames) }.unwrap();
    exercise(&mut heap);
    heap.check_invariants().unwrap();
    assert_eq!(heap.source().engine().free_frames(), 0x40);
    // In place: within its frames, down by frames, never up.
    let block = heap.allocate(layout(5 * FRAME, 8)).unwrap();
    let mut resize = |old, new| {
        // SAFETY: the block is ours.
        unsafe { heap.resize_in_place(block, layout(old, 8), new) }
    };
    assert_eq!(resize(5 * FRAME, 4 * FRAME + 1), Ok(()));
    assert_eq!(resize(4 * FRAME + 1, FRAME), Ok(()));
    assert_eq!(resize(FRAME, FRAME + 1), Err(AllocError::NotInPlace));
    assert_eq!(heap.source().engine().free_frames(), 0x3f);
    let inside = block.map_addr(|address| address.checked_add(8).unwrap());
    // SAFETY: refused.
    assert_eq!(unsafe { heap.deallocate(inside, layout(8, 8)) }, Err(FreeError::Misaligned));
    let outside = block.map_addr(|address| address.checked_add(0x100 * FRAME).unwrap());
    // SAFETY: refused.
    assert_eq!(unsafe { heap.deallocate(outside, layout(8, 8)) }, Err(FreeError::Foreign));
    assert_eq!(heap.allocate(layout(0x40 * FRAME, 8)), Err(AllocError::OutOfMemory));
    // Frame 0x200 lies at a multiple of 0x200 frames, its address does not.
    let result = heap.allocate(layout(8, 0x1_0000 * FRAME));
    assert!(result.is_err(), "{result:?}");
    assert_eq!(heap.source().engine().free_frames(), 0x3f);
}

/// A source that is never asked.
struct Never;

// SAFETY: it gives nothing out.
unsafe impl hectare_core::SharedFrameSource for Never {
    const FRAME_SIZE: hectare_core::PageSize = hectare_core::PageSize::SIZE_4K;

    fn allocate_frames(&self, _: hectare_core::FrameRequest) -> Result<FrameRun, AllocError> {
        Err(AllocError::OutOfMemory)
    }

    unsafe fn free_frames(&self, _: FrameRun) -> Result<(), FreeError> {
        Err(FreeError::Foreign)
    }
}

#[test]
fn a_region_keeps_its_own_metadata() {
    for (bytes, skip) in [(40 * FRAME, 0), (40 * FRAME, 1), (41 * FRAME - 1, 4095), (300 * FRAME, 77)] {
        let heap: Heap = Heap::empty();
        assert_eq!(heap.allocate_block(layout(1, 1)), Err(AllocError::TooLarge));
        heap.init_static(&mut buffer(bytes)[skip..]).unwrap();
        assert_eq!(heap.init_static(buffer(bytes)), Err(RegionError::TableFull));
        // SAFETY: the engine is not exchanged.
        unsafe { heap.with_mut(|pages: &mut RegionPages| exercise(pages)) }.unwrap();
        heap.with(|pages| pages.check_invariants().unwrap()).unwrap();
        let all = heap.free();
        assert!(all >= bytes - 8 * FRAME, "{all} of {bytes}");
        // Every frame, written from end to end, does not touch the metadata.
        let blocks: Vec<_> = core::iter::from_fn(|| heap.allocate_block(layout(FRAME, FRAME)).ok()).collect();
        for block in &blocks {
            // SAFETY: the block is ours.
            unsafe { block.write_bytes(0xff, FRAME) };
        }
        assert_eq!((blocks.len() * FRAME, heap.free()), (all, 0));
        heap.with(|pages| pages.check_invariants().unwrap()).unwrap();
        for block in blocks {
            // SAFETY: the block is ours.
            unsafe { heap.dealloc(block.as_ptr(), layout(FRAME, FRAME)) };
        }
        assert_eq!((heap.free(), heap.bad_frees()), (all, 0));
    }
}

#[test]
fn regions_that_are_too_small() {
    for bytes in [0, 1, 4095, 4096 + 4095 - 64] {
        let heap: Heap = Heap::empty();
        let memory = buffer(bytes);
        // Whatever the buffer's alignment, there is no room for a frame and the metadata.
        let kept = memory.len().min(FRAME);
        assert_eq!(heap.init_static(&mut memory[..kept]), Err(RegionError::TooSmall), "{bytes}");
    }
}
