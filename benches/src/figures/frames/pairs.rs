//! A block taken and given back at once, and blocks of mixed orders that come and go: in a fresh memory and in one that
//! was aged by the run `geo`, at 60 % use.

use core::hint::black_box;

use crate::clock::thread_ns;
use crate::figures::{Bound, Figure, Random};
use crate::frames::peers::BuddySlab;
use crate::frames::{Alone, Buddy, CachedBuddy, Memory, Program, Subject, geo};
use crate::rounds::{interleave, median};

/// Pairs of one measurement.
const PAIRS: usize = 300_000;
/// Blocks of mixed orders that live at most.
const SLOTS: usize = 256;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Take and give back blocks of one order.
    Pair(u32),
    /// Take or give back one of 256 blocks, of orders 0 to 10.
    Mix,
}

/// An allocator in a memory of its own; nanoseconds a pair.
type Contestant = Box<dyn FnMut(Work) -> f64>;

fn contestant<S: Subject + 'static>(frames: usize, age: Option<&Program>) -> Contestant {
    let mut memory = Memory::new(frames).expect("address space");
    // SAFETY: the memory moves into the closure with the subject, and nobody else has it.
    let mut subject = unsafe { S::build(&mut memory) }.expect("all contestants manage that memory");
    if let Some(program) = age {
        let mut blocks = vec![None; program.slots()];
        for op in program.ops() {
            let block: &mut Option<S::Block> = &mut blocks[op.slot as usize];
            if !op.free {
                *block = subject.allocate(u32::from(op.order));
            } else if let Some(block) = block.take() {
                // SAFETY: the block is live with this order: the program frees only live blocks.
                unsafe { subject.free(block, u32::from(op.order)) };
            }
        }
    }
    let mut random = Random::new(99);
    let mut slots: Vec<Option<(S::Block, u32)>> = vec![None; SLOTS];
    Box::new(move |work| {
        black_box(&memory);
        let start = thread_ns();
        match work {
            Work::Pair(order) => pairs(&mut *subject, order),
            Work::Mix => mix(&mut *subject, &mut random, &mut slots),
        }
        (thread_ns() - start) as f64 / PAIRS as f64
    })
}

#[inline(never)]
fn pairs<S: Subject>(subject: &mut S, order: u32) {
    for _ in 0..PAIRS {
        if let Some(block) = black_box(subject.allocate(black_box(order))) {
            // SAFETY: the block is live with this order.
            unsafe { subject.free(block, black_box(order)) };
        }
    }
}

#[inline(never)]
fn mix<S: Subject>(subject: &mut S, random: &mut Random, slots: &mut [Option<(S::Block, u32)>]) {
    for _ in 0..2 * PAIRS {
        let bits = random.bits();
        let slot = &mut slots[(bits >> 32) as usize % SLOTS];
        match slot.take() {
            // SAFETY: the block is live with this order.
            Some((block, order)) => _ = unsafe { subject.free(block, order) },
            None => {
                let order = ((bits & 0xffff) as u32 * 11) >> 16;
                *slot = subject.allocate(order).map(|block| (block, order));
            }
        }
    }
}

/// Ours beside buddy-slab-allocator over a gibibyte, and ours over 64 GiB beside ours over one.
///
/// # Panics
/// There is no such address space.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    // Not a power of two, as no memory map is: a single free frame spares others the cascade of splits from one block of
    // a gibibyte, again and again.
    const ONE: usize = (1 << 18) - 1;
    let age = geo(ONE, 2_000_000, 1);
    let mut all: Vec<Contestant> = vec![
        contestant::<Buddy>(ONE, None),
        contestant::<BuddySlab>(ONE, None),
        contestant::<Buddy>(ONE, Some(&age)),
        contestant::<BuddySlab>(ONE, Some(&age)),
        contestant::<Buddy>(64 * ONE, Some(&geo(64 * ONE, 7_500_000, 1))),
        contestant::<Alone<CachedBuddy>>(ONE, None),
        contestant::<Alone<CachedBuddy>>(ONE, Some(&age)),
    ];
    let mut time = |work: Work| -> Vec<f64> {
        let times = interleave(all.len(), rounds, |_| true, |_, who| all[who](work));
        times.iter().map(|times| median(times).unwrap_or(f64::NAN)).collect()
    };
    let mut figures = vec![];
    let most = Bound::AtMost;
    for (what, work, [fresh, aged], [cached_fresh, cached_aged]) in [
        ("order-0 pair", Work::Pair(0), [most(0.5), most(0.9)], [most(0.3), most(0.5)]),
        ("order-9 pair", Work::Pair(9), [most(1.0); 2], [most(1.0); 2]),
        ("mixed orders, a pair", Work::Mix, [Bound::Recorded, most(1.0)], [Bound::Recorded; 2]),
    ] {
        let ns = time(work);
        let row = |state: &str, ours: usize, peer: usize, bound| {
            timed(format!("{what}, {state}"), ns[ours], ns[peer], bound)
        };
        figures.push(row("fresh, beside buddy-slab-allocator", 0, 1, fresh));
        figures.push(row("aged, beside buddy-slab-allocator", 2, 3, aged));
        figures.push(row("cached, fresh, beside buddy-slab-allocator", 5, 1, cached_fresh));
        figures.push(row("cached, aged, beside buddy-slab-allocator", 6, 3, cached_aged));
        figures.push(row("aged 64 GiB beside aged 1 GiB", 4, 2, most(1.3)));
    }
    figures
}

/// Times of which less is better: the ratio is ours over the other's, as the bounds are said.
pub(super) fn timed(figure: String, ours: f64, other: f64, bound: Bound) -> Figure {
    Figure { timed: true, ..Figure::beside(figure, ours, other, bound) }
}
