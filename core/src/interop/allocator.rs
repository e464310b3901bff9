//! `Allocator` for `Heap`, in three versions of the trait: the logic once, the signatures by a macro.
//!
//! Each version has a blanket `impl Allocator for &A`, so `&Heap` is an allocator too: that is what collections
//! usually hold (`HashMap::new_in(&heap)`). A heap by value belongs to one collection, because it is not `Clone`.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use crate::heap::never_unwind;
use crate::{ByteAllocator, Heap, RawLock};

/// A block as the trait returns it. The slice has exactly the length that was asked for.
type Block = Option<NonNull<[u8]>>;

/// The block of a zero-size layout: aligned, valid for nothing, never seen by the engine.
fn dangling(layout: Layout) -> Block {
    sized(NonNull::new(ptr::without_provenance_mut(layout.align()))?, 0)
}

#[expect(clippy::unnecessary_wraps, reason = "the last step of functions that can refuse")]
const fn sized(block: NonNull<u8>, size: usize) -> Block {
    Some(NonNull::slice_from_raw_parts(block, size))
}

fn allocate<L: RawLock, A: ByteAllocator>(heap: &Heap<L, A>, layout: Layout) -> Block {
    if layout.size() == 0 {
        return dangling(layout);
    }
    sized(heap.allocate_block(layout).ok()?, layout.size())
}

fn allocate_zeroed<L: RawLock, A: ByteAllocator>(heap: &Heap<L, A>, layout: Layout) -> Block {
    if layout.size() == 0 {
        return dangling(layout);
    }
    sized(heap.allocate_block_zeroed(layout).ok()?, layout.size())
}

/// # Safety
/// As `Allocator::deallocate`: `block` is live, of `heap`, and `layout` fits it.
unsafe fn deallocate<L: RawLock, A: ByteAllocator>(heap: &Heap<L, A>, block: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: the caller's promise; a block of non-zero size is the engine's. The hook knows about a refusal.
        let _ = unsafe { heap.free_block(block, layout) };
    }
}

/// Grows or shrinks. On `None` the old block is as it was.
///
/// # Safety
/// As `Allocator::grow` and `Allocator::shrink`: `block` is live, of `heap`, and `old` fits it.
unsafe fn resize<L: RawLock, A: ByteAllocator>(
    heap: &Heap<L, A>,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Block {
    if old.size() != 0 && new.size() != 0 && old.align() == new.align() {
        // SAFETY: (1) the caller's promise, and a block of non-zero size is the engine's; (2) `new` is a layout of the
        // same alignment, so the size does not overflow.
        let block = unsafe { heap.reallocate_block(block, old, new.size()) };
        return sized(block.ok()?, new.size());
    }
    // From nothing, to nothing, or to another alignment, which the engine must hear of.
    let moved = allocate(heap, new)?;
    let kept = old.size().min(new.size());
    // SAFETY: (1) both blocks are valid for `kept` bytes; (2) live blocks do not overlap, and a dangling one keeps none.
    unsafe { moved.cast::<u8>().copy_from_nonoverlapping(block, kept) };
    // SAFETY: the caller's promise; nothing uses the old block after the copy.
    unsafe { deallocate(heap, block, old) };
    Some(moved)
}

/// # Safety
/// As [`resize`], and `new` is not smaller than `old`.
unsafe fn grow_zeroed<L: RawLock, A: ByteAllocator>(
    heap: &Heap<L, A>,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Block {
    // SAFETY: the caller's promises are those asked for.
    let grown = unsafe { resize(heap, block, old, new) }?;
    // SAFETY: `old.size()` ≤ `new.size()` (caller), so the result lies in the block or at its end.
    let tail = unsafe { grown.cast::<u8>().add(old.size()) };
    // SAFETY: the block is valid for `new.size()` bytes.
    unsafe { tail.write_bytes(0, new.size().saturating_sub(old.size())) };
    Some(grown)
}

macro_rules! implement {
    ($feature:literal, $($path:ident)::+) => {
        #[cfg(feature = $feature)]
        const _: () = {
            use $($path)::+::{AllocError, Allocator};

            // SAFETY: (1) blocks are the engine's, which keeps `ByteAllocator`'s promises: they stay valid until given
            // back or until the heap is dropped, also when it moves; (2) a heap is not `Clone`, and no safe code
            // exchanges its engine; (3) what `grow` and `shrink` return holds the old contents, and an error leaves
            // the old block; (4) no call unwinds.
            unsafe impl<L: RawLock, A: ByteAllocator> Allocator for Heap<L, A> {
                #[inline]
                fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                    never_unwind(|| allocate(self, layout)).ok_or(AllocError)
                }

                #[inline]
                fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                    never_unwind(|| allocate_zeroed(self, layout)).ok_or(AllocError)
                }

                #[inline]
                unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                    // SAFETY: the caller's promise is the one asked for.
                    never_unwind(|| unsafe { deallocate(self, block, layout) });
                }

                #[inline]
                unsafe fn grow(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    // SAFETY: the caller's promises are those asked for.
                    never_unwind(|| unsafe { resize(self, block, old, new) }).ok_or(AllocError)
                }

                #[inline]
                unsafe fn grow_zeroed(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    // SAFETY: the caller's promises are those asked for.
                    never_unwind(|| unsafe { grow_zeroed(self, block, old, new) }).ok_or(AllocError)
                }

                #[inline]
                unsafe fn shrink(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    // SAFETY: the caller's promises are those asked for.
                    never_unwind(|| unsafe { resize(self, block, old, new) }).ok_or(AllocError)
                }
            }
        };
    };
}
implement!("allocator-api2-02", allocator_api2_02::alloc);
implement!("allocator-api2-04", allocator_api2_04::alloc);
implement!("nightly", core::alloc);
