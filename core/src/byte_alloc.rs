//! Byte allocation with one owner: what every heap engine implements and [`Heap`](crate::Heap) wraps.
#![expect(unsafe_code, reason = "declares an unsafe trait and its provided methods")]

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::{AllocError, FreeError, RegionError};

/// A single owner's byte allocator.
///
/// Unlike `GlobalAlloc` it has `&mut self`, typed errors, and refuses bad frees where its metadata can tell.
///
/// # Safety
/// The implementer promises that a returned block (1) is valid for reads and writes of `layout.size()` bytes, (2) is
/// aligned to `layout.align()`, (3) overlaps no other block that it returned and that was not given back, nor its own
/// metadata, and (4) stays so until it is given back or the allocator is dropped, even if the allocator is moved. Safe
/// code that has `&mut` access to the allocator cannot break these promises: a method that takes blocks back is
/// `unsafe`.
pub unsafe trait ByteAllocator {
    /// Takes a block of `layout.size()` bytes. Size 0 is served as 1 byte. Contents are unspecified.
    ///
    /// # Errors
    /// Why there is no such block. Nothing is changed.
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError>;

    /// Gives a block back.
    ///
    /// # Safety
    /// `block` is live, of this allocator, allocated (or last resized) with `layout`, and nothing uses it any more.
    ///
    /// # Errors
    /// What the metadata can tell about a bad free; nothing is changed then. An implementation may detect less than
    /// every violation of the contract above, and its documentation lists what it detects.
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;

    /// As [`allocate`](Self::allocate), with all `layout.size()` bytes zero.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: promise (1) of `allocate`: the block is valid for writes of that many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
        Ok(block)
    }

    /// Makes a block larger or smaller where it lies. By default refused.
    ///
    /// # Safety
    /// As [`deallocate`](Self::deallocate), but the block stays in use: with `new_size` from then on if the result is
    /// `Ok`. `new_size`, rounded up to `layout.align()`, does not exceed `isize::MAX`.
    ///
    /// # Errors
    /// [`AllocError::NotInPlace`] if there is no room; the block is as it was.
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let _ = (block, layout, new_size);
        Err(AllocError::NotInPlace)
    }

    /// Makes a block larger or smaller, moving it if it must: the first `min(old, new)` bytes are kept.
    ///
    /// # Safety
    /// As [`resize_in_place`](Self::resize_in_place); after `Ok` only the returned block is live.
    ///
    /// # Errors
    /// Why there is no such block; the old one is as it was.
    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promises are those asked for.
        match unsafe { self.resize_in_place(block, layout, new_size) } {
            Ok(()) => return Ok(block),
            Err(AllocError::NotInPlace) => {}
            Err(error) => return Err(error),
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return Err(AllocError::TooLarge);
        };
        let new = self.allocate(new_layout)?;
        // SAFETY: (1) the old block is live and valid for `layout.size()` bytes (caller), the new one for `new_size`
        // (promise 1); (2) live blocks do not overlap (promise 3).
        unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
        // SAFETY: the caller's promise; nothing uses the old block after the copy.
        unsafe { self.deallocate(block, layout) }?;
        Ok(new)
    }
}

// SAFETY: every promise is the inner allocator's.
unsafe impl<A: ByteAllocator + ?Sized> ByteAllocator for &mut A {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        (**self).allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { (**self).deallocate(block, layout) }
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        (**self).allocate_zeroed(layout)
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { (**self).resize_in_place(block, layout, new_size) }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { (**self).reallocate(block, layout, new_size) }
    }
}

/// A byte allocator that is fed with regions of memory and can exist before the first one.
///
/// # Safety
/// As [`ByteAllocator`]; besides, the implementer touches only memory inside the regions that it was given.
pub unsafe trait RegionHeap: ByteAllocator + Sized {
    /// An allocator without memory: every allocation is refused.
    const EMPTY: Self;

    /// Gives a region to the allocator. Part of it may become metadata; bytes lost to alignment are not used.
    ///
    /// # Safety
    /// The region is valid for reads and writes, nothing else uses it, and it stays so until it is removed or the
    /// allocator and all of its blocks are gone.
    ///
    /// # Errors
    /// Why the region was not taken; then it is untouched.
    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError>;
}
