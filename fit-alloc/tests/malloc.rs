//! C's functions against a shadow of what every block holds, over several heaps; and what they refuse.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test of pointers as C has them"
)]

#[path = "range_oracle/random.rs"]
mod random;

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use hectare_core::{AllocError, ByteAllocator, CheckInvariants, Figures, FreeError, RegionHeap, SpinLock};
use hectare_fit::malloc::{CHeap, MIN_ALIGN, Malloc};
use hectare_fit::{BestFitHeap, BoundedHeap, HalfFitHeap, HardenedHeap, StrictHeap};
use hectare_testkit::arena::Arena;
use random::Random;

struct Block {
    start: NonNull<u8>,
    size: usize,
    align: usize,
    fill: u8,
}

fn fill(block: &Block) {
    // SAFETY: the test's own block.
    unsafe { block.start.write_bytes(block.fill, block.size) };
}

/// Whether the first `size` bytes of a live block are `byte`.
fn holds(start: NonNull<u8>, size: usize, byte: u8) -> bool {
    // SAFETY: the test's own block, filled or zeroed.
    let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), size) };
    bytes.iter().all(|b| *b == byte)
}

fn with<H: RegionHeap>(size: usize) -> (Arena, Malloc<H>) {
    let (arena, region) = Arena::with_region(size, 64, 0);
    let mut heap = H::EMPTY;
    // SAFETY: the arena is kept by the caller.
    unsafe { heap.add_region(region) }.unwrap();
    (arena, Malloc::new(heap))
}

fn blocks_keep_their_bytes<H: RegionHeap + CheckInvariants + Figures>() {
    for seed in 0..if cfg!(miri) { 1 } else { 30 } {
        let mut random = Random::new(seed);
        let (arena, mut c) = with::<H>(if cfg!(miri) { 0x2000 } else { 0x1_0000 });
        let mut live: Vec<Block> = Vec::new();
        for step in 0..if cfg!(miri) { 60 } else { 2_000 } {
            let magnitude = random.below(11);
            let size = random.below(1 << magnitude) as usize;
            let at = random.below(live.len().max(1) as u64) as usize;
            let fill_with = step as u8 | 1;
            let changed = match random.below(10) {
                0..=3 => {
                    let align = if random.below(3) == 0 { 1 << random.below(9) } else { 1 };
                    let start = match random.below(3) {
                        0 => c.malloc(size),
                        1 => c.aligned_alloc(align, size),
                        _ => c.calloc(size / 7, 7),
                    };
                    let Ok(start) = start else { continue };
                    live.push(Block { start, size: size / 7 * 7, align: MIN_ALIGN, fill: fill_with });
                    assert_eq!(start.addr().get() % MIN_ALIGN, 0);
                    live.len() - 1
                }
                4 | 5 => {
                    let align = 1_usize << random.below(10);
                    let Ok(start) = c.aligned_alloc(align, size) else { continue };
                    live.push(Block { start, size, align, fill: fill_with });
                    live.len() - 1
                }
                6 if !live.is_empty() => {
                    let block = &mut live[at];
                    // SAFETY: live.
                    let Ok(start) = (unsafe { c.realloc(Some(block.start), size) }) else { continue };
                    assert!(holds(start, block.size.min(size), block.fill), "step {step} of {seed}");
                    *block = Block { start, size, align: block.align, fill: fill_with };
                    at
                }
                7 => {
                    let Ok(start) = c.calloc(size, 1) else { continue };
                    assert!(holds(start, size, 0), "step {step} of {seed}");
                    live.push(Block { start, size, align: MIN_ALIGN, fill: fill_with });
                    live.len() - 1
                }
                _ if !live.is_empty() => {
                    let block = live.swap_remove(at);
                    assert!(holds(block.start, block.size, block.fill), "step {step} of {seed}");
                    // SAFETY: live.
                    unsafe { c.free(Some(block.start)) }.unwrap();
                    continue;
                }
                _ => continue,
            };
            for block in &live {
                assert_eq!(block.start.addr().get() % block.align.max(MIN_ALIGN), 0);
            }
            let block = &live[changed];
            assert!(arena.contains(block.start.addr().get(), block.size));
            fill(block);
        }
        for block in live {
            assert!(holds(block.start, block.size, block.fill));
            // SAFETY: live.
            unsafe { c.free(Some(block.start)) }.unwrap();
        }
        c.heap().check_invariants().unwrap();
        assert_eq!(c.heap().usage().allocated, 0);
        arena.check().unwrap();
    }
}

#[test]
fn blocks_keep_their_bytes_over_every_heap() {
    blocks_keep_their_bytes::<StrictHeap>();
    blocks_keep_their_bytes::<BestFitHeap>();
    blocks_keep_their_bytes::<HardenedHeap>();
    if !cfg!(miri) {
        blocks_keep_their_bytes::<BoundedHeap>();
        blocks_keep_their_bytes::<HalfFitHeap>();
    }
}

