//! buddy-slab-allocator: the page allocator of its two, lists through 12 bytes a frame.

use buddy_slab_allocator::BuddyAllocator;

use crate::frames::subject::{FRAME, Memory, Subject};

/// The crate's page allocator by itself. Its tables come before the frames, so that frame 0 is aligned: otherwise it
/// refuses every request whose alignment exceeds that of where its tables happen to end.
#[expect(missing_debug_implementations, reason = "buddy-slab-allocator has none")]
pub struct BuddySlab {
    inner: BuddyAllocator<FRAME>,
    origin: usize,
    tables: usize,
}

impl Subject for BuddySlab {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        // A description of the section stands before the entries of the frames.
        let tables = (BuddyAllocator::<FRAME>::required_meta_size(memory.frames() * FRAME) + 512)
            .next_multiple_of(FRAME);
        let mut region = memory.region(tables);
        let mut inner = BuddyAllocator::<FRAME>::new();
        // SAFETY: the region is valid and, by the caller's promise, nobody else's until the result is gone.
        let bytes = unsafe { region.as_mut() };
        // SAFETY: as above.
        unsafe { inner.init(bytes) }.ok()?;
        let section = inner.section(0)?;
        let fits = section.start == memory.origin() && section.total_pages == memory.frames();
        fits.then(|| Box::new(Self { inner, origin: memory.origin(), tables }))
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        // Blocks are aligned by themselves, so the shortest search will do.
        let address = self.inner.alloc_pages(1 << order, FRAME).ok()?;
        Some(((address - self.origin) / FRAME) as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        self.inner.dealloc_pages(self.origin + block as usize * FRAME, 1 << order);
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(size_of::<Self>() + self.tables)
    }
}
