//! What a block's owner writes: a pattern of the block's own, at both ends if the block is large.
#![expect(unsafe_code, reason = "writes and reads blocks")]

use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

/// Blocks with more bytes than twice this are written and looked at only at both ends: so many bytes there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(pub(super) usize);

/// Byte `at` of the block with this identity. Two blocks differ in nearly every byte.
fn pattern(id: u64, at: usize) -> u8 {
    let mixed = (id.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[at % 7] ^ at.wrapping_mul(0x35).to_le_bytes()[0]
}

impl Limit {
    /// The parts of a block that are looked at.
    fn ends(self, size: usize) -> [Range<usize>; 2] {
        if size <= 2 * self.0 { [0..size, size..size] } else { [0..self.0, size - self.0..size] }
    }

    /// Writes the pattern.
    ///
    /// # Safety
    /// The block is valid for writes of `size` bytes.
    pub(super) unsafe fn write(self, block: NonNull<u8>, size: usize, id: u64) {
        for at in self.ends(size).into_iter().flatten() {
            // SAFETY: at < size, and the block has that many bytes (caller).
            let byte = unsafe { block.add(at) };
            // SAFETY: valid for writes (caller).
            unsafe { byte.write(pattern(id, at)) };
        }
    }

    /// The first byte below `kept` that is not as [`write`](Self::write) left it in a block of `size` bytes.
    ///
    /// # Safety
    /// The block is valid for reads of `kept` bytes, those that `write` wrote are initialised, and nobody writes to it
    /// meanwhile.
    pub(super) unsafe fn lost(self, block: NonNull<u8>, size: usize, kept: usize, id: u64) -> Option<usize> {
        self.ends(size).into_iter().find_map(|part| {
            let part = part.start.min(kept)..part.end.min(kept);
            // SAFETY: the part ends at most at `kept`, and the block has that many bytes (caller).
            let start = unsafe { block.add(part.start) };
            // SAFETY: the part is readable and initialised, and does not change meanwhile (caller).
            let bytes = unsafe { slice::from_raw_parts(start.as_ptr(), part.len()) };
            let wrong = bytes.iter().zip(part.clone()).position(|(byte, at)| *byte != pattern(id, at))?;
            Some(part.start + wrong)
        })
    }

    /// The first byte that is not zero.
    ///
    /// # Safety
    /// The block is valid for reads of `size` bytes, and nobody writes to it meanwhile.
    pub(super) unsafe fn not_zero(self, block: NonNull<u8>, size: usize) -> Option<usize> {
        // SAFETY: as the caller says; a zeroed block is initialised.
        let bytes = unsafe { slice::from_raw_parts(block.as_ptr(), size) };
        bytes.iter().position(|byte| *byte != 0)
    }
}
