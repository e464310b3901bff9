//! The locks and wrappers under loom, which runs every interleaving and every allowed outcome of weak memory.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-core --test loom`. The planted faults
//! (`--cfg hectare_plant="spin_relaxed"`, `"spin_no_lock"`, `"spin_unacquired"`) must make it fail.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, unreachable_pub, reason = "tests")]

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use hectare_core::{Heap, Locked, RawLock, RegionHeap, SpinLock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use naive::Naive;

#[path = "support/naive.rs"]
mod naive;

/// A number that only the lock protects; loom reports every access that does not happen after the last one.
struct Guarded {
    lock: SpinLock,
    value: UnsafeCell<u32>,
}

// SAFETY: `value` is reached under `lock`; that this suffices is what the model checks.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: SpinLock::new(), value: UnsafeCell::new(0) })
    }

    fn add(&self, amount: u32) {
        let done = self.lock.with(|| {
            self.value.with_mut(|value| {
                // SAFETY: under the lock.
                unsafe { *value += amount };
            });
        });
        assert_eq!(done, Ok(()));
    }

    fn read(&self) -> u32 {
        // SAFETY: under the lock.
        self.lock.with(|| self.value.with(|value| unsafe { *value })).unwrap()
    }
}

#[test]
fn two_threads_add() {
    loom::model(|| {
        let shared = Guarded::new();
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.add(1))
        };
        shared.add(2);
        other.join().unwrap();
        assert_eq!(shared.read(), 3);
    });
}

/// One preemption: loom's yield is not fair, and with more of them two waiters may spin for ever without the holder.
#[test]
fn three_threads_add() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(1);
    model.check(|| {
        let shared = Guarded::new();
        let others: Vec<_> = (0..2)
            .map(|thread| {
                let shared = shared.clone();
                thread::spawn(move || shared.add(1 + thread))
            })
            .collect();
        shared.add(4);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.read(), 7);
    });
}

/// A reader that comes before the writer sees the old value, one that comes after sees all of the new.
#[test]
fn what_one_wrote_the_next_sees() {
    loom::model(|| {
        let shared = Guarded::new();
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.add(1);
                shared.add(1);
            })
        };
        let seen = shared.read();
        assert!(seen <= 2);
        other.join().unwrap();
        assert_eq!(shared.read(), 2);
    });
}

#[test]
fn a_locked_engine_counts() {
    loom::model(|| {
        let shared = Arc::new(Locked::with_lock(SpinLock::new(), Vec::new()));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.with(|list| list.push(1)).unwrap())
        };
        shared.with(|list| list.push(2)).unwrap();
        other.join().unwrap();
        let sum: i32 = shared.with(|list| list.iter().sum()).unwrap();
        assert_eq!(sum, 3);
    });
}

type Tiny = Heap<SpinLock, Naive<4>>;

fn heap() -> Arc<Tiny> {
    let heap = Tiny::with_lock(SpinLock::new(), Naive::EMPTY);
    // The naive engine writes nothing into its memory, so 64 leaked bytes an execution are all it needs.
    let region: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 64].leak();
    heap.init_static(region).unwrap();
    Arc::new(heap)
}

const WORD: Layout = Layout::new::<u64>();

#[test]
fn a_heap_hands_out_disjoint_blocks() {
    loom::model(|| {
        let heap = heap();
        let other = {
            let heap = heap.clone();
            thread::spawn(move || heap.allocate_block(WORD).unwrap().addr().get())
        };
        let mine = heap.allocate_block(WORD).unwrap().addr().get();
        let theirs = other.join().unwrap();
        assert!(mine.abs_diff(theirs) >= WORD.size());
        assert_eq!(heap.used(), 16);
    });
}

#[test]
fn a_block_freed_by_another_thread_is_free() {
    loom::model(|| {
        let heap = heap();
        let block = heap.allocate_block(WORD).unwrap().expose_provenance();
        let other = {
            let heap = heap.clone();
            thread::spawn(move || {
                let block = NonNull::with_exposed_provenance(block);
                // SAFETY: live, with its layout, used by nobody else.
                unsafe { heap.dealloc(block.as_ptr(), WORD) };
            })
        };
        // SAFETY: the layout is not of size 0.
        let second = unsafe { heap.alloc(WORD) };
        assert!(!second.is_null());
        other.join().unwrap();
        assert_eq!((heap.used(), heap.bad_frees()), (8, 0));
    });
}
