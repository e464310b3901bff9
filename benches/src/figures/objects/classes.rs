//! Recorded programs through the heap of size classes: time beside talc and slab_allocator_rs, smallest heap, and what
//! comes back.

use crate::arena::Arena;
use crate::figures::{Bound, Figure};
use crate::heap::{Allocator, Program, select};
use crate::ours::Slab;
use crate::rounds::{geometric_mean, interleave, median};
use crate::subject::Subject;

const NAMES: [&str; 3] = ["hectare-slab", "talc", "slab_allocator_rs"];

/// All programs, each and in the mean.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(programs: &[Program], rounds: usize) -> Vec<Figure> {
    let known = select(&NAMES.map(str::to_owned)).expect("all of these are in the table");
    let find = |name: &str| known.iter().find(|known| known.name == name).copied();
    let all: Vec<&Allocator> = NAMES.iter().filter_map(|name| find(name)).collect();
    let (mut figures, mut ns, mut smallest, mut kept) = (vec![], vec![], vec![], 0);
    for program in programs {
        eprintln!("{} …", program.name());
        let times = measure(program, &all, rounds);
        for (peer, name) in NAMES.iter().enumerate().skip(1) {
            let figure = format!("{}: size classes, ns/op beside {name}", program.name());
            figures.push(Figure::time(figure, times[0], times[peer], Bound::Recorded));
        }
        ns.push(times);
        let longest = usize::try_from(program.peak_bytes()).unwrap_or(usize::MAX).saturating_mul(8);
        let mut arena = Arena::new(longest.saturating_add(1 << 20)).expect("memory for the arena");
        let [ours, talc] =
            [0, 1].map(|who| (all[who].smallest)(program, &mut arena, 1.2).unwrap_or(f64::INFINITY));
        let figure = format!("{}: size classes, smallest heap over peak, beside talc", program.name());
        figures.push(Figure::beside(figure, ours, talc, Bound::Recorded));
        smallest.push(ours);
        kept += missing(program);
    }
    let mean = |who: usize| geometric_mean(ns.iter().map(|ns| ns[who])).unwrap_or(f64::NAN);
    for (who, bound) in [(1, 1.8), (2, 1.1)] {
        let figure = format!("size classes: ns/op in the geometric mean, beside {}", NAMES[who]);
        figures.push(Figure::time(figure, mean(0), mean(who), Bound::AtLeast(bound)));
    }
    let mean = geometric_mean(smallest).unwrap_or(f64::NAN);
    let figure = "size classes: smallest heap over peak, geometric mean";
    figures.push(Figure::value(figure, mean, Bound::AtMost(1.25)));
    let figure = "size classes: frames that are missing when all was freed, all programs";
    figures.push(Figure::value(figure, kept as f64, Bound::AtMost(0.0)));
    figures
}

/// Nanoseconds an operation; slab_allocator_rs gets as large an arena as it needs, up to 32 times the peak.
fn measure(program: &Program, all: &[&Allocator], rounds: usize) -> Vec<f64> {
    let sizes: Vec<usize> = all
        .iter()
        .map(|allocator| {
            let enough = |factor: &usize| {
                let bytes = program.arena_bytes(*factor);
                let mut arena = Arena::new(bytes).expect("memory for the arena");
                (allocator.timed)(program, &mut arena, bytes, u64::MAX).is_some_and(|pass| pass.failed == 0)
            };
            program.arena_bytes([2, 4, 8, 16, 32].into_iter().find(enough).unwrap_or(32))
        })
        .collect();
    let longest = sizes.iter().copied().max().unwrap_or(0);
    let mut arena = Arena::new(longest).expect("memory for the arena");
    arena.touch(longest);
    let pass = |_, who: usize| {
        let pass = (all[who].timed)(program, &mut arena, sizes[who], u64::MAX);
        pass.map_or(f64::INFINITY, |pass| pass.ns_per_op())
    };
    let times = interleave(all.len(), rounds, |_| true, pass);
    times.iter().map(|times| median(times).unwrap_or(f64::INFINITY)).collect()
}

/// Frames that are not free when the whole program was replayed, all of it freed, and the heap shrunk.
fn missing(program: &Program) -> u64 {
    let bytes = program.arena_bytes(2);
    let mut arena = Arena::new(bytes).expect("memory for the arena");
    // SAFETY: the arena is ours until this function returns, and the heap does not outlive it.
    let mut heap = unsafe { Slab::build(arena.region(bytes)) }.expect("an arena of twice the peak");
    let before = heap.free_frames();
    heap.replay_and_free(program);
    before - heap.free_frames()
}
