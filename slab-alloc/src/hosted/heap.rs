//! The heap of one thread.
//!
//! ```text
//!  bins    0   8 B ─► ● ● ●        freed last, taken first; room: frees until something must go
//!          1  16 B ─► ●
//!          …                        ┌ spare ─► ● ● ● ●      a full chain, waiting to be wanted again
//!         72  32 K                  │ partial ─► span ─► span   with free objects of their own
//!                    class 1, … 72 ─┤ current ─► span       being carved
//!                                   └
//!  out     8 batches for other heaps ──post──► their inbox
//!  inbox   ◄── what others freed of ours
//! ```
//! * Objects in bins and spares belong to spans of this heap.
//! * A span that has free objects of its own is in `partial`; one whose objects are all free goes back to the pool, unless
//!   it is `current`.
//! * What is left to carve of a span is used while it is `current`.
//! * All fields but `mail` are used by one thread: the heap's own, or who claimed it while that is away.
#![expect(unsafe_code, reason = "reaches bins by offset, frees objects, finds spans")]

use core::cell::Cell;
use core::fmt;
use core::ptr::{self, NonNull};

use super::map::{BIN, Entry, NO_KEY, key_of};
use super::process::Process;
use super::span::{Span, Spans, reference};
use super::system::System;
use crate::free::{Chain, Free, HARDENED, mark_of};
use crate::inbox::{Inbox, Presence};
use crate::size_class::{CLASSES, size_of_class};
use mail::{OUTS, Out};

mod mail;
mod spans;

/// Objects of one class that were freed last.
#[repr(C, align(16))]
pub(crate) struct Bin {
    chain: Chain,
    /// Frees until the chain is looked after.
    room: Cell<i32>,
}

const _: () = assert!(size_of::<Bin>() == BIN);

/// What is behind a bin.
struct Class {
    spare: Chain,
    partial: Spans,
    current: Cell<*const Span>,
}

/// Slow calls between two looks at the clock.
const CALLS: u32 = 16;

#[repr(C, align(64))]
pub(crate) struct Heap {
    /// What makes the table's words of this heap's spans offsets of bins.
    key: Cell<u32>,
    calls: Cell<u32>,
    ticked: Cell<u64>,
    /// Where to look for the next heap to adopt from.
    next_away: Cell<u32>,
    /// With more granules than that in use, caches are emptied before there are more still.
    enough: Cell<usize>,
    bins: [Bin; CLASSES],
    classes: [Class; CLASSES],
    outs: [Out; OUTS],
    /// Written by others: on a cache line of its own.
    pub(crate) mail: Mail,
}

/// Where others reach a heap.
#[repr(C, align(64))]
pub(crate) struct Mail {
    pub(crate) inbox: Inbox,
    pub(crate) presence: Presence,
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("key", &self.key.get()).finish_non_exhaustive()
    }
}

/// The heap of a thread that has none: nothing can be taken from it, and nothing is its.
pub(crate) struct NoHeap(Heap);

// SAFETY: nothing is ever written to it: its chains are empty, so every allocation is slow; its key fits no word, so every
// free is slow; slow paths replace it before they use it (`is_none`).
unsafe impl Sync for NoHeap {}

pub(crate) static NO_HEAP: NoHeap = NoHeap(Heap::none());

impl NoHeap {
    pub(crate) fn get(&self) -> &Heap {
        &self.0
    }
}

impl Heap {
    const fn none() -> Self {
        Self {
            key: Cell::new(NO_KEY),
            calls: Cell::new(0),
            ticked: Cell::new(0),
            next_away: Cell::new(0),
            enough: Cell::new(0),
            bins: [const { Bin { chain: Chain::EMPTY, room: Cell::new(0) } }; CLASSES],
            classes: [const {
                Class { spare: Chain::EMPTY, partial: Spans::EMPTY, current: Cell::new(ptr::null()) }
            }; CLASSES],
            outs: [const { Out::NONE }; OUTS],
            mail: Mail { inbox: Inbox::new(), presence: Presence::new() },
        }
    }

