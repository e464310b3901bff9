//! What holds of the textbooks' "first fit is about as good as best fit, and both are better than worst fit".
#![forbid(unsafe_code)]

use crate::heap::{CAP, Row, TraceResult};
use crate::rounds::geometric_mean;

/// Two policies whose smallest heaps differ by no more than this are about equal.
const ALIKE: f64 = 1.05;
/// A policy whose smallest heap is larger by this needs more: twice what the search may be wrong by.
const MORE: f64 = 1.01;

/// The policies by their names on the command line, and as people call them.
const POLICIES: [(&str, &str); 6] = [
    ("hectare-fit/first", "first fit"),
    ("hectare-fit/best", "best fit"),
    ("hectare-fit/worst", "worst fit"),
    ("hectare-fit/next", "next fit"),
    ("hectare-fit/last", "last fit"),
    ("hectare-fit/half", "half fit"),
];

/// The geometric mean of a policy's smallest heaps, and whether it is only a lower bound.
fn need(results: &[TraceResult], name: &str) -> Option<(f64, bool)> {
    let row = |result: &'_ TraceResult| result.rows.iter().position(|row| row.allocator.name == name);
    let rows: Option<Vec<&Row>> = results.iter().map(|result| Some(&result.rows[row(result)?])).collect();
    let rows = rows?;
    let ratio = |row: &&Row| row.memory.smallest.or(row.memory.beyond_cap.then_some(CAP));
    let ratios: Option<Vec<f64>> = rows.iter().map(ratio).collect();
    Some((geometric_mean(ratios?)?, rows.iter().any(|row| row.memory.beyond_cap)))
}

/// The sentence, if first, best and worst fit were measured.
#[must_use]
pub(super) fn policies(results: &[TraceResult]) -> Option<String> {
    let needs = POLICIES.map(|(name, title)| (title, need(results, name)));
    let (first, best, worst) = (needs[0].1?, needs[1].1?, needs[2].1?);
    let shown = needs.iter().filter_map(|(title, need)| {
        let (ratio, more) = (*need)?;
        Some(format!("{title} {}{ratio:.3}", if more { "more than " } else { "" }))
    });
    let shown: Vec<_> = shown.collect();
    Some(format!(
        "Placement policies, by the smallest heap over the peak (geometric mean): {}. {}",
        shown.join(", "),
        verdict(first.0, best.0, worst.0)
    ))
}

fn verdict(first: f64, best: f64, worst: f64) -> String {
    let alike = first.max(best) <= ALIKE * first.min(best);
    let worse = worst > MORE * first.max(best);
    let says = |holds| if holds { "holds" } else { "does not hold" };
    format!(
        "That first fit needs about as much as best fit (within 5 %) {}; that worst fit needs more than both {}.",
        says(alike),
        says(worse)
    )
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn the_verdict_follows_the_figures() {
        assert!(
            verdict(1.03, 1.02, 2.0)
                .contains("(within 5 %) holds; that worst fit needs more than both holds")
        );
        assert!(verdict(1.10, 1.02, 2.0).contains("(within 5 %) does not hold"));
        assert!(verdict(1.03, 1.02, 1.04).contains("more than both does not hold"));
    }
}
