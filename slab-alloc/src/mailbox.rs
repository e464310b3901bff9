//! Where a free is left that cannot wait for the lock: an interrupt's, while the lock is held further up the same stack.
//!
//! ```text
//!  state   0 free   1 being written   tag + 2 holds a block
//!          0 ──push: compare-and-swap──► 1 ──block stored──► tag + 2 ──collect, under the lock──► 0
//! ```
//! No links, so no ABA: a slot is claimed by one compare-and-swap on a number that says what the slot is.
#![forbid(unsafe_code)]

use core::ptr::{self, NonNull};

use hectare_core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// How many frees can wait.
const PLACES: usize = if cfg!(hectare_loom) { 2 } else { 16 };

// A planted fault, which the loom models must catch: the block's address is not published with the state.
const PUBLISH: Ordering =
    if cfg!(hectare_plant = "mailbox_relaxed") { Ordering::Relaxed } else { Ordering::Release };

#[derive(Debug)]
struct Place {
    state: AtomicUsize,
    block: AtomicPtr<u8>,
}

impl Place {
    hectare_core::const_unless_loom! {
        fn new() -> Self {
            Self { state: AtomicUsize::new(0), block: AtomicPtr::new(ptr::null_mut()) }
        }
    }
}

/// A few blocks that wait to be freed.
#[derive(Debug)]
pub(crate) struct Mailbox {
    places: [Place; PLACES],
}

impl Mailbox {
    #[cfg(not(hectare_loom))]
    pub(crate) const fn new() -> Self {
        Self { places: [const { Place::new() }; PLACES] }
    }

    #[cfg(hectare_loom)]
    pub(crate) fn new() -> Self {
        Self { places: core::array::from_fn(|_| Place::new()) }
    }

    /// Leaves a block; whether there was room. Lock-free, O(places).
    pub(crate) fn push(&self, block: NonNull<u8>, tag: usize) -> bool {
        for place in &self.places {
            if place.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                place.block.store(block.as_ptr(), Ordering::Relaxed);
                place.state.store(tag + 2, PUBLISH);
                return true;
            }
        }
        false
    }

    /// Takes every block out. One caller at a time: who holds the lock.
    pub(crate) fn collect(&self, mut each: impl FnMut(NonNull<u8>, usize)) {
        for place in &self.places {
            if place.state.load(Ordering::Relaxed) < 2 {
                continue;
            }
            let Some(tag) = place.state.load(Ordering::Acquire).checked_sub(2) else { continue };
            let block = NonNull::new(place.block.load(Ordering::Relaxed));
            place.state.store(0, Ordering::Release);
            if let Some(block) = block {
                each(block, tag);
            }
        }
    }
}
