//! What of the free memory can be had as 2 MiB after the runs `geo` and `procs` over a gibibyte, seen from outside.

use crate::figures::{Bound, Figure};
use crate::frames::{Memory, Program, geo, procs, select};

const SEEDS: u64 = 5;
const STEPS: usize = 4_200_000;
const FRAMES: usize = 1 << 18;

/// Ours, of which the first [`OURS`] bear the bounds, and the peers whose operations take a bounded time.
const NAMES: [&str; 7] = [
    "hectare-buddy",
    "hectare-buddy/cached",
    "hectare-buddy/shared",
    "buddy-slab-allocator",
    "buddy_system_allocator",
    "buddy-alloc",
    "offset-allocator",
];
const OURS: usize = 2;

/// Five seeds of each run.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures() -> Vec<Figure> {
    let mut figures = of("geo", geo, 85.0, Some(80.0));
    figures.extend(of("procs", procs, 78.0, None));
    figures
}

fn of(run: &str, make: fn(usize, usize, u64) -> Program, mean: f64, least: Option<f64>) -> Vec<Figure> {
    let mut shares: Vec<Vec<f64>> = vec![Vec::new(); NAMES.len()];
    let mut in_vain = [0; NAMES.len()];
    for seed in 1..=SEEDS {
        let program = make(FRAMES, STEPS, seed);
        let mut memory = Memory::new(FRAMES).expect("address space");
        for (who, name) in NAMES.into_iter().enumerate() {
            let allocator = select(&[name.to_owned()]).expect("all of these are in the table")[0];
            let survey = (allocator.survey)(&program, &mut memory, u64::MAX).expect("a gibibyte is enough");
            let end = survey.samples.last().expect("the run has operations");
            shares[who].push(100.0 * (1.0 - end.unusable_2m));
            in_vain[who] += u8::from(survey.refused_in_vain.is_some());
            assert!(!allocator.is_ours() || survey.breach.is_none(), "{name}: {:?}", survey.breach);
        }
    }
    let average = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
    let lowest = |shares: &[f64]| shares.iter().copied().fold(100.0, f64::min);
    let mut figures = vec![];
    for (who, name) in NAMES.into_iter().enumerate() {
        let bounded = |bound| if who < OURS { bound } else { Bound::Recorded };
        let of_mean = bounded(Bound::AtLeast(mean));
        let of_least = bounded(least.map_or(Bound::Recorded, Bound::AtLeast));
        let seeds = format!("{run}: {name}, % usable as 2 MiB");
        figures.push(Figure::value(format!("{seeds}, mean of 5 seeds"), average(&shares[who]), of_mean));
        figures.push(Figure::value(format!("{seeds}, least"), lowest(&shares[who]), of_least));
        if name.starts_with("hectare-") {
            figures.push(Figure::value(
                format!("{run}: {name}, seeds with a free block refused"),
                f64::from(in_vain[who]),
                Bound::AtMost(0.0),
            ));
        }
    }
    figures
}
