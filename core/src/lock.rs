//! How callers of one engine are kept apart: a lock as a closure, which also fits critical sections.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use core::cell::Cell;

use crate::Reentered;

/// Mutual exclusion for the length of a closure.
///
/// A closure rather than a guard, because a critical section cannot be a guard and a saved interrupt state need not
/// leave the lock. Any `lock_api`, `critical-section` or `mutex-traits` lock fits through the optional adapters.
///
/// ```
/// use hectare_core::{RawLock, Reentered, SpinLock};
/// # mod interrupts { pub fn off() -> bool { true } pub fn restore(_: bool) {} }
///
/// /// A kernel's own: no interrupt on this CPU, no other CPU. A handler may allocate then.
/// struct KernelLock(SpinLock);
///
/// struct Restore(bool);
/// impl Drop for Restore {
///     fn drop(&mut self) { interrupts::restore(self.0) } // after a panic too
/// }
///
/// // SAFETY: `SpinLock` keeps other CPUs out, makes writes visible, and never returns to who holds it already; with
/// // interrupts off no handler comes in between.
/// unsafe impl RawLock for KernelLock {
///     const UNLOCKED: Self = Self(SpinLock::UNLOCKED);
///
///     fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
///         let _restore = Restore(interrupts::off());
///         self.0.with(f)
///     }
/// }
///
/// static LOCK: KernelLock = KernelLock::UNLOCKED; // for `Heap<KernelLock, _>`, `Locked<KernelLock, _>`
/// assert_eq!(LOCK.with(|| 7), Ok(7));
/// ```
///
/// # Safety
/// While [`with`](Self::with) runs its closure, no other closure runs under the same lock: not on another CPU, not in
/// an interrupt handler, not further down the same call stack. What one closure wrote is visible to the next.
pub unsafe trait RawLock {
    /// A lock that nobody holds.
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self;

    /// Runs `f` alone.
    ///
    /// # Errors
    /// [`Reentered`], without running `f`, if the lock is held further up this call stack and can tell. A lock that
    /// cannot tell may deadlock then, as spin locks do.
    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered>;
}

/// Resets a flag when a closure ends, also by a panic.
pub(crate) struct Leave<'a>(pub(crate) &'a Cell<bool>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// No lock: for one thread. It is not `Sync`, and neither is a heap with it. Refuses re-entry.
#[derive(Debug, Default)]
pub struct NoLock {
    entered: Cell<bool>,
}

impl NoLock {
    /// A lock that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { entered: Cell::new(false) }
    }
}

// SAFETY: (1) `NoLock` is not `Sync`, so one thread uses it; (2) `entered` refuses every nested call; (3) one thread
// sees its own writes.
unsafe impl RawLock for NoLock {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self::new();

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
        if self.entered.replace(true) {
            return Err(Reentered);
        }
        let _leave = Leave(&self.entered);
        Ok(f())
    }
}

#[cfg(target_has_atomic = "8")]
pub use spin::SpinLock;

#[cfg(target_has_atomic = "8")]
mod spin {
    use super::RawLock;
    use crate::Reentered;
    use crate::sync::atomic::{AtomicBool, Ordering};
    use crate::sync::hint;

    /// A test-and-test-and-set spin lock: one byte, no fairness, no knowledge of who holds it.
    ///
    /// Re-entry deadlocks: where an interrupt handler allocates, use a lock that masks interrupts.
    ///
    /// ```
    /// use hectare_core::{RawLock, SpinLock};
    /// static LOCK: SpinLock = SpinLock::UNLOCKED;
    /// assert_eq!(LOCK.with(|| 7), Ok(7));
    /// ```
    #[derive(Debug)]
    pub struct SpinLock {
        locked: AtomicBool,
    }

    impl SpinLock {
        crate::const_unless_loom! {
            /// A lock that nobody holds.
            #[must_use]
            pub fn new() -> Self {
                Self { locked: AtomicBool::new(false) }
            }
        }

        #[cold]
        fn wait(&self) {
            // Only reads while it is held: the cache line stays shared among the waiters.
            while self.locked.load(Ordering::Relaxed) {
                hint::spin_loop();
            }
        }
    }

    impl Default for SpinLock {
        fn default() -> Self {
            Self::new()
        }
    }

    struct Unlock<'a>(&'a AtomicBool);

    impl Drop for Unlock<'_> {
        fn drop(&mut self) {
            self.0.store(false, UNLOCK_ORDER);
        }
    }

    // Planted faults, which the loom models must catch. Without release the next holder may not see what this one
    // wrote; without acquire it may not see it although it was released; without the swap two are inside at once.
    const UNLOCK_ORDER: Ordering =
        if cfg!(hectare_plant = "spin_relaxed") { Ordering::Relaxed } else { Ordering::Release };
    const LOCK_ORDER: Ordering =
        if cfg!(hectare_plant = "spin_unacquired") { Ordering::Relaxed } else { Ordering::Acquire };
    const TAKEN: bool = !cfg!(hectare_plant = "spin_no_lock");

    // SAFETY: (1) the compare-and-swap from false to true lets one closure in at a time, until `Unlock` stores false;
    // (2) re-entry spins and so never runs a second closure; (3) the acquire pairs with the release of the store.
    unsafe impl RawLock for SpinLock {
        #[cfg(not(hectare_loom))]
        const UNLOCKED: Self = Self::new();

        #[inline]
        fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
            while self.locked.compare_exchange_weak(false, TAKEN, LOCK_ORDER, Ordering::Relaxed).is_err() {
                self.wait();
            }
            let _unlock = Unlock(&self.locked);
            Ok(f())
        }
    }
}
