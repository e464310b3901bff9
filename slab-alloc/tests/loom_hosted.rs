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

use hectare_slab::free::{Batch, Free};
use hectare_slab::inbox::{Inbox, Presence};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
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
            // SAFETY: 16 bytes, ours: it can carry one other.
            unsafe { batch.push(Free::new(place.cast()), 16) };
        }
        if let Some(parcel) = batch.take() {
            self.inbox.post(parcel);
        }
        if self.presence.is_away_after_post() && self.presence.claim() {
            self.tend();
            self.put_back();
        }
    }

    /// Takes the mail in; how many objects. By the owner or who claimed the heap.
    fn tend(&self) -> usize {
        // SAFETY: exclusively ours: the owner's, or claimed.
        self.own.with_mut(|own| unsafe { *own += 1 });
        let mut count = 0;
        self.inbox.take().deliver(|object| {
            let number = (object.address().as_ptr().addr() - self.memory.as_ptr().addr()) / 16;
            // SAFETY: the object came to us.
            self.cells[number].with_mut(|cell| unsafe {
                assert_eq!(*cell, 1, "freed once");
                *cell = 2;
            });
            count += 1;
        });
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

/// Runs every execution of a model with at most so many preemptions, or with any number, and says how many there were.
fn check(name: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    let (count, start) =
        (std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)), std::time::Instant::now());
    let counted = count.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let count = count.load(std::sync::atomic::Ordering::Relaxed);
    println!("{name}: {count} executions in {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn a_two_senders_and_an_owner() {
    check("a_two_senders_and_an_owner", None, || {
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
    check("b_an_owner_goes_while_mail_comes", None, || {
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
    check("c_one_of_two_stands_in", Some(3), || {
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

/// Two heaps, and one object of a span that the second adopts from the first.
struct Pair {
    heaps: [Mailed; 2],
    memory: NonNull<[usize; 2]>,
    /// The word of the table: whose the span is.
    word: AtomicU32,
    /// The span's descriptor, which its owner alone touches: objects that came back.
    span: UnsafeCell<u32>,
}

/// What of a heap others reach.
struct Mailed {
    inbox: Inbox,
    presence: Presence,
}

// SAFETY: what the model is about.
unsafe impl Sync for Pair {}
// SAFETY: as above.
unsafe impl Send for Pair {}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

impl Pair {
    fn new() -> Arc<Self> {
        let mailed = || Mailed { inbox: Inbox::new(), presence: Presence::new() };
        Arc::new(Self {
            heaps: [mailed(), mailed()],
            memory: NonNull::from(Box::leak(Box::new([0; 2]))),
            word: AtomicU32::new(0),
            span: UnsafeCell::new(0),
        })
    }

    fn heap(&self, number: u32) -> &Mailed {
        &self.heaps[number as usize]
    }

    /// Sends the object to this heap.
    fn send(&self, to: u32, object: Free) {
        let batch = Batch::EMPTY;
        // SAFETY: 16 bytes, ours.
        unsafe { batch.push(object, 16) };
        let heap = self.heap(to);
        heap.inbox.post(batch.take().unwrap());
        if heap.presence.is_away_after_post() && heap.presence.claim() {
            self.tend(to);
            self.put_back(to);
        }
    }

    /// Takes in the mail of a heap that is ours.
    fn tend(&self, number: u32) {
        self.heap(number).inbox.take().deliver(|object| match self.word.load(Ordering::Relaxed) {
            // SAFETY: the span is this heap's, and that is ours; loom checks it.
            owner if owner == number => self.span.with_mut(|span| unsafe { *span += 1 }),
            owner => self.send(owner, object),
        });
    }

    fn put_back(&self, number: u32) {
        while self.heap(number).presence.leave(&self.heap(number).inbox) {
            if !self.heap(number).presence.claim() {
                return;
            }
            self.tend(number);
        }
    }
}

/// A heap adopts the span of one whose owner has just gone, while an object of the span is being freed.
#[test]
fn d_a_span_is_adopted_while_an_object_comes() {
    check("d_a_span_is_adopted_while_an_object_comes", Some(3), || {
        let pair = Pair::new();
        let sender = {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                // SAFETY: 16 bytes; handed over to this thread.
                let object = unsafe { Free::new(pair.memory.cast()) };
                pair.send(pair.word.load(Ordering::Relaxed), object);
            })
        };
        let first = {
            let pair = Arc::clone(&pair);
            thread::spawn(move || pair.put_back(0))
        };
        // The second heap is this thread's.
        if pair.heap(0).presence.claim() {
            pair.tend(0);
            // SAFETY: the first heap was claimed, so its span is ours.
            pair.span.with_mut(|span| unsafe { *span += 10 });
            pair.word.store(1, Ordering::Relaxed);
            pair.put_back(0);
        }
        pair.tend(1);
        sender.join().unwrap();
        first.join().unwrap();
        pair.tend(1);
        assert!(!pair.heaps.iter().any(|heap| heap.inbox.has_mail()), "mail lies with nobody");
        // SAFETY: the threads have ended.
        assert_eq!(pair.span.with(|span| unsafe { *span }) % 10, 1, "taken in once");
    });
}
