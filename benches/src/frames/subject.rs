//! What is measured: a page-frame allocator, behind the smallest interface that all of them can bear.

use core::ptr::NonNull;
use std::io;

use crate::arena::Arena;

/// Bytes of a frame.
pub const FRAME: usize = 4096;

/// An allocator of page frames under measurement. The timed loops are generic over it: no dynamic call, and no lock.
pub trait Subject: Sized {
    /// What the owner of a block keeps to give it back: the frame number, unless the allocator wants more.
    type Block: Copy + Send;

    /// Begins anew with `memory.frames()` frames, numbered from 0, all of them free; `None` if it cannot manage so
    /// many. Boxed, because some allocators must not move.
    ///
    /// # Safety
    /// The memory is nobody else's until the result is gone.
    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>>;

    /// Takes a block of 2^order frames; `None` if it is refused.
    fn allocate(&mut self, order: u32) -> Option<Self::Block>;

    /// Gives back a block. Whether it was taken back, where the allocator says so.
    ///
    /// # Safety
    /// The block is live, with this order.
    unsafe fn free(&mut self, block: Self::Block, order: u32) -> bool;

    /// The number of a block's first frame.
    fn frame(block: Self::Block) -> u64;

    /// Bytes of its tables and its own value; `None` if nobody knows, because they come from a heap and grow.
    fn metadata_bytes(&self) -> Option<usize>;
}

/// The frames as memory, for those allocators that write into free ones, and room before them for tables.
///
/// ```text
///  base              base + half
///  │ … tables … ────▶│ frame 0 │ frame 1 │ …
/// ```
/// The arena begins at a multiple of its size, a power of two, so frame 0 lies at a multiple of half of it: a block that is
/// aligned by number is aligned by address. Only what is touched becomes resident.
#[derive(Debug)]
pub struct Memory {
    arena: Arena,
    frames: usize,
    /// One more than the bytes in front of the frames that have been written to, with the frames; at first 0.
    touched: usize,
}

impl Memory {
    /// Memory for so many frames.
    ///
    /// # Errors
    /// What the system says if it has no such range.
    pub fn new(frames: usize) -> io::Result<Self> {
        let half = (frames * FRAME).next_power_of_two().max(2 << 20);
        Ok(Self { arena: Arena::new(2 * half)?, frames, touched: 0 })
    }

    /// How many frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Room for tables: at most half of the arena.
    ///
    /// # Panics
    /// If that does not suffice.
    pub fn tables(&mut self, bytes: usize) -> NonNull<[u8]> {
        assert!(bytes <= self.half(), "tables larger than the memory");
        self.arena.region(bytes)
    }

    /// The frames' memory and `before` bytes in front of it. Every page of the frames has been written to, so that no page
    /// fault falls into a measurement.
    ///
    /// # Panics
    /// If there are not so many bytes in front.
    pub fn region(&mut self, before: usize) -> NonNull<[u8]> {
        assert!(before <= self.half(), "tables larger than the memory");
        let (start, length) = (self.half() - before, before + self.frames * FRAME);
        let whole = self.arena.region(self.half() + self.frames * FRAME).cast::<u8>();
        // SAFETY: start ≤ half, which is half of the arena.
        let first = unsafe { whole.add(start) };
        if before >= self.touched {
            for offset in (0..length).step_by(FRAME) {
                // SAFETY: offset < length, and that much lies behind `first`.
                let byte = unsafe { first.add(offset) };
                // SAFETY: the mapping is readable and writable, and ours.
                unsafe { byte.write_volatile(0) };
            }
            self.touched = before + 1;
        }
        let _ = whole.expose_provenance();
        NonNull::slice_from_raw_parts(first, length)
    }

    /// The address of frame 0. Once the region has been asked for, pointers to the frames can be made from it.
    #[must_use]
    pub fn origin(&self) -> usize {
        self.arena.base() + self.half()
    }

    fn half(&self) -> usize {
        self.arena.length() / 2
    }
}
