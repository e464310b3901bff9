//! The memory that arena allocators work in: mapped from the system, equally aligned for everyone.

use core::ptr::NonNull;
use std::io;

/// A private mapping. It begins at a multiple of the power of two at or above its length (at least 2 MiB), so that
/// buddy systems can use one block of any size, and so that every arena of one length is placed alike.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    length: usize,
}

impl Arena {
    /// Maps `length` bytes, rounded up to whole 4-KiB pages. Nothing is resident yet.
    ///
    /// # Errors
    /// What the system says if it has no such range.
    pub fn new(length: usize) -> io::Result<Self> {
        let length = length.max(1).next_multiple_of(4096);
        let align = length.next_power_of_two().max(2 << 20);
        let reserved = length + align;
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new anonymous mapping at a place of the system's choice touches no memory in use.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), reserved, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        let lead = start.addr().next_multiple_of(align) - start.addr();
        // SAFETY: lead < align ≤ reserved.
        let base = unsafe { start.add(lead) };
        unmap(start, lead);
        // SAFETY: lead + length ≤ align + length = reserved.
        unmap(unsafe { base.add(length) }, reserved - lead - length);
        let Some(base) = NonNull::new(base) else { return Err(io::Error::other("mapped at null")) };
        Ok(Self { base, length })
    }

    /// The first byte's address.
    #[must_use]
    pub fn base(&self) -> usize {
        self.base.addr().get()
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The first `length` bytes.
    ///
    /// # Panics
    /// If the arena is shorter.
    #[must_use]
    pub fn region(&mut self, length: usize) -> NonNull<[u8]> {
        assert!(length <= self.length, "an arena of {} bytes has no region of {length}", self.length);
        NonNull::slice_from_raw_parts(self.base, length)
    }

    /// Writes to every page of the first `length` bytes, so that no page fault falls into a measurement.
    pub fn touch(&mut self, length: usize) {
        for offset in (0..length.min(self.length)).step_by(4096) {
            // SAFETY: offset < self.length.
            let byte = unsafe { self.base.add(offset) };
            // SAFETY: the mapping is readable and writable, and ours.
            unsafe { byte.write_volatile(0) };
        }
    }

    /// Gives every page back to the system; the arena reads as zeros again.
    pub fn drop_pages(&mut self) {
        // SAFETY: the range is our own mapping; whoever used its contents has finished (the callers build a new
        // allocator in it each time).
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        unmap(self.base.as_ptr(), self.length);
    }
}

fn unmap(start: *mut u8, length: usize) {
    if length > 0 {
        // SAFETY: the callers pass parts of their own mapping that nothing refers to any more.
        unsafe { libc::munmap(start.cast(), length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_aligned_writable_and_forgets_its_pages() {
        for length in [1, 4096, 5 << 20, 33 << 20] {
            let mut arena = Arena::new(length).unwrap();
            assert_eq!(arena.base() % arena.length().next_power_of_two().max(2 << 20), 0);
            arena.touch(arena.length());
            let first = arena.region(1).cast::<u8>();
            // SAFETY: the arena is at least one byte long.
            unsafe { first.write(7) };
            arena.drop_pages();
            // SAFETY: as above.
            assert_eq!(unsafe { first.read() }, 0);
        }
    }
}
