//! Between a heap's bins and its spans: where objects come from when a bin is empty, and go when nobody wants them.
#![expect(unsafe_code, reason = "finds spans, and tells the table about them")]

use core::ptr;

use super::super::map::Entry;
use super::super::process::Process;
use super::super::span::{Span, granules_of, reference, span_of};
use super::super::system::System;
use super::{Bin, Class, Heap, marked};
use crate::free::{Chain, Free};

impl Heap {
    pub(super) fn refill_from_spans<S: System>(
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
        self.before_growth(process);
        if take_partial(behind, bin) {
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

    /// Gives objects of ours to their spans.
    pub(super) fn flush<S: System>(&'static self, process: &Process<S>, chain: &Chain) {
        while let Some(object) = chain.pop() {
            self.give(process, object, true);
        }
    }

    /// Gives an object of ours to its span. One that runs empty goes to the pool, but for a current one that is to be kept.
    pub(super) fn give<S: System>(&'static self, process: &Process<S>, object: Free, keep_current: bool) {
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
    pub(super) fn retire<S: System>(process: &Process<S>, span: &'static Span) {
        let granules = usize::from(span.granules.get());
        // SAFETY: the span's own granules.
        unsafe {
            process.map.write(&process.system, span.base().as_ptr().addr(), granules, Entry::Nothing);
        }
        // SAFETY: no object of it is live or in a chain; the table says nothing.
        process.with_pool(|pool| unsafe { pool.give_run(span) });
    }

    /// Gives a current span back if nothing of it is used.
    pub(super) fn drop_current<S: System>(process: &Process<S>, behind: &Class) {
        if let Some(span) = reference(behind.current.get()).filter(|span| span.used.get() == 0) {
            behind.current.set(ptr::null());
            Self::retire(process, span);
        }
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
