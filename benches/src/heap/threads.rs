//! Replaying with several threads: as recorded, or the whole program in each.
//!
//! Arena allocators stand behind one and the same spin lock, but for those that are made for many CPUs: there each thread is
//! one. The system's malloc brings its own. What is measured is the wall-clock time from the first operation to the last, because threads that wait for one another use no CPU time that
//! says so.
//!
//! As recorded, an object may be allocated by one thread and freed by another. The operations of one object keep their
//! order: each has a number, and waits until the object has seen that many.

use core::cell::UnsafeCell;
use core::hint;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::program::{Op, OpKind, Program};
use super::replay::{Pass, replay};
use crate::arena::Arena;
use crate::subject::Subject;

/// Who replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One thread; CPU time.
    One,
    /// A thread for each recorded one.
    Real,
    /// So many threads, each with the whole program.
    Many(usize),
}

impl Threads {
    /// How many programs run at once: the arena must hold as many peaks.
    #[must_use]
    pub fn copies(self) -> usize {
        match self {
            Self::One | Self::Real => 1,
            Self::Many(count) => count,
        }
    }
}

/// One operation of a thread: which object, as how manieth of its operations.
#[derive(Clone, Copy, Debug)]
struct Turn {
    op: Op,
    object: u32,
    turn: u32,
}

/// Replays the program once with threads and a new `S` in the first `bytes` of the arena; `None` if they do not suffice
/// to begin. `Pass::ns` is wall-clock time, `Pass::ops` what all threads did together.
///
/// # Panics
/// A subject that is [shared](Subject::share) once is not the next time.
pub fn threaded<S: Subject>(
    program: &Program,
    arena: &mut Arena,
    bytes: usize,
    threads: Threads,
) -> Option<Pass> {
    const { assert!(!S::HOSTED || size_of::<S>() == 0, "threads share a hosted subject without a lock") };
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let subject = unsafe { S::build(arena.region(bytes)) }?;
    let shared = Shared { busy: AtomicBool::new(false), subject: UnsafeCell::new(subject) };
    let behind_lock = |_| Handle(&shared);
    if shared.with(|subject| subject.share(0)).is_none() {
        return Some(run(program, threads, &behind_lock));
    }
    let own = |cpu| shared.with(|subject| subject.share(cpu)).expect("who shares once shares again");
    Some(run(program, threads, &own))
}

/// Replays with a subject for each thread, which `of` gives to the thread that calls it as this CPU.
fn run<H: Subject>(program: &Program, threads: Threads, of: &(impl Fn(usize) -> H + Sync)) -> Pass {
    match threads {
        Threads::One | Threads::Many(_) => each_whole(program, of, threads.copies()),
        Threads::Real => as_recorded(program, of),
    }
}

fn each_whole<H: Subject>(program: &Program, of: &(impl Fn(usize) -> H + Sync), count: usize) -> Pass {
    let (ns, failed) = race(count, |who| {
        let mut blocks = vec![core::ptr::null_mut(); program.slots()];
        let mut subject = of(who);
        move || {
            let failed = replay(&mut subject, program.ops(), &mut blocks);
            // The next round begins with an empty heap: only the system's malloc would remember.
            for op in program.survivors().iter().filter(|_| H::HOSTED) {
                let block = blocks[op.slot as usize];
                if !block.is_null() {
                    // SAFETY: a survivor is live with this layout.
                    unsafe { subject.deallocate(block, op.old_layout()) };
                }
            }
            failed
        }
    });
    Pass { ns, ops: program.ops().len() * count, failed }
}

fn as_recorded<H: Subject>(program: &Program, of: &(impl Fn(usize) -> H + Sync)) -> Pass {
    let (lists, objects) = by_thread(program);
    let done: Vec<AtomicU32> = (0..objects).map(|_| AtomicU32::new(0)).collect();
    let blocks: Vec<AtomicPtr<u8>> = (0..objects).map(|_| AtomicPtr::default()).collect();
    let (ns, failed) = race(lists.len(), |who| {
        let (list, done, blocks) = (&lists[who], &done, &blocks);
        let mut subject = of(who);
        move || {
            let mut failed = 0;
            for turn in list {
                let (seen, cell) = (&done[turn.object as usize], &blocks[turn.object as usize]);
                wait_until(|| seen.load(Ordering::Acquire) == turn.turn);
                let mut block = [cell.load(Ordering::Relaxed)];
                let op = Op { slot: 0, ..turn.op };
                failed += replay(&mut subject, &[op], &mut block);
                cell.store(
                    if op.kind == OpKind::Free { core::ptr::null_mut() } else { block[0] },
                    Ordering::Relaxed,
                );
                seen.store(turn.turn + 1, Ordering::Release);
            }
            failed
        }
    });
    if H::HOSTED {
        release(&mut of(0), &lists, &blocks);
    }
    Pass { ns, ops: program.ops().len(), failed }
}

