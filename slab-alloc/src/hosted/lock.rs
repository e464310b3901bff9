//! The lock of the pool. Short sections, and none of them calls anything that may take it again.
#![expect(unsafe_code, reason = "reaches what the lock protects")]

use core::cell::UnsafeCell;
use core::fmt;
use core::hint;
use core::sync::atomic::{AtomicBool, Ordering};

use super::system::System;

/// A value behind a lock that spins a little and then lets others run.
pub(crate) struct Locked<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("held", &self.held).finish_non_exhaustive()
    }
}

// SAFETY: the value is reached by the holder of the lock alone. `T` is the pool: cells and pointers to memory that lives
// for ever, which any thread may use.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` with the value, alone.
    pub(crate) fn with<S: System, R>(&self, system: &S, f: impl FnOnce(&T) -> R) -> R {
        self.lock(system);
        // SAFETY: the lock is ours until `unlock` below; `f` does not panic (the heap never does), and the reference ends
        // with it.
        let result = f(unsafe { &*self.value.get() });
        self.unlock();
        result
    }

    /// Takes the lock, for a fork.
    pub(crate) fn lock<S: System>(&self, system: &S) {
        let mut tries = 0_u32;
        while self.held.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.held.load(Ordering::Relaxed) {
                tries += 1;
                if tries % 64 == 0 { system.pause() } else { hint::spin_loop() }
            }
        }
    }

    /// Gives up the lock that [`lock`](Self::lock) took.
    pub(crate) fn unlock(&self) {
        self.held.store(false, Ordering::Release);
    }
}
