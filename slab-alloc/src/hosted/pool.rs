//! What all heaps share, under one lock: chunks, which of their granules are free, and mappings of their own.
//!
//! ```text
//!  by longest free run    1  ─► chunk ─► chunk
//!                         2  ─► …
//!                         …
//!                        32+ ─► chunk             a run of n is looked for where 2^⌈log2 n⌉ free granules are together
//! ```
//! Granules that were used are *dirty*: they come first when a run is wanted. Those that stay free over two ticks of 150 ms
//! of further activity go back to the system. Chunks keep their addresses for ever, without memory behind them.
#![expect(unsafe_code, reason = "takes and lets go of memory")]

use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::huge::Mappings;
use super::map::{Entry, Map};
use super::runs::{self, longest_log2, lowest, mask, starts};
use super::span::{CHUNK, Chunk, GRANULE, HEAD, Span, chunk_of, chunk_reference};
use super::system::System;
use crate::size_class::size_of_class;

/// The longest run, in granules; larger blocks are mappings of their own.
pub(crate) const LONGEST_RUN: usize = 32;

/// Shared state. Under the lock.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Chunks whose longest free run has 2^i granules or more, but not 2^(i + 1); the last list is open above.
    lists: [Cell<*const Chunk>; 6],
    all: Cell<*const Chunk>,
    /// Dirty granules of all chunks.
    dirty: Cell<u32>,
    /// A chunk that had dirty granules lately.
    dirty_hint: Cell<*const Chunk>,
    pub(crate) mappings: Mappings,
    /// Bytes of chunks.
    pub(crate) mapped: Cell<usize>,
    /// Granules in use.
    pub(crate) in_use: Cell<usize>,
    /// What is left of the granule that descriptors of heaps are cut from.
    spare: Cell<*mut u8>,
    spare_bytes: Cell<usize>,
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self {
            lists: [const { Cell::new(ptr::null()) }; 6],
            all: Cell::new(ptr::null()),
            dirty: Cell::new(0),
            dirty_hint: Cell::new(ptr::null()),
            mappings: Mappings::new(),
            mapped: Cell::new(0),
            in_use: Cell::new(0),
            spare: Cell::new(ptr::null_mut()),
            spare_bytes: Cell::new(0),
        }
    }

    /// Takes a run of `granules`, 1 to [`LONGEST_RUN`]; whether it is all zero. Its words in the table are the caller's.
    pub(crate) fn take_run<S: System>(&self, system: &S, granules: usize) -> Option<(&'static Span, bool)> {
        let n = u32::try_from(granules).ok()?;
        let (chunk, at) = match self.find(n) {
            Some(found) => found,
            None => (self.grow(system)?, 1),
        };
        let (free, taken) = (chunk.head.free.get(), mask(at, n));
        let zero = chunk.head.dirty.get() & taken == 0;
        if zero && n > 1 {
            self.clean(system, n);
        }
        chunk.head.free.set(free & !taken);
        self.set_dirty(chunk, chunk.head.dirty.get() & !taken);
        chunk.head.old.set(chunk.head.old.get() & !taken);
        self.relist(chunk);
        self.in_use.set(self.in_use.get() + granules);
        Some((Span::begin_run(chunk, at as usize, granules)?, zero))
    }

    /// Where a run of `n` is free: dirty granules first.
    fn find(&self, n: u32) -> Option<(&'static Chunk, u32)> {
        if let Some(chunk) = chunk_reference(self.dirty_hint.get()) {
            let dirty = starts(chunk.head.dirty.get(), n);
            if dirty != 0 {
                return Some((chunk, dirty.trailing_zeros()));
            }
        }
        if let Some(found) = self.find_dirty(n) {
            return Some(found);
        }
        let sure = (n.next_power_of_two().trailing_zeros() as usize).min(5);
        // A few chunks of the list below may have room, and then larger runs are kept whole.
        if !n.is_power_of_two() {
            let mut chunk = self.lists.get(sure.wrapping_sub(1)).and_then(|list| chunk_reference(list.get()));
            for _ in 0..8 {
                let Some(here) = chunk else { break };
                let found = starts(here.head.free.get(), n);
                if found != 0 {
                    return Some((here, found.trailing_zeros()));
                }
                chunk = chunk_reference(here.head.next.get());
            }
        }
        let chunk = self.lists.iter().skip(sure).find_map(|list| chunk_reference(list.get()))?;
        let (dirty, free) = (starts(chunk.head.dirty.get(), n), starts(chunk.head.free.get(), n));
        let at = if dirty != 0 { dirty } else { free };
        (at != 0).then(|| (chunk, at.trailing_zeros()))
    }

    /// A run of dirty granules in one of a few chunks, if there is any dirt at all.
    fn find_dirty(&self, n: u32) -> Option<(&'static Chunk, u32)> {
        let mut chunk = chunk_reference(self.all.get()).filter(|_| self.dirty.get() >= n);
        for _ in 0..32 {
            let here = chunk?;
            let found = starts(here.head.dirty.get(), n);
            if found != 0 {
                self.dirty_hint.set(here);
                return Some((here, found.trailing_zeros()));
            }
            chunk = chunk_reference(here.head.all_next.get());
        }
        None
    }

    /// Lets go of as many dirty granules as are about to be taken clean, because the dirty ones do not lie together: what
    /// is kept for later never raises the peak.
    fn clean<S: System>(&self, system: &S, n: u32) {
        let least = self.dirty.get().saturating_sub(n);
        let mut chunks = chunk_reference(self.all.get());
        while let Some(chunk) = chunks.filter(|_| self.dirty.get() > least) {
            let before = self.dirty.get();
            self.decommit(system, chunk, chunk.head.dirty.get(), before - least);
            chunks = chunk_reference(chunk.head.all_next.get());
        }
    }

    /// Lets go of the contents of up to `most` of these free granules.
    fn decommit<S: System>(&self, system: &S, chunk: &Chunk, mut gone: u64, mut most: u32) {
        while let Some((at, n)) = lowest(gone).filter(|_| most > 0) {
            let n = n.min(most);
            gone &= !mask(at, n);
            most -= n;
            // SAFETY: these granules are free: nobody uses them.
            if unsafe { system.decommit(chunk.granule(at as usize), n as usize * GRANULE) } {
                self.set_dirty(chunk, chunk.head.dirty.get() & !mask(at, n));
            }
        }
    }

    /// Sets which granules of a chunk are dirty.
    fn set_dirty(&self, chunk: &Chunk, bits: u64) {
        let was = chunk.head.dirty.replace(bits);
        self.dirty.set(self.dirty.get() + bits.count_ones() - was.count_ones());
    }

    fn grow<S: System>(&self, system: &S) -> Option<&'static Chunk> {
        let base = system.map(CHUNK, CHUNK)?;
        if !system.prepare_table(base.as_ptr().addr(), CHUNK) {
            // SAFETY: mapped above, used by nobody.
            unsafe { system.unmap(base, CHUNK) };
            return None;
        }
        // SAFETY: mapped above, zero, ours; never unmapped.
        let chunk = unsafe { Chunk::begin(base) };
        chunk.head.longest.set(runs::NONE);
        chunk.head.all_next.set(self.all.replace(chunk));
        self.mapped.set(self.mapped.get() + CHUNK);
        self.relist(chunk);
        Some(chunk)
    }

    /// Gives a run back, dirty.
    ///
    /// # Safety
    /// It came from [`take_run`](Self::take_run), nothing uses it any more, and the table says nothing about it.
    pub(crate) unsafe fn give_run(&self, span: &Span) {
        let granules = usize::from(span.granules.get());
        // SAFETY: the first byte of a run is in its chunk, behind the head.
        let (chunk, at) = unsafe { chunk_of(span.base()) };
        self.release(chunk, at, granules);
    }

    fn release(&self, chunk: &'static Chunk, at: usize, granules: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "64 granules in a chunk")]
        let bits = mask(at as u32, granules as u32);
        chunk.head.free.set(chunk.head.free.get() | bits);
        self.set_dirty(chunk, chunk.head.dirty.get() | bits);
        self.dirty_hint.set(chunk);
        self.relist(chunk);
        self.in_use.set(self.in_use.get() - granules);
    }

    /// Makes a run of a large block longer or shorter where it lies, if there is room.
    ///
    /// # Safety
    /// The run is in use as one large block, and nobody uses what is cut off.
    pub(crate) unsafe fn resize_run(&self, span: &Span, granules: usize) -> bool {
        let have = usize::from(span.granules.get());
        // SAFETY: as in `give_run`.
        let (chunk, at) = unsafe { chunk_of(span.base()) };
        if granules < have {
            self.release(chunk, at + granules, have - granules);
        } else {
            let end = at + have;
            if granules > LONGEST_RUN || at + granules > 64 {
                return false;
            }
            #[expect(clippy::cast_possible_truncation, reason = "64 granules in a chunk")]
            let more = mask(end as u32, (granules - have) as u32);
            if chunk.head.free.get() & more != more {
                return false;
            }
            chunk.head.free.set(chunk.head.free.get() & !more);
            self.set_dirty(chunk, chunk.head.dirty.get() & !more);
            chunk.head.old.set(chunk.head.old.get() & !more);
            self.relist(chunk);
            self.in_use.set(self.in_use.get() + granules - have);
        }
        #[expect(clippy::cast_possible_truncation, reason = "64 granules in a chunk")]
        span.granules.set(granules as u8);
        true
    }

    /// Puts a chunk into the list of its longest free run.
    fn relist(&self, chunk: &'static Chunk) {
        let (head, longest) = (&chunk.head, longest_log2(chunk.head.free.get()));
        let was = head.longest.replace(longest);
        if was == longest {
            return;
        }
        let (prev, next) = (head.prev.get(), head.next.get());
        if let Some(list) = self.lists.get(usize::from(was)) {
            match chunk_reference(prev) {
                Some(prev) => prev.head.next.set(next),
                None => list.set(next),
            }
            if let Some(next) = chunk_reference(next) {
                next.head.prev.set(prev);
            }
        }
        head.prev.set(ptr::null());
        head.next.set(ptr::null());
        if let Some(list) = self.lists.get(usize::from(longest)) {
            let next = list.replace(chunk);
            head.next.set(next);
            if let Some(next) = chunk_reference(next) {
                next.head.prev.set(chunk);
            }
        }
    }

    /// Lets go of what has been free since before the last tick. Called every 150 ms of activity, or with `all` to let go
    /// of everything that is free.
    pub(crate) fn tick<S: System>(&self, system: &S, map: &Map, all: bool) {
        let mut chunks = chunk_reference(self.all.get());
        while let Some(chunk) = chunks {
            let head = &chunk.head;
            let gone = if all { head.dirty.get() } else { head.old.get() & head.dirty.get() };
            if !cfg!(hectare_plant = "hosted_no_decommit") {
                self.decommit(system, chunk, gone, 64);
            }
            head.old.set(head.dirty.get());
            chunks = chunk_reference(head.all_next.get());
        }
        self.mappings.tick(system, map, all);
    }

    /// Live blocks and their bytes, large ones in whole granules.
    pub(crate) fn live<S: System>(&self, map: &Map, system: &S) -> (usize, usize) {
        let (mut blocks, mut bytes) = (self.mappings.count(), self.mappings.in_use.get());
        let mut chunks = chunk_reference(self.all.get());
        while let Some(chunk) = chunks {
            let mut at = 1;
            while let Some(span) = chunk.span(at) {
                if chunk.head.free.get() >> at & 1 == 1 {
                    at += 1;
                    continue;
                }
                // SAFETY: an address in a chunk.
                let word = unsafe { map.word(system, chunk.granule(at).as_ptr().addr()) };
                match Entry::of(word) {
                    Entry::Small { class, .. } => {
                        blocks += span.used.get() as usize;
                        bytes += span.used.get() as usize * size_of_class(class);
                    }
                    Entry::Large => {
                        blocks += 1;
                        bytes += span.bytes();
                    }
                    _ => {}
                }
                at += usize::from(span.granules.get()).max(1);
            }
            chunks = chunk_reference(chunk.head.all_next.get());
        }
        (blocks, bytes)
    }

    /// Memory for a descriptor, zero, aligned to 64, never given back.
    pub(crate) fn descriptor<S: System>(&self, system: &S, bytes: usize) -> Option<NonNull<u8>> {
        let bytes = bytes.next_multiple_of(64);
        if self.spare_bytes.get() < bytes {
            let base = system.map(GRANULE, HEAD)?;
            self.spare.set(base.as_ptr());
            self.spare_bytes.set(GRANULE);
        }
        let place = NonNull::new(self.spare.get())?;
        self.spare.set(place.as_ptr().wrapping_add(bytes));
        self.spare_bytes.set(self.spare_bytes.get() - bytes);
        Some(place)
    }

    /// Sets the word of a large block.
    ///
    /// # Safety
    /// The run is in use, as one block.
    pub(crate) unsafe fn mark_large<S: System>(&self, system: &S, map: &Map, span: &Span) {
        // SAFETY: a run is in a chunk, which `map` returned.
        unsafe { map.write(system, span.base().as_ptr().addr(), 1, Entry::Large) };
    }
}
