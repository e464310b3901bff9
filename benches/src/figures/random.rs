//! Random actions: a well-known synthetic workload, written anew. Sizes up to a cap that is drawn each time, alignments
//! mostly 8; each step allocates, frees or (where it says so) reallocates a random block.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use hectare_fit::{FitHeap, StrictHeap};

use super::{Bound, Figure, Random};
use crate::arena::Arena;
use crate::clock::thread_ns;
use crate::ours::Region;
use crate::peers::{Rlsf, Talc};
use crate::rounds::{geometric_mean, interleave, median};
use crate::subject::Subject;

/// The arena's bytes.
const ARENA: usize = 128 << 20;
/// Steps of one measurement.
const STEPS: usize = 1_000_000;
const SIZES: [usize; 5] = [200, 1_000, 3_000, 10_000, 30_000];

/// One and the same spin lock around everyone.
struct Locked<S> {
    lock: AtomicBool,
    subject: UnsafeCell<Box<S>>,
}

impl<S> Locked<S> {
    fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        while self.lock.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {}
        // SAFETY: the lock is held.
        let result = f(unsafe { &mut *self.subject.get() });
        self.lock.store(false, Ordering::Release);
        result
    }
}

// SAFETY: every call goes to the subject.
unsafe impl<S: Subject> GlobalAlloc for Locked<S> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|subject| subject.allocate(layout))
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        self.with(|subject| unsafe { subject.deallocate(block, layout) });
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.with(|subject| unsafe { subject.reallocate(block, layout, new_size) })
    }
}

/// Nanoseconds of thread CPU time for each action.
fn actions(allocator: &dyn GlobalAlloc, max: usize, reallocate: bool, seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let mut live: Vec<(*mut u8, Layout)> = Vec::with_capacity(1 << 16);
    let kinds = if reallocate { 7 } else { 6 };
    let start = thread_ns();
    for _ in 0..STEPS {
        let action = random.range(0, kinds);
        if action == 6 && !live.is_empty() {
            let which = random.range(0, live.len());
            let new_size = random.range(1, 3 * max);
            let (block, layout) = live[which];
            // SAFETY: the block is live with this layout, and the size is small.
            let moved = unsafe { allocator.realloc(block, layout, new_size) };
            assert!(!moved.is_null(), "128 MiB are enough");
            // SAFETY: a valid alignment and a small size.
            live[which] = (moved, unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) });
        } else if action < 3 || live.len() < 300 {
            // SAFETY: a power of two and a small size.
            let layout = unsafe { Layout::from_size_align_unchecked(random.size(max), random.align()) };
            // SAFETY: the size is not 0.
            let block = unsafe { allocator.alloc(layout) };
            assert!(!block.is_null(), "128 MiB are enough");
            live.push((block, layout));
        } else {
            let (block, layout) = live.swap_remove(random.range(0, live.len()));
            // SAFETY: the block is live with this layout.
            unsafe { allocator.dealloc(block, layout) };
        }
    }
    (thread_ns() - start) as f64 / STEPS as f64
}

fn measure<S: Subject>(arena: &mut Arena, max: usize, reallocate: bool, round: usize) -> f64 {
    let region = arena.region(ARENA);
    // SAFETY: the arena is valid, and nobody else's until the subject is gone.
    let subject = unsafe { S::build(region) }.expect("128 MiB are enough for anyone's tables");
    let locked = Locked { lock: AtomicBool::new(false), subject: UnsafeCell::new(subject) };
    actions(black_box(&locked), max, reallocate, 0x9E37_79B9_7F4A_7C15 ^ (round as u64) << 7)
}

/// Every cell of the workload.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut arena = Arena::new(ARENA).expect("128 MiB of memory");
    arena.touch(ARENA);
    type Measure = fn(&mut Arena, usize, bool, usize) -> f64;
    let contestants: [Measure; 4] =
        [measure::<Region<FitHeap>>, measure::<Region<StrictHeap>>, measure::<Talc>, measure::<Rlsf>];
    let (mut figures, mut ratios, mut strict_ratios) = (vec![], vec![], vec![]);
    for reallocate in [false, true] {
        for max in SIZES {
            let times = interleave(
                4,
                rounds,
                |_| true,
                |round, who| contestants[who](&mut arena, max, reallocate, round),
            );
            let [ours, strict, talc, rlsf] = [0, 1, 2, 3].map(|who| median(&times[who]).unwrap_or(f64::NAN));
            ratios.push(talc / ours);
            strict_ratios.push(talc / strict);
            let with = if reallocate { ", with realloc" } else { "" };
            figures.push(Figure::time(
                format!("random actions to {max}{with}: ns, better of talc and rlsf"),
                ours,
                talc.min(rlsf),
                Bound::AtLeast(0.95),
            ));
        }
    }
    let mean = |ratios: &[f64]| geometric_mean(ratios.iter().copied()).unwrap_or(f64::NAN);
    let whole = |name: &str, ratio, bound| Figure {
        timed: true,
        ..Figure::value(format!("random actions: talc's time over ours, geometric mean{name}"), ratio, bound)
    };
    figures.push(whole("", mean(&ratios), Bound::AtLeast(1.25)));
    figures.push(whole(" (strict)", mean(&strict_ratios), Bound::Recorded));
    figures
}
