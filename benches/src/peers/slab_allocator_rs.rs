//! slab_allocator_rs: seven size classes and a buddy system, each with a fixed eighth of the memory.

use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use slab_allocator_rs::{Heap, MIN_HEAP_SIZE};

use crate::subject::{Subject, or_null};

/// The heap without its spin lock. Its destructor would walk every free list: left out.
#[expect(missing_debug_implementations, reason = "slab_allocator_rs has none")]
pub struct SlabAllocatorRs(ManuallyDrop<Heap>);

// SAFETY: every request goes to slab_allocator_rs.
unsafe impl Subject for SlabAllocatorRs {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let length = arena.len() / MIN_HEAP_SIZE * MIN_HEAP_SIZE;
        if length == 0 {
            return None;
        }
        // SAFETY: the caller's promise; the length is a multiple of what the crate asks for.
        let heap = unsafe { Heap::new(arena.cast::<u8>().addr().get(), length) };
        Some(Box::new(Self(ManuallyDrop::new(heap))))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.0.allocate(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(block, layout) }
    }
}