#[test]
fn what_overflows_or_is_no_alignment_is_refused() {
    let (_arena, mut c) = with::<StrictHeap>(0x2000);
    assert_eq!(c.calloc(usize::MAX / 2, 3), Err(AllocError::TooLarge));
    assert_eq!(c.calloc(1 << (usize::BITS / 2), 1 << (usize::BITS / 2)), Err(AllocError::TooLarge));
    assert_eq!(c.malloc(usize::MAX), Err(AllocError::TooLarge));
    assert_eq!(c.malloc(usize::MAX - MIN_ALIGN + 1), Err(AllocError::TooLarge));
    assert_eq!(c.malloc(isize::MAX as usize), Err(AllocError::TooLarge));
    assert_eq!(c.aligned_alloc(1 << (usize::BITS - 1), 8), Err(AllocError::TooLarge));
    assert_eq!(c.aligned_alloc(0, 8), Err(AllocError::Alignment));
    assert_eq!(c.aligned_alloc(48, 8), Err(AllocError::Alignment));
    let block = c.malloc(10).unwrap();
    // SAFETY: live.
    let grown = unsafe { c.realloc(Some(block), usize::MAX - 3) };
    assert_eq!(grown, Err(AllocError::TooLarge));
    // SAFETY: live: a refusal leaves the block.
    assert_eq!(unsafe { c.usable_size(Some(block)) }, Ok(10));
    // SAFETY: live.
    unsafe { c.free(Some(block)) }.unwrap();
    assert_eq!(c.heap().usage().allocated, 0);
}

#[test]
fn null_and_zero_are_fine() {
    let (_arena, mut c) = with::<StrictHeap>(0x2000);
    // SAFETY: nothing is given.
    unsafe { c.free(None) }.unwrap();
    // SAFETY: nothing is given.
    assert_eq!(unsafe { c.usable_size(None) }, Ok(0));
    // SAFETY: nothing is given.
    let block = unsafe { c.realloc(None, 5) }.unwrap();
    let (one, two) = (c.malloc(0).unwrap(), c.calloc(0, 8).unwrap());
    assert!(one != two && one != block);
    // SAFETY: live.
    let block = unsafe { c.realloc(Some(block), 0) }.unwrap();
    for block in [one, two, block] {
        // SAFETY: live.
        assert_eq!(unsafe { c.usable_size(Some(block)) }, Ok(0));
        // SAFETY: live.
        unsafe { c.free(Some(block)) }.unwrap();
    }
}

#[test]
fn a_broken_seal_is_refused() {
    let (_arena, mut c) = with::<StrictHeap>(0x2000);
    let [below, first, above, second, last] = core::array::from_fn(|_| c.malloc(100).unwrap());
    // In the middle of a hole nothing but the seal tells a block that was.
    for block in [below, first, above, last] {
        // SAFETY: live.
        unsafe { c.free(Some(block)) }.unwrap();
    }
    let before = c.heap().usage();
    // SAFETY: refused: the seal was broken by the first free, and nobody used the memory since.
    let again = unsafe { c.free(Some(first)) };
    assert_eq!(again, Err(FreeError::NotAllocated), "a second free");
    // SAFETY: inside a live block of initialised bytes.
    unsafe { second.write_bytes(7, 100) };
    for by in [16, 32, 8, 1] {
        // SAFETY: inside the block.
        let inside = unsafe { second.add(by) };
        // SAFETY: refused: no header stands before it.
        let freed = unsafe { c.free(Some(inside)) };
        assert_eq!(
            freed,
            Err(if by % MIN_ALIGN == 0 { FreeError::NotAllocated } else { FreeError::Misaligned })
        );
    }
    assert_eq!(c.heap().usage(), before);
    // SAFETY: live.
    unsafe { c.free(Some(second)) }.unwrap();
}

#[test]
fn c_functions_behind_a_lock() {
    static HEAP: CHeap<SpinLock, StrictHeap> = CHeap::empty();
    assert!(HEAP.malloc(1).is_null());
    let memory = Box::leak(Box::new([MaybeUninit::<u8>::uninit(); 0x4000]));
    HEAP.heap().init_static(memory).unwrap();
    let mut out: *mut c_void = ptr::null_mut();
    let memalign = |out: &mut *mut c_void, align, size| {
        // SAFETY: a place for a pointer.
        unsafe { HEAP.posix_memalign(out, align, size) }
    };
    assert_eq!(memalign(&mut out, 3, 10), 22);
    assert_eq!(memalign(&mut out, 1, 10), 22);
    assert_eq!(memalign(&mut out, 64, 0x10_0000), 12);
    assert!(out.is_null());
    assert_eq!(memalign(&mut out, 256, 100), 0);
    assert_eq!(out.addr() % 256, 0);
    let zeros = HEAP.calloc(10, 10);
    assert!(holds(NonNull::new(zeros.cast()).unwrap(), 100, 0));
    let page = HEAP.memalign(1024, 8);
    // SAFETY: live.
    let page = unsafe { HEAP.realloc(page, 2000) };
    assert_eq!(page.addr() % 1024, 0);
    // SAFETY: live.
    assert_eq!(unsafe { HEAP.malloc_usable_size(page) }, 2000);
    assert!(HEAP.calloc(usize::MAX, 2).is_null());
    assert!(HEAP.aligned_alloc(24, 24).is_null());
    for block in [out, zeros, page, ptr::null_mut()] {
        // SAFETY: live or null.
        unsafe { HEAP.free(block) };
    }
    assert_eq!((HEAP.heap().used(), HEAP.heap().bad_frees()), (0, 0));
}

/// An allocator's promise holds for what stands behind `Malloc`, too.
#[test]
fn any_byte_allocator_serves() {
    let (_arena, region) = Arena::with_region(0x1000, 64, 0);
    let mut heap = StrictHeap::<1>::new();
    // SAFETY: the arena's region.
    unsafe { heap.add_region(region) }.unwrap();
    let borrowed: &mut dyn ByteAllocator = &mut heap;
    let mut c = Malloc::new(borrowed);
    let block = c.malloc(64).unwrap();
    // SAFETY: live.
    unsafe { c.free(Some(block)) }.unwrap();
}
