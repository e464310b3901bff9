//! When nobody can be walking a table any more that was unlinked: what lookups without locks cost, and who waits.
//!
//! ```text
//!   lookup          enter ──── loads ──── leave            phase 0   entered 7  left 7   ◄─ drained
//!   finish     unlink ─── wait: until all who entered ─►   phase 1   entered 3  left 2   ◄─ one lookup is on its way
//!                         before have left ── free
//! ```
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use core::sync::atomic::compiler_fence;

use hectare_core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use hectare_core::sync::atomic::{AtomicBool, AtomicUsize, fence};
use hectare_core::sync::hint;
use hectare_core::{CpuPin, const_unless_loom};

/// Read-side sections, and waiting for their ends: what other kernels call RCU.
///
/// A kernel has it already: `read` disables preemption, or interrupts, and `wait` is its `synchronize_rcu`, or an
/// interrupt to every CPU that is answered outside of such sections. [`Readers`] is one that needs nothing.
///
/// # Safety
/// For each section and each call of [`wait`](Self::wait), one of both: all that the section does happens before `wait`
/// returns; or all that happened before the call of `wait` happens before anything that the section does.
pub unsafe trait Grace {
    /// Runs `walk` as a section. It takes no lock and waits for nobody.
    fn read<R>(&self, walk: impl FnOnce() -> R) -> R;

    /// Returns when every section that is running now has ended. Not called inside of one.
    fn wait(&self);
}

// SAFETY: the inner one keeps the promise.
unsafe impl<G: Grace + ?Sized> Grace for &G {
    #[inline(always)]
    fn read<R>(&self, walk: impl FnOnce() -> R) -> R {
        (**self).read(walk)
    }

    fn wait(&self) {
        (**self).wait();
    }
}

/// How many sections began and ended on some CPUs, in either phase.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stripe {
    entered: [AtomicUsize; 2],
    left: [AtomicUsize; 2],
}

impl Stripe {
    const_unless_loom! {
        /// No section has begun.
        #[must_use]
        pub fn new() -> Self {
            Self { entered: [AtomicUsize::new(0), AtomicUsize::new(0)], left: [AtomicUsize::new(0), AtomicUsize::new(0)] }
        }
    }
}

/// Sections that are counted: two additions and a fence each, on a cache line of the CPU's own if it has a stripe. The
/// identity is a hint only: a thread may be moved to another CPU at any time. Any number of tables may share one.
///
/// # Invariants
/// * a section counts in `entered` and later in `left` of the same stripe and phase
/// * `phase` changes only while `waiting` is set, and the phase it changes to had been drained
#[derive(Debug)]
pub struct Readers<'m, P> {
    stripes: &'m [Stripe],
    /// For CPUs without a stripe.
    common: Stripe,
    pin: P,
    phase: AtomicUsize,
    waiting: AtomicBool,
}

impl<'m, P: CpuPin> Readers<'m, P> {
    const_unless_loom! {
        /// CPUs count in the stripe of their slot's number, as far as there are so many; all others in one.
        #[must_use]
        pub fn new(stripes: &'m [Stripe], pin: P) -> Self {
            Self {
                stripes,
                common: Stripe::new(),
                pin,
                phase: AtomicUsize::new(0),
                waiting: AtomicBool::new(false),
            }
        }
    }

    /// Waits until as many sections of this phase have ended as began.
    fn drain(&self, phase: usize) {
        loop {
            let sum = |count: fn(&Stripe) -> &[AtomicUsize; 2], order| {
                let stripes = self.stripes.iter().chain([&self.common]);
                stripes.fold(0_usize, |sum, stripe| sum.wrapping_add(count(stripe)[phase].load(order)))
            };
            // First who left: who is counted there is counted as entered below.
            let left = sum(|stripe| &stripe.left, Acquire);
            fence(SeqCst);
            if left == sum(|stripe| &stripe.entered, Relaxed) {
                return;
            }
            hint::spin_loop();
        }
    }
}

/// Counts the beginning of a section, before all that the section does. The addition is a barrier by itself on x86 (SDM 3A,
/// 10.2.5: locked instructions are ordered with all loads and stores), where a fence beside it would cost as much again.
#[inline(always)]
fn enter(count: &AtomicUsize) {
    if cfg!(all(any(target_arch = "x86_64", target_arch = "x86"), not(miri), not(hectare_loom))) {
        count.fetch_add(1, SeqCst);
        compiler_fence(SeqCst);
        return;
    }
    count.fetch_add(1, Relaxed);
    if !cfg!(hectare_plant = "grace_no_fence") {
        fence(SeqCst);
    }
}

/// Counts the end of a section, however it ends.
struct Leave<'r>(&'r AtomicUsize);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

// SAFETY: a section's addition to `entered` comes before its fence R (`enter`); `wait` has a fence W before it sums, and another
// before each sum of `entered`. (1) If a sum misses the addition, the fence before it precedes R (else the sum had to see
// it): what happened before `wait` happens before the section. (2) If no sum misses it, the sums are equal only if the
// section is among those that left: each section that is counted in `left` is counted in `entered`, which is summed
// later. Its last addition is a release, and the sum an acquire: all it did happens before `wait` returns. (3) Both
// phases are summed, the one that nobody should enter first; a straggler counts in either.
unsafe impl<P: CpuPin> Grace for Readers<'_, P> {
    #[inline]
    fn read<R>(&self, walk: impl FnOnce() -> R) -> R {
        let slot = self.pin.with(|slot| slot).map(|slot| usize::from(slot.number()));
        let stripe = slot.and_then(|slot| self.stripes.get(slot)).unwrap_or(&self.common);
        let phase = self.phase.load(Relaxed) & 1;
        enter(&stripe.entered[phase]);
        let _leave = Leave(&stripe.left[phase]);
        walk()
    }

    fn wait(&self) {
        while self.waiting.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            hint::spin_loop();
        }
        fence(SeqCst);
        let phase = self.phase.load(Relaxed) & 1;
        if !cfg!(hectare_plant = "grace_one_phase") {
            self.drain(phase ^ 1);
        }
        self.phase.store(phase ^ 1, Relaxed);
        self.drain(phase);
        self.waiting.store(false, Release);
    }
}