    /// Makes a heap with this number.
    ///
    /// # Safety
    /// `memory` is zeroed, large enough, aligned to 64, and ours for ever.
    pub(crate) unsafe fn begin(memory: NonNull<u8>, number: u32) -> &'static Self {
        // SAFETY: (1) as the caller says; (2) zeros are a heap: numbers, null pointers, empty chains, an owner
        // who is here.
        let heap: &'static Self = unsafe { memory.cast::<Self>().as_ref() };
        heap.key.set(key_of(number));
        heap.outs.iter().for_each(|out| out.key.set(NO_KEY));
        heap
    }

    pub(crate) fn is_none(&self) -> bool {
        self.key.get() == NO_KEY
    }

    /// The offset of a bin, if a word of the table is of a span of this heap; at least [`BINS`](super::map::BINS) if not.
    #[inline(always)]
    pub(crate) fn offset_of(&self, word: u32) -> u32 {
        word ^ self.key.get()
    }

    /// The bin at this offset.
    ///
    /// # Safety
    /// `offset` is a class times [`BIN`].
    #[inline(always)]
    unsafe fn bin(&self, offset: usize) -> &Bin {
        // SAFETY: below CLASSES × BIN: inside the array.
        let bin = unsafe { self.bins.as_ptr().byte_add(offset) };
        // SAFETY: as above.
        unsafe { &*bin }
    }

    /// Takes the object that was freed last.
    ///
    /// # Safety
    /// `offset` is a class times [`BIN`].
    #[inline(always)]
    pub(crate) unsafe fn pop(&self, offset: usize) -> Option<Free> {
        // SAFETY: the caller's promise.
        unsafe { self.bin(offset) }.chain.pop()
    }

    /// Puts an object of ours in front, or gives it back if the bin wants to be looked after.
    ///
    /// # Safety
    /// `offset` is a class times [`BIN`], and the object's.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, offset: usize, object: Free) -> Result<(), Free> {
        // SAFETY: the caller's promise.
        let bin = unsafe { self.bin(offset) };
        let room = bin.room.get() - 1;
        bin.room.set(room);
        if room < 0 {
            return Err(object);
        }
        bin.chain.push(object);
        Ok(())
    }

    /// The object that would be taken next, for looking at its address.
    ///
    /// # Safety
    /// `offset` is a class times [`BIN`].
    pub(crate) unsafe fn front(&self, offset: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.bin(offset) }.chain.peek()
    }

    /// How many objects of a class a bin may get before it is looked after: 16 KiB of them, 8 to 256. As many wait behind
    /// it, so it is what a thread keeps from others; twice as much made no program faster.
    fn batch(class: usize) -> i32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 256")]
        let batch = (16384 / size_of_class(class)).clamp(8, 256) as i32;
        batch
    }

    fn parts(&self, class: usize) -> Option<(&Bin, &Class)> {
        self.bins.get(class).zip(self.classes.get(class))
    }

    /// Fills an empty bin and takes an object. `None`: out of memory.
    #[cold]
    pub(crate) fn refill<S: System>(&'static self, process: &Process<S>, class: usize) -> Option<Free> {
        self.count_call(process);
        let (bin, behind) = self.parts(class)?;
        if self.mail.inbox.has_mail() {
            self.drain(process, true);
        }
        if bin.chain.is_empty() {
            bin.room.set(Self::batch(class));
            if behind.spare.is_empty() {
                self.refill_from_spans(process, class, bin, behind)?;
            } else {
                bin.chain.replace(behind.spare.take());
            }
        }
        bin.chain.pop()
    }

    fn number(&self) -> u32 {
        match Entry::of(self.key.get()) {
            Entry::Small { owner, .. } => owner,
            _ => 0,
        }
    }

    /// The bin of a freed object is full: what is in it becomes the spare; the spare of before goes to its spans, since
    /// nobody wanted it as long as a whole bin was filled.
    #[cold]
    pub(crate) fn overflow<S: System>(&'static self, process: &Process<S>, class: usize, object: Free) {
        self.count_call(process);
        let Some((bin, behind)) = self.parts(class) else { return };
        bin.room.set(Self::batch(class) - 1);
        // What was freed was allocated again, nearly all of it: nothing to do.
        if !bin.chain.is_shorter(4) {
            self.flush(process, &behind.spare.take());
            behind.spare.replace(bin.chain.take());
        }
        bin.chain.push(object);
        if self.mail.inbox.has_mail() {
            self.drain(process, true);
        }
    }

    /// Every so many slow calls: looks at the clock; at each tick, lets go of what is free.
    fn count_call<S: System>(&'static self, process: &Process<S>) {
        let calls = self.calls.get() + 1;
        self.calls.set(calls % CALLS);
        if calls < CALLS {
            return;
        }
        let now = process.system.millis();
        process.tick(now);
        if Process::<S>::is_tick(self.ticked.get(), now) {
            self.ticked.set(now);
            self.age(process, false);
        }
    }

    /// What is in bins and spares goes to the spans, so that those of which nothing is used go to the pool: what is needed
    /// comes back by whole spans. A current span stays, empty, if it was used since the last time, unless `all` is to go.
    fn age<S: System>(&'static self, process: &Process<S>, all: bool) {
        for (bin, behind) in self.bins.iter().zip(&self.classes) {
            // One that ran empty has begun anew, with nothing carved.
            let idle = reference(behind.current.get()).is_some_and(|span| span.carved.get() == 0);
            self.flush(process, &bin.chain.take());
            self.flush(process, &behind.spare.take());
            bin.room.set(0);
            if idle || all {
                Self::drop_current(process, behind);
            }
        }
        self.outs.iter().for_each(|out| Self::post(process, out));
    }

    /// Before more memory comes into use: when it has become an eighth more since the last time, what is in bins and spares
    /// goes to the spans, so that those of which nothing is used go to the pool and serve again.
    pub(crate) fn before_growth<S: System>(&'static self, process: &Process<S>) {
        let in_use = || process.with_pool(|pool| pool.in_use.get());
        if in_use() > self.enough.get() && !cfg!(hectare_plant = "hosted_growth_keeps") {
            self.age(process, false);
            let left = in_use();
            self.enough.set(left + left / 8 + 16);
        }
    }

    /// Gives everything that is free to spans, pool and other heaps.
    pub(crate) fn flush_all<S: System>(&'static self, process: &Process<S>) {
        self.drain(process, false);
        self.age(process, true);
    }
}

/// Hardened: marks an object as free.
#[inline(always)]
pub(crate) fn marked(object: &Free) {
    if HARDENED {
        // SAFETY: a free object of at least 16 bytes, aligned to 16: its second word is its own.
        unsafe { mark_place(object.address()).write(mark_of(object.address())) };
    }
}

/// Where an object's mark is: its second word.
pub(crate) fn mark_place(object: NonNull<u8>) -> NonNull<usize> {
    let words = object.cast::<usize>();
    // SAFETY: hardened heaps have no objects below 16 bytes.
    unsafe { words.add(1) }
}
