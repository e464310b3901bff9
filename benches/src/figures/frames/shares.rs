//! What of the free memory can be had as 2 MiB after the runs `geo` and `procs` over a gibibyte, seen from outside.

use crate::figures::{Bound, Figure};
use crate::frames::{Memory, Program, geo, procs, select};

const SEEDS: u64 = 5;
const STEPS: usize = 4_200_000;
const FRAMES: usize = 1 << 18;

/// Ours, and the peers whose operations take a bounded time.
const NAMES: [&str; 5] =
    ["hectare-buddy", "buddy-slab-allocator", "buddy_system_allocator", "buddy-alloc", "offset-allocator"];

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
    let (mut in_vain, mut refused) = (0, 0);
    for seed in 1..=SEEDS {
        let program = make(FRAMES, STEPS, seed);
        let mut memory = Memory::new(FRAMES).expect("address space");
        for (who, name) in NAMES.into_iter().enumerate() {
            let allocator = select(&[name.to_owned()]).expect("all of these are in the table")[0];
            let survey = (allocator.survey)(&program, &mut memory, u64::MAX).expect("a gibibyte is enough");
            let end = survey.samples.last().expect("the run has operations");
            shares[who].push(100.0 * (1.0 - end.unusable_2m));
            if who == 0 {
                assert!(survey.breach.is_none(), "{name} broke a rule: {:?}", survey.breach);
                in_vain += usize::from(survey.refused_in_vain.is_some());
                refused += survey.failed;
            }
        }
    }
    let average = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
    let lowest = |shares: &[f64]| shares.iter().copied().fold(100.0, f64::min);
    let mut figures = vec![Figure::value(
        format!("{run}: per cent of free memory usable as 2 MiB, mean of 5 seeds"),
        average(&shares[0]),
        Bound::AtLeast(mean),
    )];
    let bound = least.map_or(Bound::Recorded, Bound::AtLeast);
    figures.push(Figure::value(format!("{run}: the least of the seeds"), lowest(&shares[0]), bound));
    figures.push(Figure::value(
        format!("{run}: seeds with a request refused although a block was free"),
        in_vain as f64,
        Bound::AtMost(0.0),
    ));
    figures.push(Figure::value(format!("{run}: requests refused, rightly"), refused as f64, Bound::Recorded));
    for (name, shares) in NAMES.iter().zip(&shares).skip(1) {
        figures.push(Figure::value(format!("{run}: mean of {name}"), average(shares), Bound::Recorded));
    }
    figures
}
