//! Every access to the words. Whoever counts the read-modify-writes counts here.
#![forbid(unsafe_code)]

use hectare_core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::geometry::Geometry;
use crate::shared::Rows;

impl<G: Geometry> Rows<'_, G> {
    /// A word, and all that happened before it was written. Beyond the slice nothing is free.
    #[inline(always)]
    pub(super) fn load(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Acquire))
    }

    /// A word for advice only, or one that nobody else writes.
    #[inline(always)]
    pub(super) fn peek(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Relaxed))
    }

    /// Writes a word that nobody else may write now.
    #[inline(always)]
    pub(super) fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.words.get(at) {
            word.store(value, Release);
        }
    }

    /// The compare-and-swap: `to` in the place of `from`.
    #[inline(always)]
    pub(super) fn exchange(&self, at: usize, from: u64, to: u64) -> Result<(), u64> {
        count(G::COUNTED);
        let Some(word) = self.words.get(at) else { return Ok(()) };
        word.compare_exchange(from, to, AcqRel, Acquire).map(|_| ())
    }

    /// Sets bits; the word before.
    #[inline(always)]
    pub(super) fn set_bits(&self, at: usize, bits: u64) -> u64 {
        count(G::COUNTED);
        self.words.get(at).map_or(0, |word| word.fetch_or(bits, AcqRel))
    }

    /// Clears bits; the word before.
    #[inline(always)]
    pub(super) fn clear_bits(&self, at: usize, bits: u64) -> u64 {
        count(G::COUNTED);
        self.words.get(at).map_or(0, |word| word.fetch_and(!bits, AcqRel))
    }

    /// Adds to a word of the common record.
    #[inline(always)]
    pub(super) fn add(&self, at: usize, amount: u64) {
        count(G::COUNTED);
        if let Some(word) = self.words.get(at) {
            word.fetch_add(amount, AcqRel);
        }
    }

    /// A row's word.
    #[inline(always)]
    pub(super) fn row(&self, level: usize, row: usize) -> u64 {
        self.load(self.layout.row(level, row))
    }
}

#[cfg(all(not(test), not(feature = "counted")))]
#[inline(always)]
fn count(_counted: bool) {}

#[cfg(test)]
fn count(_counted: bool) {
    counted::COUNT.with(|count| count.set(count.get() + 1));
}

#[cfg(all(not(test), feature = "counted"))]
#[inline(always)]
fn count(counted: bool) {
    if counted {
        COUNT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(feature = "counted")]
static COUNT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// How many atomic read-modify-writes the engines of a [counted](crate::Counted) geometry have made so far.
#[cfg(feature = "counted")]
pub fn read_modify_writes() -> u64 {
    COUNT.load(core::sync::atomic::Ordering::Relaxed)
}

/// The read-modify-writes of this thread, for tests.
#[cfg(test)]
pub(super) mod counted {
    extern crate std;
    use core::cell::Cell;

    std::thread_local! {
        pub(super) static COUNT: Cell<u64> = const { Cell::new(0) };
    }

    /// How many so far.
    pub(in crate::shared) fn so_far() -> u64 {
        COUNT.with(Cell::get)
    }
}
