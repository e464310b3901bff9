//! The system's malloc, called as C programs call it.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::subject::Subject;

/// `malloc`, `calloc`, `realloc`, `posix_memalign` and `free`. (The harness's own memory comes from elsewhere, so that
/// it does not mix with the replayed blocks.)
#[derive(Debug)]
pub struct System;

/// What `malloc` itself guarantees on 64-bit systems.
const MALLOC_ALIGN: usize = 16;

// SAFETY: every request goes to the C library.
unsafe impl Subject for System {
    const HOSTED: bool = true;

    unsafe fn build(_arena: NonNull<[u8]>) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: always callable.
            return unsafe { libc::malloc(layout.size()) }.cast();
        }
        let mut block = core::ptr::null_mut();
        // SAFETY: `block` is a valid place; the alignment is a power of two above the size of a pointer.
        match unsafe { libc::posix_memalign(&raw mut block, layout.align(), layout.size()) } {
            0 => block.cast(),
            _ => core::ptr::null_mut(),
        }
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: always callable.
            return unsafe { libc::calloc(1, layout.size()) }.cast();
        }
        let block = self.allocate(layout);
        if !block.is_null() {
            // SAFETY: the block is valid for writes of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(block.cast()) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the caller's promise.
            return unsafe { libc::realloc(block.cast(), new_size) }.cast();
        }
        // SAFETY: the alignment is that of a layout; sizes come from traces, far below isize::MAX.
        let new = self.allocate(unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) });
        if !new.is_null() {
            // SAFETY: both blocks are live, distinct, and at least that long.
            unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
            // SAFETY: the caller's promise; the copy is done.
            unsafe { self.deallocate(block, layout) };
        }
        new
    }
}
