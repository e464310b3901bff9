//! The table of misuse of the hardened heap, row by row.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator, CheckInvariants, FreeError};
use hectare_slab::HardenedHeap;
use hectare_slab::hardened::POISON;

use crate::support::{Machine, free};

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn at(block: NonNull<u8>, offset: usize) -> NonNull<u8> {
    block.map_addr(|address| address.saturating_add(offset))
}

#[test]
fn every_row_of_the_table() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut heap = HardenedHeap::new(&source, window, 7);
    let blocks: Vec<_> = (0..20).map(|_| heap.allocate(layout(40)).unwrap()).collect();
    let refused = |heap: &mut HardenedHeap<_, _>, block, size| {
        // SAFETY: a bad free; what the heap says about it is what is tested.
        let error = unsafe { heap.deallocate(block, layout(size)) }.unwrap_err();
        heap.check_invariants().unwrap();
        error
    };
    // Freed twice, at once and after others.
    // SAFETY: a live block.
    unsafe { heap.deallocate(blocks[0], layout(40)) }.unwrap();
    assert_eq!(refused(&mut heap, blocks[0], 40), FreeError::NotAllocated);
    // SAFETY: a live block.
    unsafe { heap.deallocate(blocks[1], layout(40)) }.unwrap();
    assert_eq!(refused(&mut heap, blocks[0], 40), FreeError::NotAllocated);
    // Inside a block; outside everything; with another class.
    assert_eq!(refused(&mut heap, at(blocks[2], 8), 40), FreeError::Misaligned);
    assert_eq!(refused(&mut heap, NonNull::from(&[0u64; 8]).cast(), 40), FreeError::Foreign);
    assert_eq!(refused(&mut heap, blocks[2], 400), FreeError::Foreign);
    // With another size of the same class.
    assert_eq!(refused(&mut heap, blocks[2], 36), FreeError::WrongSize);
    // One byte past the end: refused until it is put right.
    let past = at(blocks[2], 40);
    // SAFETY: memory of the slab; this is the misuse.
    unsafe { past.write(1) };
    assert_eq!(refused(&mut heap, blocks[2], 40), FreeError::WrongSize);
    // SAFETY: a live block.
    let resized = unsafe { heap.resize_in_place(blocks[2], layout(40), 30) };
    assert_eq!(resized, Err(AllocError::BadBlock(FreeError::WrongSize)));
    // SAFETY: as above.
    unsafe { past.write(hectare_slab::hardened::RED) };
    // SAFETY: a live block.
    unsafe { heap.deallocate(blocks[2], layout(40)) }.unwrap();
    // Written after free: never handed out again.
    // SAFETY: memory of the slab; this is the misuse.
    unsafe { at(blocks[1], 9).write(0) };
    let mut seen = Vec::new();
    let count = if cfg!(miri) { 90 } else { 200 };
    for _ in 0..count {
        let block = heap.allocate(layout(40)).unwrap();
        assert_ne!(block, blocks[1]);
        seen.push(block);
    }
    assert_eq!(heap.retired(), 1);
    // Read after free: poison.
    // SAFETY: a live block.
    unsafe { heap.deallocate(blocks[5], layout(40)) }.unwrap();
    // SAFETY: memory of the slab; this is the misuse.
    assert_eq!(unsafe { blocks[5].read() }, POISON);
    // In random order.
    let ascending = seen.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((count / 5..count / 5 * 4).contains(&ascending), "{ascending}");
}

