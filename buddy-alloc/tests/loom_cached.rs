//! The per-CPU caches under loom, which runs every interleaving and every allowed outcome of weak memory.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-buddy --test loom_cached`. The planted fault
//! (`--cfg hectare_plant="cache_unheld"`) must make it fail.
#![cfg(hectare_loom)]
#![expect(unsafe_code, reason = "gives frames back")]
#![allow(clippy::unwrap_used, reason = "tests")]

use core::cell::Cell;
use core::num::NonZero;

use hectare_buddy::{Banks, Cached, Engine, Frames, Keep, Rows4, words_for};
use hectare_core::{CpuPin, Frame, FrameRequest, FrameRun, Locked, Order, SharedFrameSource, Slot, SpinLock};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

loom::thread_local! {
    static HOME: Cell<usize> = Cell::new(0);
}

/// Two CPUs: a thread says which is its home.
struct Two {
    busy: [AtomicBool; 2],
}

impl Two {
    fn enter<R>(&self, home: usize, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let busy = &self.busy[home];
        // No swap: loom lets a store slip between its reading and its writing.
        if busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return f(None);
        }
        let result = f(Some(Slot::new(u16::try_from(home).unwrap())));
        busy.store(false, Ordering::Release);
        result
    }
}

// SAFETY: the exchange lets one closure into a slot; the store releases what the next exchange acquires.
unsafe impl CpuPin for Two {
    fn slots(&self) -> u32 {
        2
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        self.enter(HOME.with(Cell::get), f)
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        for home in 0..2 {
            self.enter(home, |slot| slot.map(drain));
        }
    }
}

type Small = Cached<Locked<SpinLock, Frames<'static, Rows4>>, Two, 2, 1>;

/// `count` frames, taken two at a time.
fn cached(count: u64) -> Arc<Small> {
    let span = FrameRun::new(Frame::new(0), count).unwrap();
    let mut banks = Banks::new(vec![None; 1].leak());
    banks.add(span).unwrap();
    let engine = Engine::<Rows4>::new(banks, vec![0; words_for::<Rows4>(span).unwrap()].leak()).unwrap();
    // SAFETY: nobody writes to the frames: they are only numbers.
    let source = Locked::with_lock(SpinLock::new(), unsafe { Frames::new(engine) });
    let cpus = Two { busy: [AtomicBool::new(false), AtomicBool::new(false)] };
    Arc::new(Cached::new(
        source,
        cpus,
        [Keep { order: Order::ZERO, batch: NonZero::new(2).unwrap(), most: 2 }],
    ))
}

const ONE: FrameRequest = FrameRequest::order(Order::ZERO);

fn free(cached: &Small, run: FrameRun) {
    // SAFETY: the run is the caller's.
    unsafe { cached.free_frames(run) }.unwrap();
}

fn everything_is_back(cached: &Small, count: u64) {
    cached.drain();
    assert_eq!(cached.refused(), 0);
    assert_eq!(cached.source().with(|frames| frames.engine().free_frames()).unwrap(), count);
}

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}

#[test]
fn two_cpus_take_different_frames() {
    model(3, || {
        let cached = cached(4);
        let other = {
            let cached = cached.clone();
            thread::spawn(move || {
                HOME.with(|home| home.set(1));
                let run = cached.allocate_frames(ONE).unwrap();
                free(&cached, run);
                cached.allocate_frames(ONE).unwrap()
            })
        };
        let mine = cached.allocate_frames(ONE).unwrap();
        let theirs = other.join().unwrap();
        assert_ne!(mine, theirs);
        free(&cached, theirs);
        free(&cached, mine);
        everything_is_back(&cached, 4);
    });
}

/// What another CPU keeps is no reason to refuse, once that CPU does nothing.
#[test]
fn the_last_frame_is_found() {
    model(3, || {
        let cached = cached(2);
        let other = {
            let cached = cached.clone();
            thread::spawn(move || {
                HOME.with(|home| home.set(1));
                let run = cached.allocate_frames(ONE).ok();
                run.into_iter().for_each(|run| free(&cached, run));
            })
        };
        let first = cached.allocate_frames(ONE).ok();
        other.join().unwrap();
        let more: Vec<_> = (0..2).filter_map(|_| cached.allocate_frames(ONE).ok()).collect();
        assert_eq!(first.iter().count() + more.len(), 2);
        first.into_iter().chain(more).for_each(|run| free(&cached, run));
        everything_is_back(&cached, 2);
    });
}

/// One CPU allocates while another empties all caches that it can enter.
#[test]
fn a_drain_meets_its_owner() {
    model(3, || {
        let cached = cached(4);
        let other = {
            let cached = cached.clone();
            thread::spawn(move || {
                HOME.with(|home| home.set(1));
                cached.drain();
            })
        };
        let run = cached.allocate_frames(ONE).unwrap();
        free(&cached, run);
        other.join().unwrap();
        everything_is_back(&cached, 4);
    });
}

/// Two threads of one CPU: one of them takes the shared path.
#[test]
fn a_slot_has_one_owner() {
    model(3, || {
        let cached = cached(3);
        let other = {
            let cached = cached.clone();
            thread::spawn(move || cached.allocate_frames(ONE).ok())
        };
        let mine = cached.allocate_frames(ONE).ok();
        let theirs = other.join().unwrap();
        assert!(mine.is_some() && mine != theirs);
        mine.into_iter().chain(theirs).for_each(|run| free(&cached, run));
        everything_is_back(&cached, 3);
    });
}
