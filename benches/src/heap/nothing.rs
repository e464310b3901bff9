//! The empty loop as an allocator: what replaying costs by itself.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::subject::Subject;

/// Answers every request with the same place.
#[derive(Debug)]
pub(super) struct Nothing(NonNull<u8>);

// SAFETY: the place is the beginning of an arena of twice the trace's peak: every single block fits. Blocks overlap,
// but the replay only writes to them.
unsafe impl Subject for Nothing {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        Some(Box::new(Self(arena.cast())))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        core::hint::black_box(layout);
        self.0.as_ptr()
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        self.allocate(layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        core::hint::black_box((block, layout));
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, _new_size: usize) -> *mut u8 {
        core::hint::black_box(layout);
        block
    }
}
