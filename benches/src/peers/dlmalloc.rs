//! dlmalloc in Rust: best fit with bins and tries.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

use dlmalloc::Allocator;

use crate::subject::Subject;

/// dlmalloc on a "system" that has one range of memory and gives it whole at the first request.
#[expect(missing_debug_implementations, reason = "dlmalloc has none")]
pub struct Dlmalloc(dlmalloc::Dlmalloc<OneRange>);

struct OneRange(Cell<Option<NonNull<[u8]>>>);

// SAFETY: the range is used by the one dlmalloc that holds this value, wherever it goes.
unsafe impl Send for OneRange {}

// SAFETY: the range is what `build` was given, handed out once.
unsafe impl Allocator for OneRange {
    fn alloc(&self, _size: usize) -> (*mut u8, usize, u32) {
        match self.0.take() {
            Some(range) => (range.cast().as_ptr(), range.len(), 0),
            None => (core::ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, _start: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn free_part(&self, _start: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _start: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

// SAFETY: every request goes to dlmalloc.
unsafe impl Subject for Dlmalloc {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let mut inner = dlmalloc::Dlmalloc::new_with_allocator(OneRange(Cell::new(Some(arena))));
        inner.set_max_release_check_rate(0);
        // Below a few pages its first request underflows.
        (arena.len() >= 4096).then(|| Box::new(Self(inner)))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and power of two are accepted.
        unsafe { self.0.malloc(layout.size(), layout.align()) }
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and power of two are accepted.
        unsafe { self.0.calloc(layout.size(), layout.align()) }
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.free(block, layout.size(), layout.align()) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(block, layout.size(), layout.align(), new_size) }
    }
}
