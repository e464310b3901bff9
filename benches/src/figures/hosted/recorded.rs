//! Recorded programs.

use std::ffi::{OsStr, OsString};

use super::{best, names};
use crate::arena::Arena;
use crate::figures::{Bound, Figure};
use crate::heap::{Allocator, Program, Threads, select};
use crate::rounds::{geometric_mean, interleave, median};

fn allocators() -> Vec<&'static Allocator> {
    names().iter().filter_map(|name| select(&[(*name).to_owned()]).ok()?.first().copied()).collect()
}

/// Medians of interleaved rounds, one for each allocator.
fn medians(rounds: usize, run: impl Fn(&Allocator) -> f64) -> Vec<f64> {
    let allocators = allocators();
    // The first round fills everyone's caches.
    let times = interleave(allocators.len(), rounds + 1, |_| true, |_, who| run(allocators[who]));
    times.iter().map(|times| median(&times[1..]).unwrap_or(f64::INFINITY)).collect()
}

fn means(all: &[Vec<f64>]) -> Vec<f64> {
    (0..names().len()).map(|who| geometric_mean(all.iter().map(|row| row[who])).unwrap_or(f64::NAN)).collect()
}

/// In one thread; thread CPU time.
pub(super) fn single(programs: &[(Program, OsString)], rounds: usize) -> Vec<Figure> {
    let mut arena = Arena::new(1).expect("one page");
    let times: Vec<Vec<f64>> = programs
        .iter()
        .map(|(program, _)| {
            let arena = core::cell::RefCell::new(&mut arena);
            medians(rounds, |allocator| {
                let pass = (allocator.timed)(program, &mut arena.borrow_mut(), 1, u64::MAX);
                pass.map_or(f64::INFINITY, |pass| pass.ns_per_op())
            })
        })
        .collect();
    let mut figures = vec![];
    let mean = means(&times);
    if let Some(peer) = best(&mean) {
        figures.push(Figure::time(
            "programs: ns an operation, geometric mean, beside the best",
            mean[0],
            peer,
            Bound::AtLeast(1.0),
        ));
    }
    for ((program, _), times) in programs.iter().zip(&times) {
        figures.push(beside(format!("{}: ns an operation", program.name()), times, Bound::Recorded));
    }
    figures
}

/// Ours beside the best peer's, if there is one.
fn beside(title: String, values: &[f64], bound: Bound) -> Figure {
    match best(values) {
        Some(peer) => Figure::time(format!("{title}, beside the best"), values[0], peer, bound),
        None => Figure::value(title, values[0], Bound::Recorded),
    }
}

/// Those that were recorded with threads, in as many; the others whole in two threads at once. Wall-clock time.
pub(super) fn threaded(programs: &[(Program, OsString)], rounds: usize) -> Vec<Figure> {
    let mut figures = vec![];
    for (program, _) in programs {
        let (threads, how) = match program.threads() {
            1 => (Threads::Many(2), "in each of two threads"),
            _ => (Threads::Real, "in its own threads"),
        };
        let times = medians(rounds.min(5), |allocator| {
            let mut arena = Arena::new(1).expect("one page");
            let pass = (allocator.threaded)(program, &mut arena, 1, threads);
            pass.map_or(f64::INFINITY, |pass| pass.ns_per_op())
        });
        figures.push(beside(
            format!("{} {how}: ns an operation", program.name()),
            &times,
            Bound::AtLeast(0.9),
        ));
    }
    figures
}

/// Peak resident memory with every byte written, in a child each.
pub(super) fn resident(programs: &[(Program, OsString)]) -> Result<Vec<Figure>, String> {
    let mut figures = vec![];
    let mut all = vec![];
    for (program, source) in programs {
        let ask = |name: &&str| {
            super::child::ask(&[OsStr::new("resident"), OsStr::new(name), source])
                .map(|bytes| bytes[0] / 1024.0)
        };
        let bytes: Vec<f64> = names().iter().map(ask).collect::<Result<_, _>>()?;
        figures.push(match best(&bytes) {
            Some(peer) => {
                let title = format!("{}: peak resident KiB, beside the best", program.name());
                Figure::beside(title, bytes[0], peer, Bound::Recorded)
            }
            None => {
                Figure::value(format!("{}: peak resident KiB", program.name()), bytes[0], Bound::Recorded)
            }
        });
        all.push(bytes);
    }
    let mean = means(&all);
    if let Some(peer) = best(&mean) {
        let title = "programs: peak resident KiB, geometric mean, beside the best";
        figures.insert(0, Figure::beside(title, mean[0], peer, Bound::AtMost(1.0)));
    }
    Ok(figures)
}
