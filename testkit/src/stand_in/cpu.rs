//! Simulated CPUs: each thread lives on one of n slots, and another thread on the same one makes it take the shared path.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hectare_core::{CpuPin, Slot};

/// How many threads asked for a home so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    /// The number of this thread.
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// CPU identity for threads: thread k has slot k mod n, if no other thread (or an outer closure of its own) is in it.
#[derive(Debug)]
pub struct ThreadSlots {
    /// Whether somebody is in each slot.
    busy: Box<[AtomicBool]>,
}

/// Somebody in a slot; leaves it when dropped, also by a panic.
struct Inside<'a>(&'a AtomicBool);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl ThreadSlots {
    /// `count` slots; with 0 everybody takes the shared path.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self { busy: (0..count).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Enters a slot if nobody is in it.
    fn enter(&self, index: usize) -> Option<(Slot, Inside<'_>)> {
        let busy = self.busy.get(index)?;
        let slot = Slot::new(u16::try_from(index).ok()?);
        (!busy.swap(true, Ordering::Acquire)).then(|| (slot, Inside(busy)))
    }
}

// SAFETY: (1) a slot is given out only by the one `swap` that finds its flag clear, and the flag is cleared when the
// closure ends; (2) that store releases and the next swap acquires, so that what was written is seen; (3) indices are
// below the number of slots.
unsafe impl CpuPin for ThreadSlots {
    fn slots(&self) -> u32 {
        u32::try_from(self.busy.len()).unwrap_or(0)
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let home = NUMBER.with(|number| number % self.busy.len().max(1));
        match self.enter(home) {
            Some((slot, _inside)) => f(Some(slot)),
            None => f(None),
        }
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        for index in 0..self.busy.len() {
            if let Some((slot, _inside)) = self.enter(index) {
                drain(slot);
            }
        }
    }
}
