//! What is measured: one allocator, behind the smallest interface that all of them can bear.

use core::alloc::Layout;
use core::ptr::NonNull;

/// An allocator under measurement. The timed loops are generic over it: no dynamic call, and no lock, for anyone.
///
/// Sizes are never 0. A null pointer means that the request was refused; an old block is then as it was.
///
/// # Safety
/// An implementation only passes requests on: blocks that the allocator behind it returns are valid for the layout's
/// size until they are given back. (Whether the allocator keeps that promise is what the checked pass finds out.)
pub unsafe trait Subject: Sized {
    /// Whether the allocator fetches its memory from the system itself instead of being given an arena.
    const HOSTED: bool = false;

    /// Begins anew in this arena; `None` if it is too small. Boxed, because some allocators must not move.
    ///
    /// # Safety
    /// The arena is valid for reads and writes, begins at a multiple of 2 MiB, and is nobody else's until the result
    /// is gone.
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>>;

    /// The same allocator for the calling thread, which is CPU `cpu` from now on: for an allocator that several threads use
    /// at once without a lock around it. No two that use it meanwhile are the same CPU.
    fn share(&self, _cpu: usize) -> Option<Self> {
        None
    }

    /// Takes a block.
    fn allocate(&mut self, layout: Layout) -> *mut u8;

    /// Takes a block of zeros.
    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        let block = self.allocate(layout);
        if !block.is_null() {
            // SAFETY: the block is valid for writes of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// The block is live, with this layout, and no longer used.
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout);

    /// Makes a block larger or smaller, moving it if it must.
    ///
    /// # Safety
    /// The block is live, with this layout; `new_size` is not 0. After success only the returned block is live.
    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the alignment is that of a layout; sizes come from traces, which are far below isize::MAX.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let new = self.allocate(new_layout);
        if !new.is_null() {
            // SAFETY: both blocks are live, distinct, and at least that long.
            unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
            // SAFETY: the caller's promise; the copy is done.
            unsafe { self.deallocate(block, layout) };
        }
        new
    }

    /// Bytes of control structures that do not depend on the number of blocks: the allocator's own value and the
    /// tables that it placed in the arena, as far as they are known.
    fn metadata_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A refused request as the null pointer that [`Subject`] wants.
#[inline(always)]
pub(crate) fn or_null<E>(block: Result<NonNull<u8>, E>) -> *mut u8 {
    block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}
