//! Our allocators, each behind [`Subject`].

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{Figures, RegionHeap};

use crate::subject::{Subject, or_null};

mod cpu_slab;
mod hosted;
mod slab;

pub use cpu_slab::CpuSlab;
pub use hosted::Hosted;
pub use slab::Slab;

/// Any of our heaps that is given its memory as a region.
#[derive(Debug)]
pub struct Region<A>(A);

impl<A> Region<A> {
    /// The heap.
    #[must_use]
    pub fn heap(&self) -> &A {
        &self.0
    }
}

// SAFETY: every request goes to the heap.
unsafe impl<A: RegionHeap + Figures> Subject for Region<A> {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let mut this = Box::new(Self(A::EMPTY));
        // SAFETY: the caller's promise: the arena is valid and nobody else's.
        unsafe { this.0.add_region(arena) }.ok()?;
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.0.allocate(layout))
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.0.allocate_zeroed(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        let result = unsafe { self.0.deallocate(block, layout) };
        debug_assert!(result.is_ok(), "a live block was not taken back");
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        or_null(unsafe { self.0.reallocate(block, layout, new_size) })
    }

    fn metadata_bytes(&self) -> usize {
        size_of::<Self>() + usize::try_from(self.0.usage().metadata_bytes).unwrap_or(usize::MAX)
    }
}
