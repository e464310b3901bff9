//! buddy-alloc: binary buddies with bitmaps, linked through the free frames themselves.

use core::ptr::with_exposed_provenance_mut;

use buddy_alloc::BuddyAllocParam;
use buddy_alloc::buddy_alloc::BuddyAlloc as Inner;

use crate::frames::subject::{FRAME, Memory, Subject};

/// The crate's buddies with leaves of one frame. Its tables come before the frames, so that blocks lie as they would be
/// numbered; by itself it counts alignment from where its tables happen to end.
#[expect(missing_debug_implementations, reason = "buddy-alloc has none")]
pub struct BuddyAlloc {
    inner: Inner,
    origin: usize,
    tables: usize,
}

impl Subject for BuddyAlloc {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let bytes = memory.frames() * FRAME;
        // Two bits for each leaf of each order, and the lists: this first instance only tells how much that is.
        let guess = (memory.frames() / 2 + (64 << 10)).next_multiple_of(FRAME);
        let region = memory.region(guess);
        let trial = BuddyAllocParam::new(region.cast::<u8>().as_ptr(), region.len(), FRAME);
        // SAFETY: the region is valid and, by the caller's promise, nobody else's; the instance is gone at once.
        let tables = region.len() - unsafe { Inner::new(trial) }.available_bytes();
        let region = memory.region(tables);
        let parameters = BuddyAllocParam::new(region.cast::<u8>().as_ptr(), region.len(), FRAME);
        // SAFETY: as above; it is used as long as the result lives.
        let inner = unsafe { Inner::new(parameters) };
        (inner.available_bytes() == bytes).then(|| Box::new(Self { inner, origin: memory.origin(), tables }))
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        let block = self.inner.malloc(FRAME << order);
        (!block.is_null()).then(|| (block.addr().wrapping_sub(self.origin) / FRAME) as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, _order: u32) -> bool {
        self.inner.free(with_exposed_provenance_mut(self.origin + block as usize * FRAME));
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(size_of::<Self>() + self.tables)
    }
}
