//! bitmap-allocator: a tree of 16-bit nodes over one bit a frame.

use bitmap_allocator::{BitAlloc, BitAlloc1M};

use crate::frames::subject::{Memory, Subject};

/// The bitmap of a million frames, 4 GiB.
#[expect(missing_debug_implementations, reason = "bitmap-allocator has none")]
pub struct Bitmap(BitAlloc1M);

impl Subject for Bitmap {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        if memory.frames() > BitAlloc1M::CAP {
            return None;
        }
        let mut this = Box::new(Self(BitAlloc1M::DEFAULT));
        this.0.insert(0..memory.frames());
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        let first = match order {
            0 => self.0.alloc(),
            _ => self.0.alloc_contiguous(None, 1 << order, order as usize),
        };
        first.map(|first| first as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        match order {
            0 => self.0.dealloc(block as usize),
            _ => self.0.dealloc_contiguous(block as usize, 1 << order),
        }
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(size_of::<Self>())
    }
}
