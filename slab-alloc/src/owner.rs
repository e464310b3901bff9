//! A number for each cache, so that a slab can tell whose it is.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no other cache has, until 2^32 − 1 caches were made. Never 0.
pub(crate) fn next() -> u32 {
    let number = step();
    if number == 0 { step() } else { number }
}

#[cfg(target_has_atomic = "32")]
fn step() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Without compare-and-swap two interrupted callers may get one number: then a free of the one's object to the other is
/// not always detected.
#[cfg(not(target_has_atomic = "32"))]
fn step() -> u32 {
    let number = NEXT.load(Ordering::Relaxed);
    NEXT.store(number.wrapping_add(1), Ordering::Relaxed);
    number
}
