//! linked_list_allocator: first fit over one list of holes in address order.

use core::alloc::Layout;
use core::ptr::NonNull;

use linked_list_allocator::Heap;

use crate::subject::{Subject, or_null};

/// The heap without its spin lock.
#[expect(missing_debug_implementations, reason = "linked_list_allocator has none")]
pub struct LinkedList(Heap);

// SAFETY: every request goes to linked_list_allocator.
unsafe impl Subject for LinkedList {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        if arena.len() < 64 {
            return None;
        }
        let mut this = Box::new(Self(Heap::empty()));
        // SAFETY: the caller's promise: the arena is valid and nobody else's.
        unsafe { this.0.init(arena.cast().as_ptr(), arena.len()) };
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.0.allocate_first_fit(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(block, layout) }
    }
}
