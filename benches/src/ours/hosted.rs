//! The hosted heap, by its functions.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_slab::hosted;

use crate::family::Functions;

/// The heap of ordinary programs, of `hectare-slab`.
#[derive(Debug)]
pub struct Hosted;

// SAFETY: the heap's own functions.
unsafe impl Functions for Hosted {
    #[inline(always)]
    fn allocate(size: usize) -> *mut u8 {
        hosted::allocate(size)
    }

    #[inline(always)]
    fn allocate_zeroed(size: usize) -> *mut u8 {
        hosted::allocate_zeroed(size)
    }

    #[inline(always)]
    fn allocate_aligned(layout: Layout) -> *mut u8 {
        hosted::allocate_aligned(layout.size(), layout.align())
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { hosted::free(block) }
    }

    #[inline(always)]
    unsafe fn reallocate(block: *mut u8, size: usize) -> *mut u8 {
        let Some(old) = NonNull::new(block) else { return hosted::allocate(size) };
        // SAFETY: the caller's promise.
        unsafe { hosted::reallocate(old, size) }
    }
}
