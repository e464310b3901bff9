//! A CPU identity for one thread: the test says which CPU it is.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::cell::Cell;

use hectare_core::{CpuPin, Slot};

/// The slot that the test chose last, for all calls that follow.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    slots: u32,
    slot: Cell<Option<u16>>,
    entered: Cell<bool>,
}

impl Chosen {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots, ..Self::default() }
    }

    /// From now on we are this CPU; one beyond the slots has none.
    pub(crate) fn be(&self, cpu: u16) {
        self.slot.set(Some(cpu).filter(|cpu| u32::from(*cpu) < self.slots));
    }
}

// SAFETY: (1) it is not `Sync`, so one thread calls it; (2) nested calls are turned away from the slot; (3) one thread sees
// its own writes; (4) `be` keeps slots below their number.
unsafe impl CpuPin for Chosen {
    fn slots(&self) -> u32 {
        self.slots
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        if self.entered.replace(true) {
            return f(None);
        }
        let result = f(self.slot.get().map(Slot::new));
        self.entered.set(false);
        result
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        (0..self.slots).for_each(|slot| drain(Slot::new(u16::try_from(slot).unwrap())));
    }
}
