//! buddy_system_allocator: binary buddies with unsorted free lists (freeing searches a list).

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

use crate::subject::{Subject, or_null};

/// The heap without its spin lock; blocks up to 4 GiB.
#[derive(Debug)]
pub struct BuddySystem(Heap<33>);

// SAFETY: every request goes to buddy_system_allocator.
unsafe impl Subject for BuddySystem {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let mut this = Box::new(Self(Heap::empty()));
        // SAFETY: the caller's promise: the arena is valid and nobody else's.
        unsafe { this.0.init(arena.cast::<u8>().addr().get(), arena.len()) };
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.0.alloc(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }
}
