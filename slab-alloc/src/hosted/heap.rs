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

use super::map::{BIN, BIN_LOG2, BINS, Entry, NO_KEY, key_of, owner_of};
use super::process::Process;
use super::span::{Span, Spans, granules_of, reference, span_of};
use super::system::System;
use crate::free::{Batch, Chain, Free, HARDENED, mark_of};
use crate::inbox::{Inbox, Presence};
use crate::size_class::{CLASSES, SIZES, size_of_class};

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

/// Objects for another heap.
struct Out {
    /// The owner's key, as [`Heap::key`] is ours; [`NO_KEY`] if there is none yet.
    key: Cell<u32>,
    /// Bytes until the batch is posted; an object counts as [`OUT_LEAST`] at least.
    left: Cell<i32>,
    batch: Batch,
}

/// What is to be posted after an object was collected.
#[must_use]
pub(crate) struct Posting<'a>(Option<&'a Out>);

const OUTS: usize = 8;
/// A batch is posted when it has so many bytes, or 64 objects.
const OUT_BYTES: i32 = 1 << 16;
const OUT_LEAST: i32 = OUT_BYTES / 64;
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
            bins: [const { Bin { chain: Chain::EMPTY, room: Cell::new(0) } }; CLASSES],
            classes: [const {
                Class { spare: Chain::EMPTY, partial: Spans::EMPTY, current: Cell::new(ptr::null()) }
            }; CLASSES],
            outs: [const { Out { key: Cell::new(NO_KEY), left: Cell::new(0), batch: Batch::EMPTY } }; OUTS],
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

    /// The offset of a bin, if a word of the table is of a span of this heap; at least [`BINS`] if not.
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

    /// How many objects of a class a bin may get before it is looked after.
    fn batch(class: usize) -> i32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 256")]
        let batch = (32768 / size_of_class(class)).clamp(8, 256) as i32;
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

    fn refill_from_spans<S: System>(
        &'static self,
        process: &Process<S>,
        class: usize,
        bin: &Bin,
        behind: &Class,
    ) -> Option<()> {
        if take_partial(behind, bin) || carve_current(behind, bin) {
            return Some(());
        }
        if self.adopt(process, class, behind) && (take_partial(behind, bin) || carve_current(behind, bin)) {
            return Some(());
        }
        let granules = granules_of(class);
        let (span, _) = process.with_pool(|pool| pool.take_run(&process.system, granules))?;
        span.begin_class(class);
        let entry = Entry::Small { owner: self.number(), class };
        // SAFETY: the run was taken above; it is in a chunk.
        unsafe { process.map.write(&process.system, span.base().as_ptr().addr(), granules, entry) };
        behind.current.set(span);
        span.carve(&bin.chain, marked);
        Some(())
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

    /// Gives objects of ours to their spans.
    fn flush<S: System>(&'static self, process: &Process<S>, chain: &Chain) {
        while let Some(object) = chain.pop() {
            self.give(process, object, true);
        }
    }

    /// Gives an object of ours to its span. One that runs empty goes to the pool, but for a current one that is to be kept.
    fn give<S: System>(&'static self, process: &Process<S>, object: Free, keep_current: bool) {
        // SAFETY: an object of a span in use (it was handed out from it).
        let span = unsafe { span_of(object.address()) };
        span.free.push(object);
        let used = span.used.get() - 1;
        span.used.set(used);
        let Some(behind) = self.classes.get(usize::from(span.class.get())) else { return };
        if used == 0 {
            if span.listed.get() {
                behind.partial.remove(span);
            }
            let current = ptr::eq(behind.current.get(), span);
            if current && keep_current {
                span.begin_class(usize::from(span.class.get()));
            } else {
                if current {
                    behind.current.set(ptr::null());
                }
                Self::retire(process, span);
            }
        } else if !span.listed.get() {
            behind.partial.push(span);
        }
    }

    /// Gives a span whose objects are all free to the pool.
    fn retire<S: System>(process: &Process<S>, span: &'static Span) {
        let granules = usize::from(span.granules.get());
        // SAFETY: the span's own granules.
        unsafe {
            process.map.write(&process.system, span.base().as_ptr().addr(), granules, Entry::Nothing);
        }
        // SAFETY: no object of it is live or in a chain; the table says nothing.
        process.with_pool(|pool| unsafe { pool.give_run(span) });
    }

    /// Takes in what others freed: into bins as far as they have room, if `to_bins`, or else to the spans.
    fn drain<S: System>(&'static self, process: &Process<S>, to_bins: bool) {
        self.mail.inbox.take().deliver(|object| {
            // SAFETY: an object's address.
            let word = unsafe { process.map.word(&process.system, object.address().as_ptr().addr()) };
            let offset = self.offset_of(word);
            if offset >= BINS {
                // Its span was adopted while it was on its way.
                return self.send(process, word, object);
            }
            // SAFETY: below BINS, and a multiple of BIN as all words' are.
            let bin = unsafe { self.bin(offset as usize) };
            let room = bin.room.get();
            if to_bins && room > 0 {
                bin.room.set(room - 1);
                bin.chain.push(object);
            } else {
                self.give(process, object, to_bins);
            }
        });
    }

    /// Puts an object of another heap into the batch for that, if one is being collected: the usual case.
    #[inline(always)]
    pub(crate) fn collect(&self, word: u32, object: Free) -> Result<Posting<'_>, Free> {
        let Some(out) = self.outs.get(owner_of(word) as usize % OUTS) else { return Err(object) };
        let offset = word ^ out.key.get();
        if offset >= BINS {
            return Err(object);
        }
        let size = SIZES.get(offset as usize >> BIN_LOG2).map_or(8, |size| i32::from(*size));
        // SAFETY: the object is of this class: it has so many bytes.
        unsafe { out.batch.push(object, size as usize) };
        let left = out.left.get() - size.max(OUT_LEAST);
        out.left.set(left);
        Ok(Posting(if left <= 0 { Some(out) } else { None }))
    }

    /// Puts an object of another heap into the batch for that; `word` is what the table says of it.
    pub(crate) fn send<S: System>(&'static self, process: &Process<S>, word: u32, object: Free) {
        let Entry::Small { owner, .. } = Entry::of(word) else { return };
        let Some(out) = self.outs.get(owner as usize % OUTS) else { return };
        if out.key.get() != key_of(owner) {
            Self::post(process, out);
            out.key.set(key_of(owner));
        }
        if let Ok(posting) = self.collect(word, object) {
            self.post_full(process, posting);
        }
    }

    /// Posts a batch that is full.
    #[inline(always)]
    pub(crate) fn post_full<S: System>(&'static self, process: &Process<S>, posting: Posting<'_>) {
        if let Some(out) = posting.0 {
            Self::post(process, out);
            self.count_call(process);
        }
    }

    /// Posts a batch. If nobody is there, its receiver is looked after at once.
    #[cold]
    #[inline(never)]
    fn post<S: System>(process: &Process<S>, out: &Out) {
        out.left.set(OUT_BYTES);
        let Some(parcel) = out.batch.take() else { return };
        let Some(heap) = process.heap(owner_of(out.key.get())) else { return };
        heap.mail.inbox.post(parcel);
        if heap.mail.presence.is_away_after_post() && heap.mail.presence.claim() {
            heap.tend(process);
            process.put_back(heap);
        }
    }

    /// Takes in the mail of a heap whose thread has ended. The caller has claimed it.
    pub(crate) fn tend<S: System>(&'static self, process: &Process<S>) {
        self.drain(process, false);
        self.outs.iter().for_each(|out| Self::post(process, out));
    }

    /// Takes over the spans of a class that have free objects from a heap whose thread has ended. Whether there were any.
    fn adopt<S: System>(&'static self, process: &Process<S>, class: usize, behind: &Class) -> bool {
        if cfg!(hectare_plant = "hosted_not_adopted") {
            return false;
        }
        let Some((number, heap)) = process.claim_away(self.next_away.get()) else { return false };
        self.next_away.set(number);
        heap.tend(process);
        let mut found = false;
        if let Some(theirs) = heap.classes.get(class) {
            let current = reference(theirs.current.replace(ptr::null()));
            if let Some(span) = current.filter(|span| span.carved.get() < span.capacity.get()) {
                self.take_over(process, span, class);
                behind.current.set(span);
                found = true;
            }
            while let Some(span) = theirs.partial.first() {
                theirs.partial.remove(span);
                self.take_over(process, span, class);
                behind.partial.push(span);
                found = true;
            }
        }
        process.put_back(heap);
        found
    }

    fn take_over<S: System>(&self, process: &Process<S>, span: &Span, class: usize) {
        let entry = Entry::Small { owner: self.number(), class };
        let (base, granules) = (span.base().as_ptr().addr(), usize::from(span.granules.get()));
        // SAFETY: the span's own granules.
        unsafe { process.map.write(&process.system, base, granules, entry) };
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

    /// Gives a current span back if nothing of it is used.
    fn drop_current<S: System>(process: &Process<S>, behind: &Class) {
        if let Some(span) = reference(behind.current.get()).filter(|span| span.used.get() == 0) {
            behind.current.set(ptr::null());
            Self::retire(process, span);
        }
    }

    /// Gives everything that is free to spans, pool and other heaps.
    pub(crate) fn flush_all<S: System>(&'static self, process: &Process<S>) {
        self.drain(process, false);
        self.age(process, true);
    }
}

/// Moves the free objects of spans into an empty bin: all of the first one's, and a few more until there are some.
/// Whether there are any.
fn take_partial(behind: &Class, bin: &Bin) -> bool {
    const SOME: u32 = 16;
    let mut count = 0;
    while let Some(span) = behind.partial.first() {
        let free = span.carved.get() - span.used.get();
        if count == 0 {
            bin.chain.replace(span.free.take());
            span.used.set(span.carved.get());
            count = free;
        } else {
            while count < SOME {
                let Some(object) = span.free.pop() else { break };
                bin.chain.push(object);
                span.used.set(span.used.get() + 1);
                count += 1;
            }
        }
        if span.free.is_empty() {
            behind.partial.remove(span);
        }
        if count >= SOME {
            return true;
        }
    }
    count > 0
}

/// Carves the current span, if there is one and something is left of it.
fn carve_current(behind: &Class, bin: &Bin) -> bool {
    let current = reference(behind.current.get());
    let Some(span) = current.filter(|span| span.carved.get() < span.capacity.get()) else { return false };
    span.carve(&bin.chain, marked);
    true
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
