//! Counts the nodes and chunks that operations visit, so that tests can hold policies to their bounds.
#![forbid(unsafe_code)]

extern crate std;

use core::cell::Cell;

std::thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

pub(crate) fn count() {
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// The steps since the last call.
pub(crate) fn take() -> u64 {
    STEPS.with(|steps| steps.replace(0))
}
