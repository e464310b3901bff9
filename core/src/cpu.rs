//! Which CPU runs this code: the identity that per-CPU caches stand on.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use core::cell::Cell;

use crate::lock::Leave;

/// The number of a per-CPU slot, below the identity's [`slots`](CpuPin::slots).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Slot `number`.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// CPU identity: exclusive use of one slot of per-CPU data for the length of a closure.
///
/// A kernel implements it by disabling preemption (and interrupts, if interrupt handlers allocate); a program by a
/// thread-local claim.
///
/// ```
/// use hectare_core::{CpuPin, Slot};
/// # mod kernel {
/// #     pub fn cpu_number() -> Option<u16> { Some(3) }
/// #     pub fn interrupts_off() -> bool { true }
/// #     pub fn restore(_: bool) {}
/// # }
///
/// /// The CPU that runs this, of at most 64; none while the machine boots.
/// struct ThisCpu;
///
/// struct Restore(bool);
/// impl Drop for Restore {
///     fn drop(&mut self) { kernel::restore(self.0) } // after a panic too
/// }
///
/// // SAFETY: (1) with interrupts off nothing else runs on this CPU, and no other CPU has its number; a closure that
/// // calls `with` again does so with interrupts off, and gets no slot; (2) one CPU sees its own writes; (3) checked.
/// unsafe impl CpuPin for ThisCpu {
///     fn slots(&self) -> u32 { 64 }
///
///     fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
///         let restore = Restore(kernel::interrupts_off()); // and whether they were on
///         let number = kernel::cpu_number().filter(|cpu| restore.0 && *cpu < 64);
///         f(number.map(Slot::new))
///     }
/// }
///
/// assert_eq!(ThisCpu.with(|slot| slot.map(Slot::number)), Some(3));
/// ```
///
/// # Safety
/// While `with` runs its closure with `Some(slot)`, no other closure runs with the same slot, on any CPU and in any
/// interrupt or signal handler; what a closure wrote under a slot is visible to the next closure with that slot; and
/// slot numbers are below [`slots`](Self::slots).
pub unsafe trait CpuPin {
    /// How many slots there are, at most 2^16. Does not change.
    fn slots(&self) -> u32;

    /// Runs `f` with the slot that is exclusively ours until it returns, or with `None`: take the shared path (more
    /// CPUs than slots, an early boot stage, re-entry from an interrupt).
    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R;

    /// Runs `drain` once for each slot that can be made exclusively ours now: by an interrupt to its CPU, or directly
    /// if its CPU is known to be quiescent. Returns when all of them have run. By default none can.
    ///
    /// Used under memory pressure to empty other CPUs' caches; must not be called inside [`with`](Self::with).
    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        let _ = drain;
    }
}

// SAFETY: the inner identity keeps the promises.
unsafe impl<C: CpuPin + ?Sized> CpuPin for &C {
    fn slots(&self) -> u32 {
        (**self).slots()
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        (**self).with(f)
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        (**self).request_drain(drain);
    }
}

/// No CPU identity: always the shared path.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCpu;

// SAFETY: it never gives out a slot.
unsafe impl CpuPin for NoCpu {
    fn slots(&self) -> u32 {
        0
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        f(None)
    }
}

/// One CPU, one slot; re-entry gets the shared path. Not `Sync`: it serves one thread.
#[derive(Debug, Default)]
pub struct SingleCpu {
    entered: Cell<bool>,
}

impl SingleCpu {
    /// A CPU that is not in use.
    #[must_use]
    pub const fn new() -> Self {
        Self { entered: Cell::new(false) }
    }
}

// SAFETY: (1) `SingleCpu` is not `Sync`, so only one thread calls `with`; (2) `entered` turns every nested call away
// from the slot, and is reset when the outer closure ends, also by a panic; (3) one thread sees its own writes.
unsafe impl CpuPin for SingleCpu {
    fn slots(&self) -> u32 {
        1
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        if self.entered.replace(true) {
            return f(None);
        }
        let _leave = Leave(&self.entered);
        f(Some(Slot(0)))
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        self.with(|slot| {
            if let Some(slot) = slot {
                drain(slot);
            }
        });
    }
}
