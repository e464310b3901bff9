//! One word for each granule of 64 KiB: whose it is and what is in it, so that a free needs one load.
//!
//! ```text
//!  31        30 … 11        10 … 0
//!   0     owner (heap's id)   16 × class      part of a span of small objects
//!   0          0              LARGE           start of a run of granules: the chunk knows more
//!   1     ┄ number of its record ┄            start of a mapping of its own
//!   0          0                0             nothing of ours
//! ```
//! `word ^ key of the heap` is the offset of a class if and only if the granule holds small objects of that heap: one
//! comparison tells local from remote, small from large, ours from foreign.
#![expect(unsafe_code, reason = "looks words up")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::system::System;
use crate::size_class::CLASSES;

/// log2 of [`BIN`].
pub(crate) const BIN_LOG2: u32 = 4;
/// Bytes from one bin of a heap to the next: classes are named by the offset of their bin.
pub(crate) const BIN: usize = 1 << BIN_LOG2;
/// Offsets of classes are below this.
#[expect(clippy::cast_possible_truncation, reason = "73 × 16")]
pub(crate) const BINS: u32 = (CLASSES * BIN) as u32;
const OWNER_SHIFT: u32 = 11;
/// Start of a run.
const LARGE: u32 = (1 << OWNER_SHIFT) - 1;
const HUGE: u32 = 1 << 31;

/// Heaps have numbers from 1 to below this. (Miri looks at every cell of a value at each call.)
pub(crate) const OWNERS: u32 = if cfg!(miri) { 1 << 5 } else { 1 << 15 };
/// The key of no heap: no word of the table makes an offset of a class with it.
pub(crate) const NO_KEY: u32 = (OWNERS * 2) << OWNER_SHIFT;

/// The key of the heap with this number.
pub(crate) const fn key_of(owner: u32) -> u32 {
    owner << OWNER_SHIFT
}

/// Whose a word or a key is, if it is of small objects.
#[inline(always)]
pub(crate) const fn owner_of(word: u32) -> u32 {
    word >> OWNER_SHIFT
}

/// What a word of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Nothing,
    Small { owner: u32, class: usize },
    Large,
    Huge(u32),
}

impl Entry {
    pub(crate) const fn of(word: u32) -> Self {
        let (owner, low) = (word >> OWNER_SHIFT, word & LARGE);
        if word & HUGE != 0 {
            Self::Huge(word & !HUGE)
        } else if owner != 0 {
            Self::Small { owner, class: (low >> BIN_LOG2) as usize }
        } else if low == LARGE {
            Self::Large
        } else {
            Self::Nothing
        }
    }

    pub(crate) const fn word(self) -> u32 {
        match self {
            Self::Nothing => 0,
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 128 classes")]
            Self::Small { owner, class } => key_of(owner) | (class << BIN_LOG2) as u32,
            Self::Large => LARGE,
            Self::Huge(record) => HUGE | record,
        }
    }
}

/// The table. Until there is memory for it, a single word that says "nothing", for the null pointer's sake. On a cache line
/// (and its neighbour, which processors fetch too) of its own: every free reads it, and nobody writes it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Map(AtomicPtr<AtomicU32>);

static NOTHING: AtomicU32 = AtomicU32::new(0);

impl Map {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new((&raw const NOTHING).cast_mut()))
    }

    pub(crate) fn is_ready(&self) -> bool {
        !core::ptr::eq(self.0.load(Ordering::Acquire), &raw const NOTHING)
    }

    /// Sets the table, of a system's [`table`](System::table).
    pub(crate) fn set(&self, table: NonNull<AtomicU32>) {
        self.0.store(table.as_ptr(), Ordering::Release);
    }

    /// The word of an address.
    ///
    /// # Safety
    /// The address is 0 or in memory that the system's `map` returned, after [`set`](Self::set).
    #[inline(always)]
    pub(crate) unsafe fn word<S: System>(&self, system: &S, address: usize) -> u32 {
        let table = self.0.load(Ordering::Relaxed);
        // SAFETY: address 0 has index 0, and one word is there always; every other address that may be asked for has a
        // word in the table (promise 2 of `System`), and whoever has the address has seen the table being set.
        let word = unsafe { table.add(system.index(address)) };
        // SAFETY: as above; words are atomics that live for ever.
        unsafe { &*word }.load(Ordering::Relaxed)
    }

    /// Sets the words of the granules that begin in a range.
    ///
    /// # Safety
    /// The range was returned by the system's `map`, after [`set`](Self::set).
    pub(crate) unsafe fn write<S: System>(&self, system: &S, base: usize, granules: usize, entry: Entry) {
        let table = self.0.load(Ordering::Relaxed);
        for granule in 0..granules {
            let address = base + (granule << super::span::GRANULE_LOG2);
            // SAFETY: as in `word`.
            let word = unsafe { table.add(system.index(address)) };
            // SAFETY: as in `word`.
            unsafe { &*word }.store(entry.word(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_an_offset_for_its_owner_only() {
        for owner in [1, 2, OWNERS - 1] {
            for class in 0..CLASSES {
                let entry = Entry::Small { owner, class };
                assert_eq!(Entry::of(entry.word()), entry);
                assert_eq!((entry.word() ^ key_of(owner)) as usize, class * BIN);
                assert!(entry.word() ^ key_of(owner ^ 1) >= BINS && entry.word() ^ NO_KEY >= BINS);
            }
            for other in [Entry::Nothing, Entry::Large, Entry::Huge(0), Entry::Huge(0x7fff_ffff)] {
                assert_eq!(Entry::of(other.word()), other);
                assert!(other.word() ^ key_of(owner) >= BINS && other.word() ^ NO_KEY >= BINS);
            }
        }
    }
}
