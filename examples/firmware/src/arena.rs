//! Static memory that is handed out once.
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;

use critical_section::Mutex;

/// `N` bytes at a multiple of 512, the size of a frame of the pool.
#[repr(C, align(512))]
pub struct Arena<const N: usize> {
    bytes: UnsafeCell<[MaybeUninit<u8>; N]>,
    taken: Mutex<Cell<bool>>,
}

// SAFETY: `take` gives the bytes to one caller.
unsafe impl<const N: usize> Sync for Arena<N> {}

impl<const N: usize> Arena<N> {
    pub const fn new() -> Self {
        Self { bytes: UnsafeCell::new([MaybeUninit::uninit(); N]), taken: Mutex::new(Cell::new(false)) }
    }

    /// The bytes, to the first who asks.
    pub fn take(&'static self) -> Option<&'static mut [MaybeUninit<u8>]> {
        if critical_section::with(|section| self.taken.borrow(section).replace(true)) {
            return None;
        }
        // SAFETY: nobody was here before, and nobody comes after.
        Some(unsafe { &mut *self.bytes.get() })
    }
}
