//! The shared engine under loom, which runs every interleaving and every allowed outcome of weak memory within the bound
//! on preemptions. Rows of 4 frames: 8 frames have two levels.
//!
//! `RUSTFLAGS="--cfg hectare_loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p hectare-buddy --test loom`. Every model names the
//! planted fault that it must catch.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use core::cell::Cell;
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::time::Instant;

use hectare_buddy::{Bank, Banks, Rows4, Shared, shared};
use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{CheckInvariants, CpuPin, Figures, Frame, FrameRun, Order, Slot};
use loom::sync::{Arc, Mutex};
use loom::thread;

loom::thread_local! {
    /// The CPU that this thread is; it has a slot if there is one with that number.
    static CPU: Cell<u16> = Cell::new(u16::MAX);
}

/// Threads are CPUs; those whose CPU rests can be drained by others, one after the other.
struct Cpus {
    slots: u32,
    resting: Arc<Mutex<Vec<u16>>>,
}

// SAFETY: (1) in each model, a slot is used by one thread at a time; (2) those of `resting` are used by none but under the
// mutex; (3) threads see what their parent wrote, and the parent what they wrote after it joined them.
unsafe impl CpuPin for Cpus {
    fn slots(&self) -> u32 {
        self.slots
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let cpu = CPU.with(Cell::get);
        f(Some(cpu).filter(|cpu| u32::from(*cpu) < self.slots).map(Slot::new))
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        let resting = self.resting.lock().unwrap();
        resting.iter().for_each(|cpu| drain(Slot::new(*cpu)));
    }
}

type Engine = Shared<'static, Cpus, Rows4>;

fn run(first: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(first), count).unwrap()
}

fn order(k: u8) -> Order {
    Order::new(k).unwrap()
}

fn be(cpu: u16) {
    CPU.with(|own| own.set(cpu));
}

/// The CPU without a slot.
const NONE: u16 = u16::MAX;

/// Memory of an engine, freed at the end of each execution.
struct Memory(*mut [AtomicU64], *mut [Bank]);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: (1) it is from `Box::into_raw` below; (2) the engine that used it was dropped.
        drop(unsafe { Box::from_raw(self.0) });
        // SAFETY: the same.
        drop(unsafe { Box::from_raw(self.1) });
    }
}

/// One execution: an engine over `count` frames with so many slots.
struct World {
    engine: Arc<Engine>,
    resting: Arc<Mutex<Vec<u16>>>,
    count: u64,
    memory: Memory,
    swapped: bool,
}

impl World {
    fn new(count: u64, slots: u32) -> Self {
        let span = run(0, count);
        let words: Vec<AtomicU64> =
            (0..shared::words_for::<Rows4>(span, slots).unwrap()).map(|_| AtomicU64::new(0)).collect();
        let memory = Memory(Box::into_raw(words.into_boxed_slice()), Box::into_raw(Box::new([None])));
        // SAFETY: it lives until `Memory` is dropped, after the engine.
        let words = unsafe { &*memory.0 };
        // SAFETY: the same; nobody else uses the table.
        let table = unsafe { &mut *memory.1 };
        let mut banks = Banks::new(table);
        banks.add(span).unwrap();
        let resting = Arc::new(Mutex::new(Vec::new()));
        let engine = Shared::new(banks, words, Cpus { slots, resting: resting.clone() }).unwrap();
        Self { engine: Arc::new(engine), resting, count, memory, swapped: false }
    }

