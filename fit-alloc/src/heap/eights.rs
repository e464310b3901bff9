//! Memory cleared and copied 8 bytes at a time, for compact heaps: the library's functions for that weigh more on a
//! microcontroller than half of such a heap. Volatile, so that the compiler does not put them back.
#![expect(unsafe_code, reason = "reads and writes the managed memory")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Writes `count` times 8 bytes of zeros.
///
/// # Safety
/// So many are valid for writes from `start` on, which is aligned to 8.
pub(crate) unsafe fn clear(start: NonNull<u64>, count: usize) {
    for index in 0..count {
        let granule = start.as_ptr().wrapping_add(index);
        // SAFETY: one of the caller's.
        unsafe { granule.write_volatile(0) };
    }
}

/// Copies `size` bytes, whatever they hold.
///
/// # Safety
/// (1) So many are valid for reads from `from` on and for writes from `to` on; (2) they do not overlap; (3) both are
/// aligned to 8.
pub(crate) unsafe fn copy(from: NonNull<u8>, to: NonNull<u8>, size: usize) {
    let mut done = 0;
    while size - done >= 8 {
        // SAFETY: (1), (2), (3): eight bytes of each, at a multiple of 8.
        unsafe { copy_one::<MaybeUninit<u64>>(from, to, done) };
        done += 8;
    }
    while done < size {
        // SAFETY: (1), (2).
        unsafe { copy_one::<MaybeUninit<u8>>(from, to, done) };
        done += 1;
    }
}

/// # Safety
/// `offset` bytes behind `from` there is a `T` to read, behind `to` room for one, both aligned for it.
#[inline(always)]
unsafe fn copy_one<T>(from: NonNull<u8>, to: NonNull<u8>, offset: usize) {
    let source = from.as_ptr().wrapping_add(offset).cast::<T>();
    // SAFETY: the caller vouches for it.
    let value = unsafe { source.read_volatile() };
    let target = to.as_ptr().wrapping_add(offset).cast::<T>();
    // SAFETY: as above.
    unsafe { target.write_volatile(value) };
}
