//! Many threads: each takes a box of 64 bytes and gives it back, 100 000 times (or for so long as there is time). It is how
//! Hermit found out that one lock around one heap costs two orders of magnitude.

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use hectare_core::{DirectMap, SpinLock};
use hectare_slab::CpuHeap;

use super::timed;
use crate::arena::Arena;
use crate::clock::thread_ns;
use crate::figures::{Bound, Figure};
use crate::frames::cpu::{ThreadCpu, enter};
use crate::objects::{Machine, SharedFrames};
use crate::peers::Talc;
use crate::rounds::median;
use crate::subject::Subject;

const THREADS: usize = 128;
const PAIRS: usize = 100_000;
/// No thread begins another thousand pairs after that.
const PATIENCE: Duration = Duration::from_secs(20);
const ARENA: usize = 16 << 20;
const LAYOUT: Layout = Layout::new::<[u64; 8]>();

/// A heap that threads share.
trait Crowd: Sync {
    /// Takes a box, writes to it, gives it back.
    fn pair(&self);
}

type Heap = CpuHeap<ThreadCpu, SpinLock, &'static SharedFrames, DirectMap, THREADS>;

impl Crowd for Heap {
    #[inline(always)]
    fn pair(&self) {
        let Ok(block) = self.allocate(black_box(LAYOUT)) else { return };
        // SAFETY: a live block of 64 bytes.
        unsafe { block.cast::<u64>().write_volatile(7) };
        // SAFETY: live, with this layout.
        let _ = unsafe { self.free(black_box(block), LAYOUT) };
    }
}

/// talc, which one thread at a time uses.
struct One(Box<Talc>);

// SAFETY: it is used behind a mutex only.
unsafe impl Send for One {}

fn pair_of_one(lock: impl Fn(&mut dyn FnMut(&mut One))) {
    let mut block = core::ptr::null_mut();
    lock(&mut |one| block = one.0.allocate(black_box(LAYOUT)));
    if let Some(block) = NonNull::new(block) {
        // SAFETY: a live block of 64 bytes.
        unsafe { block.cast::<u64>().write_volatile(7) };
        // SAFETY: live, with this layout.
        lock(&mut |one| unsafe { one.0.deallocate(black_box(block.as_ptr()), LAYOUT) });
    }
}

impl Crowd for spin::Mutex<One> {
    #[inline(always)]
    fn pair(&self) {
        pair_of_one(|f| f(&mut self.lock()));
    }
}

/// The standard library's mutex parks its waiters.
impl Crowd for Mutex<One> {
    #[inline(always)]
    fn pair(&self) {
        pair_of_one(|f| f(&mut self.lock().expect("nobody panics")));
    }
}

/// Nanoseconds a pair: of wall-clock time over the pairs of all, and of CPU time.
fn race(crowd: &impl Crowd, threads: usize) -> (f64, f64) {
    let barrier = Barrier::new(threads);
    let run = |cpu: usize| {
        enter(cpu);
        barrier.wait();
        let (begin, start, mut done) = (Instant::now(), thread_ns(), 0);
        while done < PAIRS && begin.elapsed() < PATIENCE {
            (0..1000).for_each(|_| crowd.pair());
            done += 1000;
        }
        (begin, Instant::now(), thread_ns() - start, done)
    };
    let spans: Vec<(Instant, Instant, u64, usize)> = std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || run(cpu))).collect();
        running.into_iter().map(|thread| thread.join().expect("threads do not panic")).collect()
    });
    let begin = spans.iter().map(|span| span.0).min().expect("there are threads");
    let end = spans.iter().map(|span| span.1).max().expect("there are threads");
    let pairs = spans.iter().map(|span| span.3).sum::<usize>().max(1) as f64;
    let cpu = spans.iter().map(|span| span.2).sum::<u64>() as f64;
    (end.duration_since(begin).as_nanos() as f64 / pairs, cpu / pairs)
}

/// All of them: ours in so many rounds, the others, which take long, once.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut arena = Arena::new(ARENA).expect("memory for the arena");
    // SAFETY: the arena is ours until this function returns; the heap is gone before.
    let machine = unsafe { Machine::new(arena.region(ARENA)) }.expect("16 MiB are enough");
    // SAFETY: each thread of a race is a CPU of its own, and nobody else uses the heap meanwhile.
    let pin = unsafe { ThreadCpu::new(THREADS) };
    let heap: Box<Heap> = Box::new(CpuHeap::new(pin, SpinLock::new(), machine.frames, machine.window));
    let one: Vec<(f64, f64)> = (0..rounds).map(|_| race(&*heap, 1)).collect();
    let many: Vec<(f64, f64)> = (0..rounds).map(|_| race(&*heap, THREADS)).collect();
    heap.check_slabs().expect("the slabs are sound");
    drop(heap);
    let middle = |of: &[(f64, f64)], part: fn(&(f64, f64)) -> f64| {
        median(&of.iter().map(part).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let (wall, cpu_many, cpu_one) = (middle(&many, |t| t.0), middle(&many, |t| t.1), middle(&one, |t| t.1));
    let talc = |arena: &mut Arena| {
        // SAFETY: the arena is ours until this function returns, and talc does not outlive it.
        One(unsafe { Talc::build(arena.region(ARENA)) }.expect("16 MiB are enough"))
    };
    let spinning = race(&spin::Mutex::new(talc(&mut arena)), THREADS).0;
    let parking = race(&Mutex::new(talc(&mut arena)), THREADS).0;
    let row = |what: &str| format!("{THREADS} threads, a box of 64 bytes each: {what}");
    vec![
        Figure::time(row("wall ns a pair, beside talc in spin::Mutex"), wall, spinning, Bound::AtLeast(20.0)),
        Figure::time(
            row("wall ns a pair, beside talc in a parking mutex"),
            wall,
            parking,
            Bound::AtLeast(5.0),
        ),
        timed(row("CPU ns a pair, beside 1 thread"), cpu_many, cpu_one, Bound::AtMost(1.3)),
    ]
}