    /// Runs `f` in a thread that is this CPU.
    fn spawn<R: 'static>(&self, cpu: u16, f: impl FnOnce(&Engine) -> R + 'static) -> thread::JoinHandle<R> {
        let engine = self.engine.clone();
        thread::spawn(move || {
            be(cpu);
            f(&engine)
        })
    }

    /// Runs two threads, each as its CPU.
    fn race<R: 'static, S: 'static>(
        &self,
        one: (u16, impl FnOnce(&Engine) -> R + 'static),
        two: (u16, impl FnOnce(&Engine) -> S + 'static),
    ) -> (R, S) {
        if self.swapped {
            let two = self.spawn(two.0, two.1);
            let one = self.spawn(one.0, one.1);
            (one.join().unwrap(), two.join().unwrap())
        } else {
            let one = self.spawn(one.0, one.1);
            let two = self.spawn(two.0, two.1);
            (one.join().unwrap(), two.join().unwrap())
        }
    }

    /// These CPUs rest from now on: others may drain them.
    fn rest(&self, cpus: &[u16]) {
        self.resting.lock().unwrap().extend(cpus);
    }

    /// When all threads have ended: the runs do not overlap, each other frame is free, and can be had once.
    fn end(self, held: &[Option<FrameRun>]) {
        let held: Vec<FrameRun> = held.iter().flatten().copied().collect();
        let Self { engine, count, memory, .. } = self;
        engine.check_invariants().unwrap();
        let mut owners = vec![0; usize::try_from(count).unwrap()];
        for frame in held.iter().flat_map(|run| run.iter()) {
            owners[usize::try_from(frame.number()).unwrap()] += 1;
        }
        assert!(owners.iter().all(|owners| *owners < 2), "handed out twice: {held:?}");
        for (frame, owners) in (0..).zip(&owners) {
            assert_eq!(
                engine.is_free(Frame::new(frame)),
                *owners == 0,
                "frame {frame} was lost or is free too early"
            );
        }
        held.iter().for_each(|run| engine.free(*run).unwrap());
        engine.check_invariants().unwrap();
        assert_eq!(engine.usage().allocated, 0);
        drop(engine);
        drop(memory);
    }
}

/// Takes 2^k frames.
fn take(engine: &Engine, k: u8) -> Option<FrameRun> {
    engine.allocate_order(order(k)).ok().map(|first| run(first.number(), 1 << k))
}

fn give(engine: &Engine, run: FrameRun) {
    engine.free(run).unwrap();
}

/// Runs every execution of `f` in a world of so many frames and slots, and says how many there were.
///
/// Twice: loom looks for a race between an access and the *last* one to that word. A load that is followed by the other
/// thread's load and store counts as ordered with the store; if the other thread begins, it is seen.
fn model(name: &str, frames: u64, slots: u32, f: impl Fn(World) + Sync + Send + 'static) {
    bounded(name, frames, slots, usize::MAX, f);
}

/// The same, with at most so many preemptions.
fn bounded(
    name: &str,
    frames: u64,
    slots: u32,
    preemptions: usize,
    f: impl Fn(World) + Sync + Send + 'static,
) {
    let (executions, start) = (std::sync::Arc::new(Count::new(0)), Instant::now());
    let f = std::sync::Arc::new(f);
    for swapped in [false, true] {
        let (counted, f) = (executions.clone(), f.clone());
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 50_000;
        builder.preemption_bound =
            Some(builder.preemption_bound.map_or(preemptions, |set| set.min(preemptions)))
                .filter(|bound| *bound < usize::MAX);
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            be(NONE);
            let mut world = World::new(frames, slots);
            world.swapped = swapped;
            f(world);
        });
    }
    println!("{name}: {} executions in {:.1?}", executions.load(Ordering::Relaxed), start.elapsed());
}

/// Two claims of units in one word, each of several rows: one of them is later. Plant: `shared_blind_units`.
#[test]
fn a_two_claims_of_units() {
    model("a_two_claims_of_units", 12, 0, |world| {
        let claim = |engine: &Engine| take(engine, 3).or_else(|| take(engine, 2));
        let (mine, theirs) = world.race((NONE, claim), (NONE, claim));
        assert!(mine.is_some() && theirs.is_some(), "refused although 4 frames are free");
        world.end(&[mine, theirs]);
    });
}

/// A run and single frames in one row. Plant: `shared_blind_frames`.
#[test]
fn b_a_run_and_single_frames_of_a_row() {
    model("b_a_run_and_single_frames_of_a_row", 4, 0, |world| {
        let (theirs, mine) =
            world.race((NONE, |engine| take(engine, 1)), (NONE, |engine| [take(engine, 0), take(engine, 0)]));
        assert!(
            mine[0].is_some() && mine[1].is_some() && theirs.is_some(),
            "refused although frames are free"
        );
        world.end(&[mine[0], mine[1], theirs]);
    });
}

/// A CPU puts its stock back while another frees a frame of the same row. Plant: `shared_put_back_lost`.
#[test]
fn c_a_stock_is_put_back_during_a_free() {
    model("c_a_stock_is_put_back_during_a_free", 8, 1, |world| {
        be(0);
        let frames = [take(&world.engine, 0), take(&world.engine, 0)];
        be(NONE);
        let freed = frames[0].unwrap();
        world.race((0, |engine| engine.drain()), (NONE, move |engine| give(engine, freed)));
        world.end(&[frames[1]]);
    });
}

