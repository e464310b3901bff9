//! The caches, one for each CPU, and how they are emptied.
#![expect(unsafe_code, reason = "per-CPU cells")]

use hectare_core::sync::UnsafeCell;
use hectare_core::sync::atomic::{AtomicUsize, Ordering};
use hectare_core::{CpuPin, Order, Slot};

use crate::cached::cache::{Cache, Told};
use crate::cached::{Cached, Keep};
use crate::group::GroupSource;

/// One CPU's cache, apart from the others' cache lines.
#[repr(align(128))]
pub(super) struct PerCpu<const N: usize> {
    cache: UnsafeCell<Cache<N>>,
    /// How many frames it keeps, and how many blocks the source refused; written under the slot.
    pub(super) kept: AtomicUsize,
    pub(super) refused: AtomicUsize,
}

// SAFETY: the cell is reached only through `with_cache`, whose callers hold its slot; the rest is atomic.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    hectare_core::const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                cache: UnsafeCell::new(Cache::EMPTY),
                kept: AtomicUsize::new(0),
                refused: AtomicUsize::new(0),
            }
        }
    }

    /// Runs `f` with the cache.
    ///
    /// # Safety
    /// The caller holds this slot until `f` returns, and `f` does not come back here.
    #[inline(always)]
    pub(super) unsafe fn with_cache<R>(&self, f: impl FnOnce(&mut Cache<N>) -> R) -> R {
        self.cache.with_mut(|cache| {
            // SAFETY: the caller holds the slot, so nobody else reaches the cell (CpuPin), and `f` does not either.
            f(unsafe { &mut *cache })
        })
    }

    /// Publishes what a call told.
    pub(super) fn publish(&self, told: Told) {
        self.kept.store(told.kept, Ordering::Relaxed);
        if told.refused != 0 {
            self.refused.store(self.refused.load(Ordering::Relaxed) + told.refused, Ordering::Relaxed);
        }
    }
}

impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> Cached<S, C, SLOTS, N> {
    /// Empties the caller's cache and those of all CPUs that can be drained. Not to be called inside
    /// [`CpuPin::with`]. O(cached blocks).
    pub fn drain(&self) {
        self.cpu.with(|slot| {
            if let Some(slot) = slot {
                // SAFETY: the slot is ours until this closure returns.
                unsafe { Self::drain_slot(&self.source, &self.slots, &self.keep, slot) };
            }
        });
        let (source, slots, keep) = (&self.source, &self.slots, &self.keep);
        if cfg!(hectare_plant = "cache_unheld") {
            // SAFETY: none; this is the planted fault: caches are emptied whoever uses them.
            (0..).zip(slots).for_each(|(slot, _)| unsafe {
                Self::drain_slot(source, slots, keep, Slot::new(slot));
            });
            return;
        }
        // SAFETY: `request_drain` runs the closure while the slot is exclusively its.
        self.cpu.request_drain(&|slot| unsafe { Self::drain_slot(source, slots, keep, slot) });
    }

    /// Empties one cache into the source.
    ///
    /// # Safety
    /// The caller holds the slot until this returns.
    pub(super) unsafe fn drain_slot(source: &S, slots: &[PerCpu<N>], keep: &[Keep; N], slot: Slot) {
        let Some(per_cpu) = slots.get(usize::from(slot.number())) else { return };
        // SAFETY: (1) the caller holds the slot; (2) the source does not come back here with a slot that is held.
        let told = unsafe { per_cpu.with_cache(|cache| cache.drain(source, keep)) };
        per_cpu.publish(told);
    }

    /// The cache of a slot, if it has one.
    #[inline(always)]
    pub(super) fn per_cpu(&self, slot: Option<Slot>) -> Option<&PerCpu<N>> {
        self.slots.get(usize::from(slot?.number()))
    }

    /// Whether the first of the chosen orders is 0: it has a path of its own.
    #[inline(always)]
    pub(super) fn keeps_frames_first(&self) -> bool {
        self.keep.first().is_some_and(|keep| keep.order == Order::ZERO)
    }
}
