//! Any `lock_api` 0.5 raw mutex as a lock. Unlike 0.4, locking returns a state that unlocking consumes.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::fmt;

use lock_api_05::RawMutex;

use crate::{RawLock, Reentered};

/// A `lock_api` 0.5 raw mutex (of spinning_top 0.4, parking_lot 0.13, …) as a [`RawLock`]. Its guard may carry a saved
/// interrupt state. Re-entry deadlocks, as it does there.
pub struct LockApi05<R>(R);

impl<R: RawMutex> LockApi05<R> {
    /// A lock that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self(R::INIT)
    }
}

impl<R: RawMutex> Default for LockApi05<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for LockApi05<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockApi05").finish_non_exhaustive()
    }
}

/// The state of one acquisition; taken only by `drop`.
struct Unlock<'a, R: RawMutex> {
    raw: &'a R,
    state: Option<R::Guard>,
}

impl<R: RawMutex> Drop for Unlock<'_, R> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            // SAFETY: `state` is that of the acquisition that made this `Unlock`, and is consumed.
            unsafe { self.raw.unlock(state) };
        }
    }
}

// SAFETY: (1) `RawMutex` promises mutual exclusion, so a nested call does not come through `lock` either; (2) the
// closure runs between `lock` and `unlock`, also if it panics; (3) locking acquires, unlocking releases.
unsafe impl<R: RawMutex> RawLock for LockApi05<R> {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self::new();

    #[inline]
    fn with<T>(&self, f: impl FnOnce() -> T) -> Result<T, Reentered> {
        let _unlock = Unlock { raw: &self.0, state: Some(self.0.lock()) };
        Ok(f())
    }
}
