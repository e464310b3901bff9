//! talc 5: binned free lists with boundary tags.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use talc::source::Manual;
use talc::{DefaultBinning, TalcCell, min_first_heap_size};

use crate::subject::Subject;

/// talc's cell for one thread (no lock), one arena, no source of further memory.
#[expect(missing_debug_implementations, reason = "talc's binning has none")]
pub struct Talc(TalcCell<Manual>);

// SAFETY: every request goes to talc.
unsafe impl Subject for Talc {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let this = Box::new(Self(TalcCell::new(Manual)));
        // SAFETY: the caller's promise: the arena is valid and nobody else's.
        unsafe { this.0.claim(arena.cast().as_ptr(), arena.len()) }?;
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0.
        unsafe { self.0.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(block, layout, new_size) }
    }

    fn metadata_bytes(&self) -> usize {
        size_of::<Self>() + min_first_heap_size::<DefaultBinning>()
    }
}
