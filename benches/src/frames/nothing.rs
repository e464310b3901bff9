//! The empty loop as an allocator: what replaying costs by itself.

use super::subject::{Memory, Subject};

/// Answers every request with the same frame.
#[derive(Debug)]
pub(super) struct Nothing;

impl Subject for Nothing {
    type Block = u32;

    unsafe fn build(_memory: &mut Memory) -> Option<Box<Self>> {
        Some(Box::new(Self))
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        Some(core::hint::black_box(order))
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        core::hint::black_box((block, order));
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        None
    }
}