/// Two CPUs give back the halves of a row, and one wants a row: one of them carries it up. Plant: `shared_carry_twice`.
#[test]
fn d_two_halves_of_a_row() {
    model("d_two_halves_of_a_row", 8, 0, |world| {
        let halves = [take(&world.engine, 1).unwrap(), take(&world.engine, 1).unwrap()];
        let (row, ()) = world.race(
            (NONE, move |engine| {
                give(engine, halves[0]);
                take(engine, 2)
            }),
            (NONE, move |engine| give(engine, halves[1])),
        );
        assert!(row.is_some(), "refused although the other row is free");
        give(&world.engine, row.unwrap());
        let whole = take(&world.engine, 3);
        assert!(whole.is_some(), "what was given back has not merged");
        world.end(&[whole]);
    });
}

/// Two CPUs fill the last two rows of a tree that itself is a unit of a row above.
#[test]
fn d_two_rows_of_a_tree() {
    model("d_two_rows_of_a_tree", 20, 0, |world| {
        let rows = [2, 2, 2, 2].map(|k| take(&world.engine, k).unwrap());
        give(&world.engine, rows[0]);
        give(&world.engine, rows[1]);
        world.race((NONE, move |engine| give(engine, rows[2])), (NONE, move |engine| give(engine, rows[3])));
        let whole = take(&world.engine, 4);
        assert!(whole.is_some(), "what was given back has not merged");
        world.end(&[whole]);
    });
}

/// A row is completed while others want all of it, or any frame of it. Plant: `shared_carry_early`.
#[test]
fn e_a_row_is_completed_and_taken() {
    model("e_a_row_is_completed_and_taken", 4, 0, |world| {
        let frames = [0, 0, 0, 0].map(|k| take(&world.engine, k).unwrap());
        frames.iter().take(3).for_each(|frame| give(&world.engine, *frame));
        let (found, ()) = world.race(
            (NONE, |engine| take(engine, 2).or_else(|| take(engine, 0))),
            (NONE, move |engine| give(engine, frames[3])),
        );
        assert!(found.is_some(), "refused although three frames are free all the time");
        world.end(&[found]);
    });
}

/// A block is split while another frame of it is wanted. Plant: `shared_no_moves`.
#[test]
fn e_a_block_is_split() {
    model("e_a_block_is_split", 4, 0, |world| {
        let (mine, theirs) = world.race((NONE, |engine| take(engine, 0)), (NONE, |engine| take(engine, 0)));
        assert!(mine.is_some() && theirs.is_some(), "refused although frames are free");
        world.end(&[mine, theirs]);
    });
}

/// Frames at a place, across rows, while others take some of them. Plant: `shared_at_some`.
#[test]
fn f_at_a_place() {
    bounded("f_at_a_place", 8, 0, 2, |world| {
        let place = run(3, 3);
        let (theirs, mine) = world.race(
            (NONE, move |engine| engine.allocate_at(place).ok().map(|()| place)),
            (NONE, |engine| [take(engine, 0), take(engine, 1)]),
        );
        assert!(mine[0].is_some() && mine[1].is_some(), "refused although frames are free");
        world.end(&[mine[0], mine[1], theirs]);
    });
}

/// Two want runs across blocks that overlap: one gets it.
#[test]
fn f_two_at_a_place() {
    model("f_two_at_a_place", 8, 0, |world| {
        let (one, two) = (run(1, 4), run(3, 4));
        let (mine, theirs) = world.race(
            (NONE, move |engine| engine.allocate_at(one).ok().map(|()| one)),
            (NONE, move |engine| engine.allocate_at(two).ok().map(|()| two)),
        );
        assert!(mine.is_some() != theirs.is_some(), "both, or none");
        world.end(&[mine, theirs]);
    });
}

/// The last frames lie in the stock of a CPU that rests, and two others want them. Plant: `shared_no_drain`.
#[test]
fn g_two_drain_a_stock() {
    bounded("g_two_drain_a_stock", 4, 1, 1, |world| {
        be(0);
        let frames = [0, 0].map(|k| take(&world.engine, k).unwrap());
        be(NONE);
        world.rest(&[0]);
        let (mine, theirs) = world.race((NONE, |engine| take(engine, 0)), (NONE, |engine| take(engine, 0)));
        assert!(mine.is_some() && theirs.is_some(), "refused although a resting CPU has them in stock");
        world.end(&[mine, theirs, Some(frames[0]), Some(frames[1])]);
    });
}

