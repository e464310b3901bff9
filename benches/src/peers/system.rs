//! The system's malloc, called as C programs call it. (The harness's own memory comes from elsewhere, so that it does not
//! mix with the replayed blocks.)

use core::alloc::Layout;

use crate::family::Functions;

/// `malloc`, `calloc`, `realloc`, `posix_memalign` and `free`.
#[derive(Debug)]
pub struct System;

// SAFETY: the C library's own functions.
unsafe impl Functions for System {
    #[inline(always)]
    fn allocate(size: usize) -> *mut u8 {
        // SAFETY: always callable.
        unsafe { libc::malloc(size) }.cast()
    }

    #[inline(always)]
    fn allocate_zeroed(size: usize) -> *mut u8 {
        // SAFETY: always callable.
        unsafe { libc::calloc(1, size) }.cast()
    }

    #[inline(always)]
    fn allocate_aligned(layout: Layout) -> *mut u8 {
        let mut block = core::ptr::null_mut();
        // SAFETY: `block` is a valid place; the alignment is a power of two above the size of a pointer.
        match unsafe { libc::posix_memalign(&raw mut block, layout.align(), layout.size()) } {
            0 => block.cast(),
            _ => core::ptr::null_mut(),
        }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(block.cast()) }
    }

    #[inline(always)]
    unsafe fn reallocate(block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { libc::realloc(block.cast(), size) }.cast()
    }
}
