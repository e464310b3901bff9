//! The heap as Rust's global allocator.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use super::{allocate, allocate_aligned, allocate_small, allocate_zeroed, free, large_zeroed, reallocate};
use crate::free::HARDENED;
use crate::size_class::class_of_layout;

/// The heap as a `GlobalAlloc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hosted;

// SAFETY: blocks are valid for the class's size, which is at least the layout's, aligned as `size_class` promises, and
// disjoint: an object is in one place at a time (`Free`).
unsafe impl GlobalAlloc for Hosted {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !HARDENED && layout.size() <= 8 && layout.align() <= 8 {
            allocate_small(0)
        } else if layout.align() <= 16 {
            allocate(layout.size())
        } else {
            allocate_aligned(layout.size(), layout.align())
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { free(block) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= 16 {
            return allocate_zeroed(layout.size());
        }
        if class_of_layout(layout).is_none() {
            return large_zeroed(layout.size(), layout.align());
        }
        let block = allocate_aligned(layout.size(), layout.align());
        if !block.is_null() {
            // SAFETY: the block has that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (Some(old), true) = (NonNull::new(block), layout.align() <= 16) else {
            let new = allocate_aligned(new_size, layout.align());
            if !new.is_null() {
                // SAFETY: both are live, distinct, and at least that long.
                unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
                // SAFETY: the caller's promise; the copy is done.
                unsafe { free(block) };
            }
            return new;
        };
        // SAFETY: the caller's promise.
        unsafe { reallocate(old, new_size) }
    }
}
