//! The smallest spaces in which recorded programs never meet a refusal, by policy.

use hectare_fit::policy::{BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, WorstFit};

use crate::figures::{Bound, Figure};
use crate::ranges::{Ours, Program, smallest};
use crate::rounds::geometric_mean;

/// Geometric means over the programs; beyond 8 counts as 8.
#[must_use]
pub fn figures(programs: &[Program]) -> Vec<Figure> {
    type Smallest = fn(&Program) -> Option<f64>;
    let policies: [(&str, Smallest); 7] = [
        ("best fit", smallest::<Ours<BestFit>>),
        ("good fit", smallest::<Ours<GoodFit>>),
        ("first fit", smallest::<Ours<FirstFit>>),
        ("last fit", smallest::<Ours<LastFit>>),
        ("next fit", smallest::<Ours<NextFit>>),
        ("half fit", smallest::<Ours<HalfFit>>),
        ("worst fit", smallest::<Ours<WorstFit>>),
    ];
    let means = policies.map(|(_, smallest)| {
        geometric_mean(programs.iter().map(|program| smallest(program).unwrap_or(8.0))).unwrap_or(f64::NAN)
    });
    let best = means[0];
    let mut figures: Vec<Figure> = policies
        .iter()
        .zip(means)
        .map(|((policy, _), mean)| {
            Figure::beside(
                format!("ranges, {policy}: smallest space over peak, best fit's"),
                mean,
                best,
                Bound::Recorded,
            )
        })
        .collect();
    let apart = (means[1] / best).max(best / means[1]);
    figures.push(Figure::value(
        "ranges: best and good fit apart, the larger over the smaller",
        apart,
        Bound::AtMost(1.01),
    ));
    figures
}
