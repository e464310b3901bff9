//! rlsf: two-level segregated fit.

use core::alloc::Layout;
use core::ptr::NonNull;

use rlsf::Tlsf;

use crate::subject::Subject;

/// 28 first-level classes (blocks up to 8 GiB) of 64 lists each, as many as the crate's own global allocator has on 64-bit.
#[derive(Debug)]
pub struct Rlsf(Tlsf<'static, u32, u64, 28, 64>);

// SAFETY: every request goes to rlsf.
unsafe impl Subject for Rlsf {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let mut this = Box::new(Self(Tlsf::new()));
        // SAFETY: the caller's promise: the arena is valid and nobody else's.
        unsafe { this.0.insert_free_block_ptr(arena) }?;
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        self.0.allocate(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(block, layout.align()) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the alignment is that of a layout; sizes come from traces, far below isize::MAX.
        let layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller's promise.
        unsafe { self.0.reallocate(block, layout) }.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}
