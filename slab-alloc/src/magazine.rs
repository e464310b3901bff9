//! Magazines: arrays of objects that a CPU has at hand, and the depot of full ones.
//!
//! ```text
//!  CPU 0   loaded ■■■■■□□□  spare ■■■■■■■■      allocate from loaded; empty: swap; both empty: a full one from the depot
//!  CPU 1   loaded ■□□□□□□□  spare □□□□□□□□      free to loaded; full: swap; both full: one to the depot
//!  depot   ■■■■■■■■ ■■■■■■■■                    under the lock; beyond it, slabs
//! ```
//! After a change between loaded, spare and depot, at least as many operations as a magazine has rounds go by before the
//! next, whatever the sequence (Bonwick and Adams, "Magazines and Vmem", USENIX 2001, section 3.1). Magazines hold
//! pointers; the objects are not touched. An empty magazine needs no memory: magazines are copied, not linked.
#![forbid(unsafe_code)]

use core::ptr::NonNull;

/// Most rounds of a magazine.
pub(crate) const ROUNDS: usize = if cfg!(hectare_loom) { 2 } else { 30 };

/// Full magazines in a depot (Linux's barns hold 10 full sheaves).
const DEPOT: usize = if cfg!(hectare_loom) { 1 } else { 10 };

/// Free objects, the last one hottest.
///
/// Invariant: the first `len` rounds hold objects that are handed out as far as their slabs know, each once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Magazine {
    len: usize,
    rounds: [Option<NonNull<u8>>; ROUNDS],
}

impl Magazine {
    pub(crate) const EMPTY: Self = Self { len: 0, rounds: [None; ROUNDS] };

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<NonNull<u8>> {
        let len = self.len.checked_sub(1)?;
        let object = *self.rounds.get(len)?;
        self.len = len;
        object
    }

    /// Puts an object in; whether fewer than `target` rounds were there.
    #[inline(always)]
    pub(crate) fn push(&mut self, object: NonNull<u8>, target: usize) -> bool {
        if self.len >= target {
            return false;
        }
        let Some(round) = self.rounds.get_mut(self.len) else { return false };
        *round = Some(object);
        self.len += 1;
        true
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

/// The magazines of one CPU. Aligned so that two CPUs share no cache line, nor a pair that is fetched together.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Pair {
    magazines: [Magazine; 2],
    /// Which one is loaded.
    loaded: bool,
}

impl Pair {
    pub(crate) const EMPTY: Self = Self { magazines: [Magazine::EMPTY; 2], loaded: false };

    #[inline(always)]
    pub(crate) fn loaded(&mut self) -> &mut Magazine {
        let [first, second] = &mut self.magazines;
        if self.loaded { second } else { first }
    }

    /// Takes an object, from the spare magazine if the loaded one is empty.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<NonNull<u8>> {
        if let Some(object) = self.loaded().pop() {
            return Some(object);
        }
        self.loaded = !self.loaded;
        self.loaded().pop()
    }

    /// Puts an object in, into the spare magazine if the loaded one is full and that is empty.
    #[inline(always)]
    pub(crate) fn push(&mut self, object: NonNull<u8>, target: usize) -> bool {
        if self.loaded().push(object, target) {
            return true;
        }
        self.loaded = !self.loaded;
        if self.loaded().is_empty() {
            return self.loaded().push(object, target);
        }
        false
    }

    pub(crate) fn both(&mut self) -> &mut [Magazine; 2] {
        &mut self.magazines
    }
}

/// Full magazines that no CPU has.
#[derive(Debug)]
pub(crate) struct Depot {
    full: [Magazine; DEPOT],
    count: usize,
}

impl Depot {
    pub(crate) const EMPTY: Self = Self { full: [Magazine::EMPTY; DEPOT], count: 0 };

    pub(crate) fn pop(&mut self) -> Option<Magazine> {
        let count = self.count.checked_sub(1)?;
        let magazine = *self.full.get(count)?;
        self.count = count;
        Some(magazine)
    }

    /// Takes a magazine in, if there is room for it.
    pub(crate) fn push(&mut self, magazine: &mut Magazine) -> bool {
        let Some(place) = self.full.get_mut(self.count) else { return false };
        *place = *magazine;
        if !cfg!(hectare_plant = "depot_keeps_both") {
            magazine.len = 0;
        }
        self.count += 1;
        true
    }

    /// Objects in all magazines.
    pub(crate) fn objects(&self) -> usize {
        self.full.iter().take(self.count).map(Magazine::len).sum()
    }
}
