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
    // Freed twice, also after others.
    // SAFETY: a live block.
    unsafe { heap.deallocate(blocks[0], layout(40)) }.unwrap();
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
    let count = if cfg!(miri) { 20 } else { 200 };
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