/// A frame is given to an empty row whose hint is being corrected: whatever the hints say then, it is found. Plant:
/// `shared_hints_only`.
#[test]
fn h_a_hint_is_set_and_taken_away() {
    model("h_a_hint_is_set_and_taken_away", 8, 0, |world| {
        let mut frames: Vec<_> = (0..8).map(|_| take(&world.engine, 0)).collect();
        give(&world.engine, frames[5].unwrap());
        // The hint stays.
        frames[5] = take(&world.engine, 0);
        let freed = frames[6].unwrap();
        let (first, ()) =
            world.race((NONE, |engine| take(engine, 0)), (NONE, move |engine| give(engine, freed)));
        let second = take(&world.engine, 0);
        assert!(first.is_some() != second.is_some(), "refused although a frame is free");
        frames[6] = first.or(second);
        world.end(&frames);
    });
}

/// What is counted while others take and give: never less than nothing. Plant: `shared_used_order`.
#[test]
fn i_counts_while_others_call() {
    model("i_counts_while_others_call", 8, 1, |world| {
        let calls = |engine: &Engine| {
            give(engine, take(engine, 0).unwrap());
            take(engine, 0)
        };
        let (theirs, used) = world.race((0, calls), (NONE, |engine| engine.usage().allocated));
        assert!(used <= 2, "{used} counted as allocated");
        world.end(&[theirs]);
    });
}

/// A frame that is free all the time, now in a row, now in a stock, is freed again by another. Plant:
/// `shared_stock_unseen`.
#[test]
fn j_freed_again_while_it_moves() {
    bounded("j_freed_again_while_it_moves", 8, 1, 2, |world| {
        be(0);
        let first = take(&world.engine, 0).unwrap();
        be(NONE);
        let bad = run(first.first().number() + 3, 1);
        let calls = |engine: &Engine| {
            engine.drain();
            take(engine, 0)
        };
        let (theirs, freed) = world.race((0, calls), (NONE, move |engine| engine.free(bad)));
        assert!(freed.is_err(), "a free frame was freed again");
        world.end(&[Some(first), theirs]);
    });
}

/// A frame that is allocated all the time is freed while the stock changes from its row to another. Plant:
/// `shared_stock_torn`.
#[test]
fn k_freed_while_the_stock_changes() {
    model("k_freed_while_the_stock_changes", 8, 1, |world| {
        be(0);
        let frames = [0, 0, 0, 0].map(|k| take(&world.engine, k).unwrap());
        be(NONE);
        let second = frames[1];
        let (theirs, freed) =
            world.race((0, |engine| take(engine, 0)), (NONE, move |engine| engine.free(second)));
        assert_eq!(freed, Ok(()), "an allocated frame was refused");
        world.end(&[Some(frames[0]), Some(frames[2]), Some(frames[3]), theirs]);
    });
}

/// Two owners of parts of one block give them back: it comes apart, and merges again.
#[test]
fn l_parts_of_a_block() {
    model("l_parts_of_a_block", 8, 0, |world| {
        let block = take(&world.engine, 3).unwrap();
        assert_eq!(block, run(0, 8));
        world.race((NONE, |engine| give(engine, run(0, 3))), (NONE, |engine| give(engine, run(3, 5))));
        let whole = take(&world.engine, 3);
        assert!(whole.is_some(), "the parts have not merged");
        world.end(&[whole]);
    });
}

/// Two CPUs with slots of their own take and give, and find each other's trees.
#[test]
fn m_two_cpus() {
    model("m_two_cpus", 8, 2, |world| {
        let (theirs, mine) = world.race((0, |engine| take(engine, 0)), (1, |engine| take(engine, 1)));
        world.rest(&[0, 1]);
        world.end(&[mine, theirs]);
    });
}

/// A CPU gives two frames back to one row, which so becomes its stock, while another gives back a third. Plant:
/// `shared_follow_lost`.
#[test]
fn n_a_row_is_followed() {
    model("n_a_row_is_followed", 8, 1, |world| {
        be(0);
        let frames: Vec<_> = (0..5).map(|_| take(&world.engine, 0).unwrap()).collect();
        be(NONE);
        let row = frames[4].first().number() / 4;
        let others: Vec<_> =
            frames.iter().filter(|frame| frame.first().number() / 4 != row).copied().collect();
        assert_eq!(others.len(), 4, "the fifth frame is of another row");
        give(&world.engine, others[0]);
        let (two, last) = ([others[1], others[2]], others[3]);
        world.race(
            (0, move |engine| two.iter().for_each(|frame| give(engine, *frame))),
            (NONE, move |engine| give(engine, last)),
        );
        world.rest(&[0]);
        world.end(&[Some(frames[4])]);
    });
}
