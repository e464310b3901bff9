//! Recorded traces of Linux's page allocator: nanoseconds an operation beside the fastest peer.

use crate::figures::{Bound, Figure};
use crate::frames::{ALLOCATORS, Allocator, Memory, Program};
use crate::heap::Class;
use crate::rounds::{geometric_mean, interleave, median};

/// A peer this many times slower than the fastest takes part in one pass only.
const CUT: f64 = 5.0;

/// Without and with caches for each CPU: the two whose figures are bounded. The engine for many CPUs is on record.
const CLAIMED: [&str; 2] = ["hectare-buddy", "hectare-buddy/cached"];

/// Each program, and all of them.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(programs: &[Program], rounds: usize) -> Vec<Figure> {
    let all: Vec<&Allocator> = ALLOCATORS.iter().filter(|a| a.class == Class::General).collect();
    let results: Vec<(&str, Vec<f64>)> =
        programs.iter().map(|program| (program.name(), measure(program, &all, rounds))).collect();
    let peers: Vec<usize> = (0..all.len()).filter(|&who| !all[who].is_ours()).collect();
    let best = |ns: &[f64]| peers.iter().map(|&who| ns[who]).fold(f64::INFINITY, f64::min);
    let mut figures = vec![];
    for who in (0..all.len()).filter(|&who| all[who].is_ours()) {
        let name = all[who].name;
        let bound = if CLAIMED.contains(&name) { Bound::AtLeast(1.5) } else { Bound::Recorded };
        for (trace, ns) in &results {
            let figure = format!("{trace}: ns/op, {name} beside the fastest peer");
            figures.push(Figure::time(figure, ns[who], best(ns), bound));
        }
        let mean = |value: &dyn Fn(&[f64]) -> f64| {
            geometric_mean(results.iter().map(|(_, ns)| value(ns))).unwrap_or(f64::NAN)
        };
        figures.push(Figure::time(
            format!("both traces: ns/op, {name} beside the fastest peer on each"),
            mean(&|ns| ns[who]),
            mean(&best),
            bound,
        ));
    }
    for &who in &peers {
        for (trace, ns) in results.iter().filter(|(_, ns)| ns[who].is_finite()) {
            figures.push(Figure::value(
                format!("{trace}: ns/op, {}", all[who].name),
                ns[who],
                Bound::Recorded,
            ));
        }
    }
    figures
}

/// Nanoseconds an operation of each; infinite for those who are slow.
fn measure(program: &Program, all: &[&Allocator], rounds: usize) -> Vec<f64> {
    let mut memory = Memory::new(program.memory()).expect("address space");
    let mut pass = |who: usize, limit: f64| {
        (all[who].timed)(program, &mut memory, limit as u64).map_or(f64::INFINITY, |pass| pass.ns_per_op())
    };
    let mut fastest = f64::INFINITY;
    let mut first = vec![f64::INFINITY; all.len()];
    for (who, first) in first.iter_mut().enumerate() {
        *first = pass(who, (CUT * 4.0 * fastest * program.ops().len() as f64).max(20e6));
        fastest = fastest.min(*first);
    }
    let times = interleave(all.len(), rounds, |who| first[who] <= CUT * fastest, |_, who| pass(who, 1e18));
    times.iter().map(|times| median(times).unwrap_or(f64::INFINITY)).collect()
}
