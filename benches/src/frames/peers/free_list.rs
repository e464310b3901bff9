//! free-list: the free ranges in one sorted array.

use free_list::{FreeList as Inner, PageLayout, PageRange};

use crate::frames::subject::{FRAME, Memory, Subject};

/// The list, which takes memory from the heap beyond 256 ranges.
#[derive(Debug)]
pub struct FreeList(Inner<256>);

impl Subject for FreeList {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let mut this = Box::new(Self(Inner::new()));
        let all = PageRange::from_start_len(0, memory.frames() * FRAME).ok()?;
        // SAFETY: the frames are nobody else's; they are numbers here and never touched.
        unsafe { this.0.deallocate(all) }.ok()?;
        Some(this)
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        let layout = PageLayout::from_size_align(FRAME << order, FRAME << order).ok()?;
        self.0.allocate(layout).ok().map(|range| (range.start() / FRAME) as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        let Ok(range) = PageRange::from_start_len(block as usize * FRAME, FRAME << order) else {
            return false;
        };
        // SAFETY: as in `build`.
        unsafe { self.0.deallocate(range) }.is_ok()
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        None
    }
}
