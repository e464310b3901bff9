//! How code reaches physical memory: table walkers and slabs get pointers here and nowhere else.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use core::ptr::NonNull;

use crate::PhysAddr;

/// A window onto physical memory.
///
/// # Safety
/// The implementer promises that a returned pointer is valid for reads and writes of `length` bytes that are exactly
/// the physical bytes `[address, address + length)`, for as long as the window exists, and that equal addresses give
/// equal pointers.
pub unsafe trait PhysWindow {
    /// The pointer to `length` bytes at `address`; `None` if the window does not show all of them.
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>>;
}

// SAFETY: the pointer is the inner window's.
unsafe impl<W: PhysWindow + ?Sized> PhysWindow for &W {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        (**self).pointer(address, length)
    }
}

/// The commonest window: one physical range, visible in one piece (a kernel's direct map, identity-mapped firmware, an
/// arena in a test).
///
/// ```
/// use core::ptr::NonNull;
/// use hectare_core::{DirectMap, PhysAddr, PhysWindow};
///
/// let mut memory = [0_u64; 512]; // stands for the 4 KiB of physical memory at 0x8000_0000
/// let pointer = NonNull::from(&mut memory).cast::<u8>();
/// // SAFETY: those bytes, which live as long as the window.
/// let window = unsafe { DirectMap::new(pointer, PhysAddr::new(0x8000_0000), 4096) }.expect("no end wraps");
/// let entry = window.pointer(PhysAddr::new(0x8000_0010), 8).expect("inside").cast::<u64>();
/// // SAFETY: the window's promise for 8 bytes, aligned as the array is; nobody else uses them now.
/// unsafe { entry.write(7) };
/// assert_eq!(window.pointer(PhysAddr::new(0x8000_0ff9), 8), None); // one byte would lie outside
/// assert_eq!(window.pointer(PhysAddr::new(0x7fff_ffff), 1), None);
/// assert_eq!(memory[2], 7);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DirectMap {
    pointer: NonNull<u8>,
    first: PhysAddr,
    length: u64,
}

impl DirectMap {
    /// Shows the `length` physical bytes from `first` at `pointer`; `None` if either end wraps.
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes of `length` bytes, which are those physical bytes, for as long as the
    /// window or a copy of it is used.
    #[must_use]
    pub unsafe fn new(pointer: NonNull<u8>, first: PhysAddr, length: u64) -> Option<Self> {
        let bytes = usize::try_from(length).ok()?;
        pointer.addr().get().checked_add(bytes)?;
        first.checked_add(length)?;
        Some(Self { pointer, first, length })
    }
}

// SAFETY: (1) the checks below leave only bytes inside the range that `new`'s caller vouched for; (2) the pointer is
// one fixed base plus the offset.
unsafe impl PhysWindow for DirectMap {
    #[inline]
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        // An address below the first wraps to an offset beyond the length: neither end wraps.
        let offset = address.value().wrapping_sub(self.first.value());
        if offset > self.length.checked_sub(length)? {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: offset + length ≤ self.length, and `new`'s caller vouched for that many bytes from `self.pointer`.
        Some(unsafe { self.pointer.add(offset) })
    }
}

// SAFETY: a `DirectMap` only computes pointers; who dereferences them argues for that access.
unsafe impl Send for DirectMap {}
// SAFETY: as above; it has no interior mutability.
unsafe impl Sync for DirectMap {}
