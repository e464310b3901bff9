//! buddy_system_allocator, both of them: a tree of free blocks for each order, and lists through the free frames.

use core::alloc::Layout;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use buddy_system_allocator::{FrameAllocator, Heap};

use crate::frames::subject::{FRAME, Memory, Subject};

/// The frame allocator: its trees take their nodes from the heap.
#[expect(missing_debug_implementations, reason = "buddy_system_allocator has none")]
pub struct BuddySystemFrames(FrameAllocator<33>);

impl Subject for BuddySystemFrames {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let mut this = Box::new(Self(FrameAllocator::new()));
        this.0.add_frame(0, memory.frames());
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        self.0.alloc(1 << order).map(|frame| frame as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        self.0.dealloc(block as usize, 1 << order);
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        None
    }
}

/// The heap, used for whole frames: freeing searches a list.
#[derive(Debug)]
pub struct BuddySystemHeap {
    inner: Heap<33>,
    origin: usize,
}

#[inline(always)]
fn layout(order: u32) -> Layout {
    let bytes = FRAME << order;
    // SAFETY: a power of two, at most 4 KiB << 20.
    unsafe { Layout::from_size_align_unchecked(bytes, bytes) }
}

impl Subject for BuddySystemHeap {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let region = memory.region(0);
        let mut this = Box::new(Self { inner: Heap::empty(), origin: memory.origin() });
        // SAFETY: the region is valid and, by the caller's promise, nobody else's until the result is gone.
        unsafe { this.inner.init(region.cast::<u8>().addr().get(), region.len()) };
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        let block = self.inner.alloc(layout(order)).ok()?;
        Some((block.addr().get().wrapping_sub(self.origin) / FRAME) as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        let block = with_exposed_provenance_mut(self.origin + block as usize * FRAME);
        let Some(block) = NonNull::<u8>::new(block) else { return false };
        // SAFETY: the block is live with this layout, by the caller's promise.
        unsafe { self.inner.dealloc(block, layout(order)) };
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(size_of::<Self>())
    }
}
