//! What belongs to other heaps, and what they have of ours: posting, taking in, adopting.
//!
//! ```text
//!  freed here   ──► out[owner % 8] ── full ──► owner's inbox ── owner is away ──► taken in by who posted
//!  freed there  ──► inbox ──► bins with room, or spans
//!  spans of a heap whose owner went ── wanted here ──► the table says that they are ours
//! ```
#![expect(unsafe_code, reason = "asks the table, and names an object's bytes")]

use core::cell::Cell;
use core::ptr;

use super::super::map::{BIN_LOG2, BINS, Entry, NO_KEY, key_of, owner_of};
use super::super::process::Process;
use super::super::span::{Span, reference};
use super::super::system::System;
use super::{Class, Heap};
use crate::free::{Batch, Free};
use crate::size_class::SIZES;

/// Objects for another heap.
pub(super) struct Out {
    /// The owner's key, as the heap's is ours; [`NO_KEY`] if there is none yet.
    pub(super) key: Cell<u32>,
    /// Bytes until the batch is posted; an object counts as [`OUT_LEAST`] at least.
    left: Cell<i32>,
    batch: Batch,
}

impl Out {
    /// Without an owner.
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    pub(super) const NONE: Self = Self { key: Cell::new(NO_KEY), left: Cell::new(0), batch: Batch::EMPTY };
}

/// What is to be posted after an object was collected.
#[must_use]
pub(crate) struct Posting<'a>(Option<&'a Out>);

/// Batches that are being collected at once. (Miri looks at every cell of a heap at each call.)
pub(super) const OUTS: usize = if cfg!(miri) { 2 } else { 8 };
/// A batch is posted when it has so many bytes, or 64 objects.
const OUT_BYTES: i32 = 1 << 16;
const OUT_LEAST: i32 = OUT_BYTES / 64;

impl Heap {
    /// Takes in what others freed: into bins as far as they have room, if `to_bins`, or else to the spans.
    pub(super) fn drain<S: System>(&'static self, process: &Process<S>, to_bins: bool) {
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
    pub(super) fn post<S: System>(process: &Process<S>, out: &Out) {
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
    pub(super) fn adopt<S: System>(
        &'static self,
        process: &Process<S>,
        class: usize,
        behind: &Class,
    ) -> bool {
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

    pub(super) fn take_over<S: System>(&self, process: &Process<S>, span: &Span, class: usize) {
        let entry = Entry::Small { owner: self.number(), class };
        let (base, granules) = (span.base().as_ptr().addr(), usize::from(span.granules.get()));
        // SAFETY: the span's own granules.
        unsafe { process.map.write(&process.system, base, granules, entry) };
    }
}
