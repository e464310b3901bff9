//! Allocators that bring their own memory, by the functions of C's family: one way to call all of them.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::subject::Subject;

/// What `malloc` itself guarantees on 64-bit systems.
const MALLOC_ALIGN: usize = 16;

/// `malloc` and its family, whoever's.
///
/// # Safety
/// The functions keep C's promises; blocks of `allocate` are aligned to 16; any thread may call them.
pub unsafe trait Functions: Sized {
    /// `malloc`.
    fn allocate(size: usize) -> *mut u8;

    /// `calloc`.
    fn allocate_zeroed(size: usize) -> *mut u8;

    /// `aligned_alloc`, for alignments above 16.
    fn allocate_aligned(layout: Layout) -> *mut u8;

    /// `free`.
    ///
    /// # Safety
    /// The block is live.
    unsafe fn free(block: *mut u8);

    /// `realloc`.
    ///
    /// # Safety
    /// The block is live; after success only the result is. The size is not 0.
    unsafe fn reallocate(block: *mut u8, size: usize) -> *mut u8;
}

/// A family as a [`Subject`]. Its memory is the process's.
#[derive(Debug)]
pub struct Family<F>(PhantomData<F>);

// SAFETY: every request goes to the family.
unsafe impl<F: Functions> Subject for Family<F> {
    const HOSTED: bool = true;

    unsafe fn build(_arena: NonNull<[u8]>) -> Option<Box<Self>> {
        Some(Box::new(Self(PhantomData)))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN { F::allocate(layout.size()) } else { F::allocate_aligned(layout) }
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            return F::allocate_zeroed(layout.size());
        }
        let block = F::allocate_aligned(layout);
        if !block.is_null() {
            // SAFETY: the block is valid for writes of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { F::free(block) }
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the caller's promise.
            return unsafe { F::reallocate(block, new_size) };
        }
        // SAFETY: the alignment is that of a layout; sizes come from traces, far below isize::MAX.
        let new = self.allocate(unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) });
        if !new.is_null() {
            // SAFETY: both blocks are live, distinct, and at least that long.
            unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
            // SAFETY: the caller's promise; the copy is done.
            unsafe { F::free(block) };
        }
        new
    }
}