/// Gives back what is live at the end.
fn release<H: Subject>(subject: &mut H, lists: &[Vec<Turn>], blocks: &[AtomicPtr<u8>]) {
    let mut last: Vec<Option<(u32, Op)>> = vec![None; blocks.len()];
    for turn in lists.iter().flatten() {
        let known = &mut last[turn.object as usize];
        if known.is_none_or(|(number, _)| number < turn.turn) {
            *known = Some((turn.turn, turn.op));
        }
    }
    for (block, (_, op)) in blocks.iter().zip(last.into_iter().flatten()) {
        let block = block.load(Ordering::Relaxed);
        if op.kind != OpKind::Free && !block.is_null() {
            // SAFETY: the object's last operation left it live with this layout.
            unsafe { subject.deallocate(block, op.layout()) };
        }
    }
}

/// The operations of each recorded thread, and the number of objects (a slot stands for one object after another).
fn by_thread(program: &Program) -> (Vec<Vec<Turn>>, usize) {
    let mut lists = vec![Vec::new(); program.threads()];
    let (mut current, mut objects) = (vec![(0_u32, 0_u32); program.slots()], 0);
    for (op, thread) in program.ops().iter().zip(program.thread_of_each()) {
        let state = &mut current[op.slot as usize];
        if matches!(op.kind, OpKind::Allocate | OpKind::AllocateZeroed) {
            *state = (objects, 0);
            objects += 1;
        }
        lists[thread].push(Turn { op: *op, object: state.0, turn: state.1 });
        state.1 += 1;
    }
    (lists, objects as usize)
}

/// Starts `count` threads at once and waits for all. Returns the nanoseconds from the first start to the last end, and
/// the sum of the results.
pub(crate) fn race<F: FnOnce() -> u64>(count: usize, prepare: impl Fn(usize) -> F + Sync) -> (u64, u64) {
    let (barrier, prepare) = (Barrier::new(count), &prepare);
    let spans: Vec<(Instant, Instant, u64)> = thread::scope(|scope| {
        let start = |who| {
            let barrier = &barrier;
            scope.spawn(move || {
                let work = prepare(who);
                barrier.wait();
                let begin = Instant::now();
                let result = work();
                (begin, Instant::now(), result)
            })
        };
        let running: Vec<_> = (0..count).map(start).collect();
        // A panic in a thread is a bug of this file: it ends the run.
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let begin = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    let ns = begin.zip(end).map_or(0, |(begin, end)| end.duration_since(begin).as_nanos() as u64);
    (ns, spans.iter().map(|span| span.2).sum())
}

/// Spins, and lets others run after a while: there may be more threads than processors.
pub(crate) fn wait_until(ready: impl Fn() -> bool) {
    let mut tries = 0_u32;
    while !ready() {
        tries += 1;
        if tries.is_multiple_of(128) {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }
}

/// An allocator behind a spin lock.
struct Shared<S> {
    busy: AtomicBool,
    subject: UnsafeCell<Box<S>>,
}

// SAFETY: the subject is used by the holder of the lock alone, or is a hosted one, whose functions lock for themselves.
unsafe impl<S> Sync for Shared<S> {}

impl<S: Subject> Shared<S> {
    #[inline(always)]
    fn with<R>(&self, act: impl FnOnce(&mut S) -> R) -> R {
        if S::HOSTED {
            // SAFETY: a hosted subject has no state of its own (checked in `threaded`): a second reference aliases nothing.
            return act(unsafe { &mut *self.subject.get() });
        }
        while self.busy.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            wait_until(|| !self.busy.load(Ordering::Relaxed));
        }
        // SAFETY: `busy` was false and is ours now, so nobody else has a reference.
        let result = act(unsafe { &mut *self.subject.get() });
        self.busy.store(false, Ordering::Release);
        result
    }
}

/// A thread's way to the shared allocator.
struct Handle<'a, S>(&'a Shared<S>);

// SAFETY: every request goes to the shared subject.
unsafe impl<S: Subject> Subject for Handle<'_, S> {
    const HOSTED: bool = S::HOSTED;

    unsafe fn build(_arena: core::ptr::NonNull<[u8]>) -> Option<Box<Self>> {
        None
    }

    #[inline(always)]
    fn allocate(&mut self, layout: core::alloc::Layout) -> *mut u8 {
        self.0.with(|subject| subject.allocate(layout))
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: core::alloc::Layout) -> *mut u8 {
        self.0.with(|subject| subject.allocate_zeroed(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: core::alloc::Layout) {
        // SAFETY: the caller's promise.
        self.0.with(|subject| unsafe { subject.deallocate(block, layout) });
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: core::alloc::Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.0.with(|subject| unsafe { subject.reallocate(block, layout, new_size) })
    }
}
