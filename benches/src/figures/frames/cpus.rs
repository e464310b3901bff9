//! Several CPUs: the engine for many beside a spin lock around the engine of a single owner.
//!
//! Each thread's CPU time is measured, so that other processes disturb little. Waiting for the lock is CPU time, too. Each
//! thread has a processor of its own, if there are as many: left to the scheduler, two of them often run one after the other
//! on one, and never meet.

use core::hint::black_box;
use std::sync::Barrier;

use hectare_buddy::{Counted, Rows64, shared};

use super::pairs::timed;
use crate::clock::thread_ns;
use crate::figures::{Bound, Figure, Random};
use crate::frames::cpu::stay_on;
use crate::frames::{Behind, Buddy, CachedBuddy, Memory, SharedBuddy, SharedSubject};
use crate::rounds::{interleave, median};

const FRAMES: usize = 1 << 18;
const SLOTS: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Take and give back blocks of one order.
    Pair(u32),
    /// Take many single frames, and then give them back.
    Batch,
    /// Take or give back one of 256 blocks of orders 0 to 10.
    Mix,
}

impl Work {
    /// Pairs of each thread in one measurement: some milliseconds at least, or a thread's first moments would count.
    const fn pairs(self) -> usize {
        match self {
            Self::Pair(_) | Self::Batch => 1_000_000,
            Self::Mix => 200_000,
        }
    }
}

const WORKS: [(&str, Work); 4] = [
    ("order 0", Work::Pair(0)),
    ("order 9", Work::Pair(9)),
    ("batches of 1024 frames", Work::Batch),
    ("mixed orders", Work::Mix),
];

/// Atomic read-modify-writes for each call, of one thread that has the engine to itself. (Half a pair each.)
fn read_modify_writes(work: Work) -> f64 {
    type Subject = SharedBuddy<Counted<Rows64>>;
    let mut memory = Memory::new(FRAMES).expect("address space");
    // SAFETY: the memory is ours until this function returns, and the subject does not outlive it.
    let subject = unsafe { Subject::build(&mut memory, 1) }.expect("a gibibyte is enough");
    Subject::enter(0);
    act(&*subject, 0, work);
    let before = shared::read_modify_writes();
    act(&*subject, 0, work);
    (shared::read_modify_writes() - before) as f64 / (2 * work.pairs()) as f64
}

/// CPU nanoseconds a pair, the mean of the threads.
fn measure<S: SharedSubject>(threads: usize, work: Work) -> f64 {
    let mut memory = Memory::new(FRAMES).expect("address space");
    // SAFETY: the memory is ours until this function returns, and the subject does not outlive it.
    let subject = unsafe { S::build(&mut memory, threads) }.expect("a gibibyte is enough");
    let (subject, barrier) = (&*subject, &Barrier::new(threads));
    let run = |cpu: usize| {
        stay_on(cpu);
        S::enter(cpu);
        barrier.wait();
        let start = thread_ns();
        act(subject, cpu, work);
        (thread_ns() - start) as f64 / work.pairs() as f64
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || run(cpu))).collect();
        let times = running.into_iter().map(|thread| thread.join().expect("threads do not panic"));
        times.sum::<f64>() / threads as f64
    })
}

#[inline(never)]
fn act<S: SharedSubject>(subject: &S, cpu: usize, work: Work) {
    let give = |block: Option<S::Block>, order: u32| {
        if let Some(block) = block {
            // SAFETY: the block is live with this order; every thread is a CPU of its own.
            unsafe { subject.free(cpu, block, order) };
        }
    };
    match work {
        Work::Pair(order) => {
            for _ in 0..work.pairs() {
                give(black_box(subject.allocate(cpu, black_box(order))), order);
            }
        }
        Work::Batch => {
            let mut blocks = Vec::with_capacity(1024);
            for _ in 0..work.pairs() / 1024 {
                blocks.extend((0..1024).map(|_| subject.allocate(cpu, black_box(0))));
                blocks.drain(..).for_each(|block| give(block, 0));
            }
        }
        Work::Mix => {
            let mut random = Random::new(77 + cpu as u64 * 2);
            let mut slots: Vec<Option<(S::Block, u32)>> = vec![None; SLOTS];
            for _ in 0..2 * work.pairs() {
                let bits = random.bits();
                let slot = &mut slots[(bits >> 32) as usize % SLOTS];
                match slot.take() {
                    Some((block, order)) => give(Some(block), order),
                    None => {
                        let order = ((bits & 0xffff) as u32 * 11) >> 16;
                        *slot = subject.allocate(cpu, order).map(|block| (block, order));
                    }
                }
            }
        }
    }
}

/// One and two threads.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut figures = vec![];
    for (what, work) in WORKS {
        let times = interleave(
            6,
            rounds,
            |_| true,
            |_, who| match who {
                0 => measure::<SharedBuddy>(1, work),
                1 => measure::<SharedBuddy>(2, work),
                2 => measure::<Behind<Buddy>>(1, work),
                3 => measure::<Behind<Buddy>>(2, work),
                4 => measure::<CachedBuddy>(1, work),
                _ => measure::<CachedBuddy>(2, work),
            },
        );
        let ns: Vec<f64> = times.iter().map(|times| median(times).unwrap_or(f64::NAN)).collect();
        figures.push(Figure::value(
            format!("shared, {what}: atomic read-modify-writes a call"),
            read_modify_writes(work),
            Bound::Recorded,
        ));
        let first = matches!(work, Work::Pair(0));
        let same = if first { Bound::AtMost(1.11) } else { Bound::Recorded };
        for (name, one, two, same, beside) in [
            ("shared", ns[0], ns[1], same, Bound::AtLeast(1.0)),
            ("cached", ns[4], ns[5], Bound::Recorded, Bound::Recorded),
        ] {
            let row = format!("{name}, {what}: CPU ns a pair");
            figures.push(timed(format!("{row}, 2 threads beside 1"), two, one, same));
            figures.push(Figure::time(format!("{row}, 2 threads, beside a spin lock"), two, ns[3], beside));
            figures.push(Figure::time(format!("{row}, 1, beside a spin lock"), one, ns[2], Bound::Recorded));
        }
    }
    figures
}
