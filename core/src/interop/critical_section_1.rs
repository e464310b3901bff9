//! A critical section as a lock: for microcontrollers, also those without compare-and-swap.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::cell::Cell;

use crate::lock::Leave;
use crate::{RawLock, Reentered};

/// The `critical-section` 1 implementation that the program links, as a [`RawLock`].
///
/// Critical sections nest, so the lock remembers that it is held and refuses a nested use with [`Reentered`]. On one
/// core that is the whole state: interrupts are off while a closure runs.
///
/// ```
/// use hectare_core::{CriticalSectionLock, RawLock, Reentered};
/// static LOCK: CriticalSectionLock = CriticalSectionLock::new();
/// assert_eq!(LOCK.with(|| LOCK.with(|| ())), Ok(Err(Reentered)));
/// ```
#[derive(Debug, Default)]
pub struct CriticalSectionLock {
    entered: Cell<bool>,
}

impl CriticalSectionLock {
    /// A lock that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { entered: Cell::new(false) }
    }
}

// SAFETY: `entered` is reached only inside a critical section, one thread or interrupt handler at a time.
unsafe impl Sync for CriticalSectionLock {}

// SAFETY: (1) a critical section keeps every other CPU, thread and interrupt handler out; (2) `entered` refuses the
// nested calls that it would let in; (3) the next critical section sees what this one wrote.
unsafe impl RawLock for CriticalSectionLock {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self::new();

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
        critical_section_1::with(|_| {
            if self.entered.replace(true) {
                return Err(Reentered);
            }
            let _leave = Leave(&self.entered);
            Ok(f())
        })
    }
}
