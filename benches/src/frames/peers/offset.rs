//! offset-allocator: ranges of any length in bins by size, as games manage graphics memory. It knows no alignment.

use offset_allocator::{Allocation, Allocator};

use crate::frames::subject::{Memory, Subject};

/// The allocator with a node for each frame, which is as many as it can need.
#[expect(missing_debug_implementations, reason = "offset-allocator has none")]
pub struct Offset {
    inner: Allocator<u32>,
    tables: usize,
}

/// Bytes of a node: six numbers of 32 bits, a flag, and its place in the stack of free nodes.
const NODE: usize = 28 + 4;

impl Subject for Offset {
    type Block = Allocation<u32>;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let frames = u32::try_from(memory.frames()).ok()?;
        let nodes = frames.checked_add(8)?;
        let inner = Allocator::with_max_allocs(frames, nodes);
        Some(Box::new(Self { inner, tables: nodes as usize * NODE }))
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<Allocation<u32>> {
        self.inner.allocate(1 << order)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: Allocation<u32>, _order: u32) -> bool {
        self.inner.free(block);
        true
    }

    fn frame(block: Allocation<u32>) -> u64 {
        u64::from(block.offset)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(size_of::<Self>() + self.tables)
    }
}
