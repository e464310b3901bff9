//! good_memory_allocator ("galloc"): exact small bins by size and alignment, one list for the rest.

use core::alloc::Layout;
use core::ptr::NonNull;

use good_memory_allocator::Allocator;

use crate::subject::Subject;

/// The allocator with its default numbers of bins. It must not move once it has memory.
#[derive(Debug)]
pub struct GoodMemory(Allocator);

// SAFETY: every request goes to good_memory_allocator.
unsafe impl Subject for GoodMemory {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        if arena.len() < 4096 {
            return None;
        }
        let mut this = Box::new(Self(Allocator::empty()));
        // SAFETY: the caller's promise: the arena is valid and nobody else's; the allocator stays in its box.
        unsafe { this.0.init(arena.cast::<u8>().addr().get(), arena.len()) };
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0.
        unsafe { self.0.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(block, layout, new_size) }
    }
}
