//! Any `mutex-traits` 1 scoped mutex as a lock.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::fmt;

use mutex_traits_1::{ConstInit, ScopedRawMutex};

use crate::{RawLock, Reentered};

/// A `mutex-traits` 1 scoped raw mutex as a [`RawLock`].
///
/// On re-entry it does what the mutex does: block for ever or panic. It cannot be refused with [`Reentered`], because
/// the trait's `try_with_lock` does not tell re-entry from another thread's visit, which is worth waiting for. Such a
/// panic aborts the program when it comes from inside `GlobalAlloc` or `Allocator`. For a critical section,
/// `CriticalSectionLock` is the better choice: it refuses.
pub struct ScopedLock<R>(R);

impl<R: ConstInit> ScopedLock<R> {
    /// A lock that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self(R::INIT)
    }
}

impl<R> ScopedLock<R> {
    /// This mutex as a lock.
    #[must_use]
    pub const fn from_mutex(mutex: R) -> Self {
        Self(mutex)
    }
}

impl<R: ConstInit> Default for ScopedLock<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for ScopedLock<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedLock").finish_non_exhaustive()
    }
}

// SAFETY: (1) `ScopedRawMutex` promises that nobody locks it while it is locked; (2) a nested `with_lock` blocks or
// panics without running its closure; (3) a mutex makes what was written under it visible.
unsafe impl<R: ScopedRawMutex + ConstInit> RawLock for ScopedLock<R> {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self::new();

    #[inline]
    fn with<T>(&self, f: impl FnOnce() -> T) -> Result<T, Reentered> {
        Ok(self.0.with_lock(f))
    }
}
