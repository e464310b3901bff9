//! Threads that allocate and free, by themselves and for one another. Wall-clock and CPU time.
//!
//! ```text
//!  producer: allocate, write ──► ring of blocks ──► consumer: read, free
//!             the ring's length and how many blocks are published at once make the pattern
//! ```

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{best, names};
use crate::clock::thread_ns;
use crate::family::Functions;
use crate::figures::{Bound, Figure, Random};
use crate::heap::threads::{race, wait_until};
use crate::ours::Hosted;
use crate::rounds::{interleave, median};

/// One allocator with its own instance of every pattern.
struct Member {
    name: &'static str,
    exchange: fn(usize, usize) -> f64,
    hermit: fn(usize) -> (f64, f64),
}

const fn member<F: Functions>(name: &'static str) -> Member {
    Member { name, exchange: exchange::<F>, hermit: hermit_of::<F> }
}

static MEMBERS: &[Member] = &[
    member::<Hosted>("hectare-hosted"),
    #[cfg(feature = "native-peers")]
    member::<crate::peers::Mimalloc>("mimalloc"),
    #[cfg(feature = "native-peers")]
    member::<crate::peers::Snmalloc>("snmalloc"),
    #[cfg(feature = "native-peers")]
    member::<crate::peers::Jemalloc>("jemalloc"),
];

/// A ring of blocks from one thread to another.
struct Ring {
    places: Vec<AtomicPtr<u8>>,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Ring {
    fn new(length: usize) -> Self {
        let places = (0..length).map(|_| AtomicPtr::default()).collect();
        Self { places, written: AtomicUsize::new(0), read: AtomicUsize::new(0) }
    }
}

/// Pairs that a pattern makes.
const PAIRS: usize = 200_000;

/// One thread allocates, the other frees: nanoseconds for each pair.
fn exchange<F: Functions>(length: usize, at_once: usize) -> f64 {
    let ring = &Ring::new(length);
    let pairs = PAIRS / at_once * at_once;
    let (ns, _) = race(2, |who| {
        move || {
            let mut random = Random::new(99);
            for first in (0..pairs).step_by(at_once) {
                if who == 0 {
                    wait_until(|| first + at_once - ring.read.load(Ordering::Acquire) <= length);
                    for at in first..first + at_once {
                        let block = F::allocate(random.range(16, 300));
                        // SAFETY: a new block of at least 16 bytes.
                        unsafe { block.write(1) };
                        ring.places[at % length].store(block, Ordering::Relaxed);
                    }
                    ring.written.store(first + at_once, Ordering::Release);
                } else {
                    wait_until(|| ring.written.load(Ordering::Acquire) >= first + at_once);
                    for at in first..first + at_once {
                        let block = ring.places[at % length].load(Ordering::Relaxed);
                        // SAFETY: live: the producer's.
                        let read = unsafe { block.read() };
                        assert_eq!(read, 1, "a block was changed on its way");
                        // SAFETY: live, and nobody else frees it.
                        unsafe { F::free(block) };
                    }
                    ring.read.store(first + at_once, Ordering::Release);
                }
            }
            0
        }
    });
    ns as f64 / pairs as f64
}

/// Three patterns of two threads.
pub(super) fn two_threads(rounds: usize) -> Vec<Figure> {
    let patterns = [
        ("producer and consumer", 256, 1),
        ("handover of batches of 1000", 4000, 1000),
        ("one thread that only frees, far behind", 65_536, 64),
    ];
    let of = |(title, length, at_once): (&str, usize, usize)| {
        let times = interleave(
            MEMBERS.len(),
            rounds + 1,
            |_| true,
            |_, who| (MEMBERS[who].exchange)(length, at_once),
        );
        let ns: Vec<f64> = times.iter().map(|t| median(&t[1..]).unwrap_or(f64::INFINITY)).collect();
        match best(&ns) {
            Some(peer) => {
                Figure::time(format!("{title}: ns a pair, beside the best"), ns[0], peer, Bound::AtLeast(0.9))
            }
            None => Figure::value(format!("{title}: ns a pair"), ns[0], Bound::Recorded),
        }
    };
    patterns.into_iter().map(of).collect()
}

/// `threads` threads, each allocating a zeroed block of 64 bytes and freeing it, many times: CPU time and wall-clock time
/// for each pair, in nanoseconds.
fn hermit_of<F: Functions>(threads: usize) -> (f64, f64) {
    let pairs = 4_000_000 / threads.max(8);
    let (wall, cpu) = race(threads, |_| {
        move || {
            let before = thread_ns();
            for _ in 0..pairs {
                let block = core::hint::black_box(F::allocate_zeroed(64));
                // SAFETY: allocated above.
                unsafe { F::free(block) };
            }
            thread_ns() - before
        }
    });
    let all = (threads * pairs) as f64;
    (cpu as f64 / all, wall as f64 / all)
}

/// Hermit's pattern.
pub(super) fn hermit(rounds: usize) -> Vec<Figure> {
    assert_eq!(MEMBERS.iter().map(|member| member.name).collect::<Vec<_>>(), names());
    let at = |threads| {
        let times =
            interleave(MEMBERS.len(), rounds.min(7) + 1, |_| true, |_, who| (MEMBERS[who].hermit)(threads));
        let of = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            let values = times.iter().map(|t| median(&t[1..].iter().map(pick).collect::<Vec<_>>()));
            values.map(|value| value.unwrap_or(f64::INFINITY)).collect()
        };
        (of(|both| both.0), of(|both| both.1))
    };
    let (alone, _) = at(1);
    let mut figures = vec![];
    for threads in [2, 8, 128] {
        let (cpu, wall) = at(threads);
        let bound = if threads == 128 { Bound::AtMost(1.3) } else { Bound::Recorded };
        let title = format!("Hermit's pattern, {threads} threads");
        figures.push(Figure::beside(
            format!("{title}: CPU ns a pair, beside one thread"),
            cpu[0],
            alone[0],
            bound,
        ));
        if let Some(peer) = best(&wall[..wall.len().min(3)]) {
            let title = format!("{title}: wall ns a pair, beside mimalloc and snmalloc");
            figures.push(Figure::time(title, wall[0], peer, Bound::AtLeast(0.9)));
        }
    }
    figures
}