/// Everything behind a block is overwritten: blocks that are live, blocks that are free, and in the end the slab's header.
#[test]
fn many_bytes_past_the_end() {
    let mut machine = Machine::new(8);
    let (source, window) = machine.start();
    let mut heap = HardenedHeap::new(&source, window, 5);
    let mut blocks: Vec<_> = (0..20).map(|_| heap.allocate(layout(200)).unwrap()).collect();
    blocks.sort();
    let frame = |block: NonNull<u8>| block.addr().get() / 4096;
    // Four blocks of one slab; the class has 208 bytes.
    let start = blocks.windows(4).position(|four| at(four[0], 3 * 208) == four[3]).unwrap();
    let four = &blocks[start..start + 4];
    // SAFETY: a live block.
    unsafe { heap.deallocate(four[2], layout(200)) }.unwrap();
    // SAFETY: memory of the slab; this is the misuse: the end of the first, all of the second and of the third.
    unsafe { at(four[0], 200).write_bytes(7, 8 + 2 * 208) };
    for block in &four[..2] {
        // SAFETY: a live block, which the misuse has hit.
        assert_eq!(unsafe { heap.deallocate(*block, layout(200)) }, Err(FreeError::WrongSize));
    }
    // SAFETY: a live block, behind what was written.
    unsafe { heap.deallocate(four[3], layout(200)) }.unwrap();
    // SAFETY: a live block.
    unsafe { heap.resize_in_place(four[0], layout(200), 190) }.unwrap_err();
    heap.check_invariants().unwrap();
    let again: Vec<_> = (0..20).map_while(|_| heap.allocate(layout(200)).ok()).collect();
    assert!(heap.retired() == 1 && !again.contains(&four[2]), "what was written to while it was free");
    // The header, which lies behind the last block: whoever frees a block of this slab is told.
    let last = *blocks.iter().filter(|block| frame(**block) == frame(four[0])).max().unwrap();
    let end = (frame(last) + 1) * 4096 - last.addr().get();
    // SAFETY: memory of the slab; this is the misuse.
    unsafe { at(last, 200).write_bytes(7, end - 200) };
    for block in blocks.iter().filter(|block| frame(**block) == frame(last)) {
        // SAFETY: a bad free, or one of a slab that has lost its header.
        assert_eq!(unsafe { heap.deallocate(*block, layout(200)) }, Err(FreeError::Foreign));
    }
    // Its lists cannot be walked any more.
    core::mem::forget(heap);
}

#[test]
#[cfg_attr(miri, ignore = "looks at every byte of every block: too long")]
fn good_use_is_never_refused() {
    let mut machine = Machine::new(128);
    let (source, window) = machine.start();
    {
        let mut heap = HardenedHeap::new(&source, window, 99);
        let mut live: Vec<(NonNull<u8>, usize)> = Vec::new();
        let mut state = 12345usize;
        for _ in 0..5000 {
            state = state.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f) % (1 << 31);
            match state % 4 {
                0 | 1 => {
                    let size = (state >> 8) % [16, 200, 3000, 40_000][(state >> 4) % 4];
                    if let Ok(block) = heap.allocate(layout(size)) {
                        // SAFETY: a block of that size.
                        unsafe { block.write_bytes(1, size) };
                        live.push((block, size));
                    }
                }
                2 if !live.is_empty() => {
                    let (block, size) = live.swap_remove((state >> 8) % live.len());
                    // SAFETY: a live block.
                    unsafe { heap.deallocate(block, layout(size)) }.unwrap();
                }
                3 if !live.is_empty() => {
                    let index = (state >> 8) % live.len();
                    let (block, size) = live[index];
                    let new = size + (state >> 16) % 50;
                    // SAFETY: a live block.
                    if let Ok(moved) = unsafe { heap.reallocate(block, layout(size), new) } {
                        // SAFETY: a block of that size.
                        unsafe { moved.write_bytes(2, new) };
                        live[index] = (moved, new);
                    }
                }
                _ => {}
            }
        }
        heap.check_invariants().unwrap();
        for (block, size) in live {
            // SAFETY: a live block.
            unsafe { heap.deallocate(block, layout(size)) }.unwrap();
        }
        assert_eq!(heap.retired(), 0);
    }
    assert_eq!(free(&source), 128);
    machine.check();
}
