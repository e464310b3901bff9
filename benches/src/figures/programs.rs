//! Recorded programs: time an operation, and the smallest heap.

use crate::arena::Arena;
use crate::heap::Program;
use crate::heap::{Allocator, Class, select};
use crate::rounds::{geometric_mean, interleave, median};

use super::{Bound, Figure};

/// Peers whose time and memory count: those of general purpose that finish.
const PEERS: [&str; 4] = ["talc", "rlsf", "dlmalloc", "good_memory_allocator"];

struct Results {
    trace: String,
    /// In the order of `names`.
    ns: Vec<f64>,
    smallest: Vec<f64>,
}

/// All programs through ours and the peers.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(programs: &[Program], rounds: usize) -> Vec<Figure> {
    let names: Vec<String> =
        ["hectare-fit", "hectare-fit/strict"].iter().chain(&PEERS).map(|name| (*name).to_owned()).collect();
    let known = select(&names).expect("all of these are in the table");
    let allocators: Vec<&Allocator> =
        names.iter().filter_map(|name| known.iter().find(|known| known.name == name).copied()).collect();
    assert!(allocators.iter().all(|allocator| allocator.class == Class::General));
    let results: Vec<Results> =
        programs.iter().map(|program| measure(program, &allocators, rounds)).collect();
    let mut figures = vec![];
    for (ours, name, speed, space) in [(0, "", 1.5, 1.09), (1, " (strict)", 1.0, 1.07)] {
        figures.extend(of_one(&results, ours, name, speed, space));
    }
    figures
}

/// The figures of our allocator number `ours`.
fn of_one(results: &[Results], ours: usize, name: &str, speed: f64, space: f64) -> Vec<Figure> {
    let peers = 2..2 + PEERS.len();
    let mean = |of: &dyn Fn(&Results) -> f64| geometric_mean(results.iter().map(of)).unwrap_or(f64::NAN);
    let peer_means = peers.clone().map(|peer| mean(&|result| result.ns[peer]));
    let fastest = peer_means.fold(f64::INFINITY, f64::min);
    let mut figures = vec![
        Figure::time(
            format!("programs: ns an operation, geometric mean{name}, beside the fastest peer"),
            mean(&|result| result.ns[ours]),
            fastest,
            Bound::AtLeast(speed),
        ),
        Figure::value(
            format!("programs: smallest heap over peak, geometric mean{name}"),
            mean(&|result| result.smallest[ours]),
            Bound::AtMost(space),
        ),
    ];
    let strict = ours != 0;
    for result in results {
        let best = |values: &[f64]| peers.clone().map(|peer| values[peer]).fold(f64::INFINITY, f64::min);
        let (least, most) = if strict {
            (Bound::Recorded, Bound::Recorded)
        } else {
            (Bound::AtLeast(0.9), Bound::AtMost(1.02))
        };
        figures.push(Figure::time(
            format!("{}: ns an operation{name}, beside the fastest peer on it", result.trace),
            result.ns[ours],
            best(&result.ns),
            least,
        ));
        figures.push(Figure::beside(
            format!("{}: smallest heap over peak{name}, beside the best peer", result.trace),
            result.smallest[ours],
            best(&result.smallest),
            most,
        ));
    }
    figures
}

fn measure(program: &Program, allocators: &[&Allocator], rounds: usize) -> Results {
    eprintln!("{} …", program.name());
    let bytes = program.arena_bytes(2);
    let mut arena = Arena::new(bytes).expect("memory for the arena");
    arena.touch(bytes);
    let times = interleave(
        allocators.len(),
        rounds,
        |_| true,
        |_, who| {
            (allocators[who].timed)(program, &mut arena, bytes, u64::MAX)
                .map_or(f64::INFINITY, |pass| pass.ns_per_op())
        },
    );
    let ns = times.iter().map(|times| median(times).unwrap_or(f64::INFINITY)).collect();
    drop(arena);
    let longest = usize::try_from(program.peak_bytes()).unwrap_or(usize::MAX).saturating_mul(8);
    let mut arena = Arena::new(longest.saturating_add(1 << 20)).expect("memory for the arena");
    let smallest = allocators
        .iter()
        .map(|allocator| (allocator.smallest)(program, &mut arena, 1.1).unwrap_or(f64::INFINITY))
        .collect();
    Results { trace: program.name().to_owned(), ns, smallest }
}
