//! Mail between the heaps of threads, and heaps whose thread goes away, under loom.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-slab --test loom_hosted`. An object stands for a cell of
//! loom's that has its number: an object that comes from one thread to another without everything that was written before
//! is reported. The planted faults (`inbox_relaxed`, `inbox_unacquired`, `presence_relaxed`, `presence_two`,
//! `presence_unordered`) must make it fail.
#![cfg(hectare_loom)]
#![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block, reason = "tests")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use hectare_slab::free::{Batch, Chain, Free};
use hectare_slab::inbox::{Inbox, Presence};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const OBJECTS: usize = 3;
type Memory = [MaybeUninit<[usize; 2]>; OBJECTS];

/// A heap: its box, whether its owner is there, and what only the owner, or who stands in for it, may touch.
struct Heap {
    memory: NonNull<Memory>,
    cells: [UnsafeCell<u32>; OBJECTS],
    own: UnsafeCell<u32>,
    inbox: Inbox,
    presence: Presence,
}

// SAFETY: what the models are about.
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

impl Heap {
    fn new() -> Arc<Self> {
        let memory = Box::new([const { MaybeUninit::uninit() }; OBJECTS]);
        Arc::new(Self {
            memory: NonNull::from(Box::leak(memory)),
            cells: core::array::from_fn(|_| UnsafeCell::new(0)),
            own: UnsafeCell::new(0),
            inbox: Inbox::new(),
            presence: Presence::new(),
        })
    }

    /// Frees these objects by another thread: writes to each, and posts them in one batch.
    fn post(&self, numbers: &[usize]) {
        let batch = Batch::EMPTY;
        for number in numbers {
            // SAFETY: this thread has the object until it is posted.
            self.cells[*number].with_mut(|cell| unsafe { *cell += 1 });
            // SAFETY: below OBJECTS.
            let place = unsafe { self.memory.cast::<[usize; 2]>().add(*number) };
            // SAFETY: 16 bytes, ours.
            batch.push(unsafe { Free::new(place.cast()) });
        }
        self.inbox.post(batch);
        if self.presence.is_away_after_post() && self.presence.claim() {
            self.tend();
            self.put_back();
        }
    }

    /// Takes the mail in; how many objects. By the owner or who claimed the heap.
    fn tend(&self) -> usize {
        // SAFETY: exclusively ours: the owner's, or claimed.
        self.own.with_mut(|own| unsafe { *own += 1 });
        let mail: Chain = self.inbox.take();
        let mut count = 0;
        while let Some(object) = mail.pop() {
            let number = (object.address().as_ptr().addr() - self.memory.as_ptr().addr()) / 16;
            // SAFETY: the object came to us.
            self.cells[number].with_mut(|cell| unsafe {
                assert_eq!(*cell, 1, "freed once");
                *cell = 2;
            });
            count += 1;
        }
        count
    }

    fn put_back(&self) {
        while self.presence.leave(&self.inbox) {
            if !self.presence.claim() {
                return;
            }
            self.tend();
        }
    }

    /// Everything was taken in, and nobody stands in for anybody.
    fn check(&self, posted: &[usize]) {
        assert!(!self.inbox.has_mail(), "mail lies with nobody");
        for number in posted {
            // SAFETY: the threads have ended.
            assert_eq!(self.cells[*number].with(|cell| unsafe { *cell }), 2, "taken in once");
        }
    }
}

#[test]
fn a_two_senders_and_an_owner() {
    loom::model(|| {
        let heap = Heap::new();
        let senders = [vec![0, 1], vec![2]].map(|numbers| {
            let heap = Arc::clone(&heap);
            thread::spawn(move || heap.post(&numbers))
        });
        let mut count = heap.tend();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        count += heap.tend();
        assert_eq!(count, OBJECTS);
        heap.check(&[0, 1, 2]);
    });
}

#[test]
fn b_an_owner_goes_while_mail_comes() {
    loom::model(|| {
        let heap = Heap::new();
        let sender = {
            let heap = Arc::clone(&heap);
            thread::spawn(move || heap.post(&[0, 1]))
        };
        heap.tend();
        heap.put_back();
        sender.join().unwrap();
        heap.check(&[0, 1]);
        assert!(heap.presence.claim(), "the heap is there for the next thread");
    });
}

#[test]
fn c_one_of_two_stands_in() {
    loom::model(|| {
        let heap = Heap::new();
        heap.put_back();
        let senders = [0, 2].map(|number| {
            let heap = Arc::clone(&heap);
            thread::spawn(move || heap.post(&[number]))
        });
        // A third thread looks for a heap to begin with.
        let mine = heap.presence.claim();
        if mine {
            heap.tend();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        if mine {
            heap.tend();
        }
        heap.check(&[0, 2]);
    });
}
