//! Any `lock_api` 0.4 raw mutex as a lock.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::fmt;

use lock_api_04::RawMutex;

use crate::{RawLock, Reentered};

/// A `lock_api` 0.4 raw mutex (of spin, parking_lot 0.12, …) as a [`RawLock`]. Re-entry deadlocks, as it does there.
pub struct LockApi04<R>(R);

impl<R: RawMutex> LockApi04<R> {
    /// A lock that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self(R::INIT)
    }
}

impl<R: RawMutex> Default for LockApi04<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for LockApi04<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockApi04").finish_non_exhaustive()
    }
}

struct Unlock<'a, R: RawMutex>(&'a R);

impl<R: RawMutex> Drop for Unlock<'_, R> {
    fn drop(&mut self) {
        // SAFETY: an `Unlock` is made right after `lock` returned, and only there.
        unsafe { self.0.unlock() };
    }
}

// SAFETY: (1) `RawMutex` promises mutual exclusion, so a nested call does not come through `lock` either; (2) the
// closure runs between `lock` and `unlock`, also if it panics; (3) a mutex makes what was written under it visible.
unsafe impl<R: RawMutex> RawLock for LockApi04<R> {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self::new();

    #[inline]
    fn with<T>(&self, f: impl FnOnce() -> T) -> Result<T, Reentered> {
        self.0.lock();
        let _unlock = Unlock(&self.0);
        Ok(f())
    }
}
