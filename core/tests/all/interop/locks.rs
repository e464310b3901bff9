//! Every lock keeps the promises of `RawLock`: alone, visible, released by a panic too.

use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use hectare_core::{Locked, NoLock, RawLock, Reentered, SpinLock};

/// Four threads add to a plain number.
fn excludes_threads<L: RawLock + Sync>() {
    let rounds = if cfg!(miri) { 20 } else { 10_000 };
    let counter: Locked<L, u64> = Locked::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    assert_eq!(counter.with(|count| *count += 1), Ok(()));
                }
            });
        }
    });
    assert_eq!(counter.with(|count| *count), Ok(4 * rounds));
}

fn a_panic_releases<L: RawLock>() {
    let lock = L::UNLOCKED;
    let outcome = catch_unwind(AssertUnwindSafe(|| lock.with(|| panic!("inside"))));
    assert!(outcome.is_err());
    assert_eq!(lock.with(|| 7), Ok(7));
}

fn refuses_reentry<L: RawLock>() {
    let lock = L::UNLOCKED;
    let ran = Cell::new(false);
    assert_eq!(lock.with(|| lock.with(|| ran.set(true))), Ok(Err(Reentered)));
    assert!(!ran.get());
    assert_eq!(lock.with(|| lock.with(|| ())).map(|_| ()), Ok(()), "a refusal leaves the lock usable");
}

#[test]
fn no_lock() {
    a_panic_releases::<NoLock>();
    refuses_reentry::<NoLock>();
}

#[test]
fn spin_lock() {
    excludes_threads::<SpinLock>();
    a_panic_releases::<SpinLock>();
}

#[cfg(feature = "lock_api-04")]
#[test]
fn lock_api_04() {
    type Lock = hectare_core::LockApi04<spin::Mutex<()>>;
    excludes_threads::<Lock>();
    a_panic_releases::<Lock>();
}

#[cfg(feature = "lock_api-05")]
#[test]
fn lock_api_05() {
    type Lock = hectare_core::LockApi05<spinning_top::RawSpinlock>;
    excludes_threads::<Lock>();
    a_panic_releases::<Lock>();
}

/// A guard with a state, as one that saves the interrupt flag: each unlock gets the state of its own lock.
#[cfg(feature = "lock_api-05")]
#[test]
fn lock_api_05_returns_the_state() {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use lock_api_05::RawMutex;

    struct Saving {
        acquisitions: AtomicU32,
        released: AtomicU32,
    }
    static RELEASED: AtomicU32 = AtomicU32::new(0);
    // SAFETY: used by one thread and never nested in this test.
    unsafe impl RawMutex for Saving {
        const INIT: Self = Self { acquisitions: AtomicU32::new(0), released: AtomicU32::new(0) };
        type Guard = u32;
        fn lock(&self) -> u32 {
            self.acquisitions.fetch_add(1, Relaxed) + 1
        }
        fn try_lock(&self) -> Option<u32> {
            Some(self.lock())
        }
        unsafe fn unlock(&self, state: u32) {
            assert_eq!(state, self.released.fetch_add(1, Relaxed) + 1);
            RELEASED.store(state, Relaxed);
        }
        fn is_locked(&self) -> bool {
            self.acquisitions.load(Relaxed) != self.released.load(Relaxed)
        }
    }
    let lock = hectare_core::LockApi05::<Saving>::new();
    assert_eq!(lock.with(|| RELEASED.load(Relaxed)), Ok(0));
    assert_eq!(lock.with(|| RELEASED.load(Relaxed)), Ok(1));
    assert_eq!(RELEASED.load(Relaxed), 2);
}

#[cfg(feature = "critical-section-1")]
#[test]
fn critical_section_1() {
    type Lock = hectare_core::CriticalSectionLock;
    excludes_threads::<Lock>();
    a_panic_releases::<Lock>();
    refuses_reentry::<Lock>();
}

#[cfg(feature = "mutex-traits-1")]
#[test]
fn mutex_traits_1() {
    use core::sync::atomic::{AtomicBool, Ordering};
    use mutex_traits_1::{ConstInit, RawMutex};

    /// The mutex of the trait's own documentation: spins.
    struct Spinning(AtomicBool);
    impl ConstInit for Spinning {
        const INIT: Self = Self(AtomicBool::new(false));
    }
    // SAFETY: one swap from false wins; acquire and release.
    unsafe impl RawMutex for Spinning {
        type GuardMarker = ();
        fn lock(&self) {
            while !self.try_lock() {
                std::thread::yield_now();
            }
        }
        fn try_lock(&self) -> bool {
            !self.0.swap(true, Ordering::Acquire)
        }
        unsafe fn unlock(&self) {
            self.0.store(false, Ordering::Release);
        }
        fn is_locked(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    type Lock = hectare_core::ScopedLock<Spinning>;
    excludes_threads::<Lock>();
    a_panic_releases::<Lock>();
}
