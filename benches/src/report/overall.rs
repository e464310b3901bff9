//! One allocator over all traces: geometric means, and how often it failed to take part.
#![forbid(unsafe_code)]

use crate::heap::{Allocator, Row, TraceResult};
use crate::rounds::geometric_mean;

/// An allocator's figures over all traces of a kind.
#[derive(Debug)]
pub struct Overall {
    /// Who.
    pub allocator: &'static Allocator,
    /// Geometric mean of ns/op; only if it was timed on every trace.
    pub ns: Option<f64>,
    /// Geometric mean of the 99.9th percentiles; likewise.
    pub p999: Option<f64>,
    /// The longest operation anywhere.
    pub max: Option<f64>,
    /// Geometric mean of memory used over the peak; likewise.
    pub used: Option<f64>,
    /// Geometric mean of the smallest heaps; likewise.
    pub smallest: Option<f64>,
    /// The worst of them.
    pub smallest_worst: Option<f64>,
    /// On how many traces it was cut off.
    pub slow: usize,
    /// On how many traces its smallest heap lies beyond what was searched.
    pub beyond_cap: usize,
    /// Whether it may be recommended: eligible on every trace.
    pub eligible: bool,
    /// Remarks, each with the traces that it concerns unless it concerns all.
    pub remarks: Vec<String>,
}

/// The figures of every allocator of these results, in their order.
#[must_use]
pub fn overall(results: &[TraceResult]) -> Vec<Overall> {
    let count = results.first().map_or(0, |result| result.rows.len());
    (0..count)
        .map(|who| of(results, &results.iter().map(|result| &result.rows[who]).collect::<Vec<_>>()))
        .collect()
}

fn of(results: &[TraceResult], rows: &[&Row]) -> Overall {
    let mean = |figure: &dyn Fn(&Row) -> Option<f64>| {
        let values: Option<Vec<f64>> = rows.iter().map(|row| figure(row)).collect();
        values.and_then(geometric_mean)
    };
    let most =
        |figure: &dyn Fn(&Row) -> Option<f64>| rows.iter().filter_map(|row| figure(row)).reduce(f64::max);
    Overall {
        allocator: rows[0].allocator,
        ns: mean(&|row| row.ns()),
        p999: mean(&|row| row.latency.as_ref().map(|q| q.p999)),
        max: most(&|row| row.latency.as_ref().map(|q| q.max)),
        used: mean(&Row::used_ratio),
        smallest: mean(&|row| row.memory.smallest),
        smallest_worst: most(&|row| row.memory.smallest),
        slow: rows.iter().filter(|row| row.speed.as_ref().is_some_and(|speed| speed.slow)).count(),
        beyond_cap: rows.iter().filter(|row| row.memory.beyond_cap).count(),
        eligible: rows.iter().all(|row| row.is_eligible()),
        remarks: remarks(results, rows),
    }
}

fn remarks(results: &[TraceResult], rows: &[&Row]) -> Vec<String> {
    let mut remarks: Vec<(String, Vec<&str>)> = Vec::new();
    for (result, row) in results.iter().zip(rows) {
        for note in &row.notes {
            // The same remark with another number in brackets is the same remark.
            let text = note.0.split(" (").next().unwrap_or_default().to_owned();
            match remarks.iter_mut().find(|(known, _)| *known == text) {
                Some((_, traces)) => traces.push(&result.name),
                None => remarks.push((text, vec![&result.name])),
            }
        }
    }
    let all = rows.len();
    let with_traces = |(text, traces): (String, Vec<&str>)| match traces.len() {
        n if n == all => text,
        n if n > 3 => format!("{text} ({n} of {all} traces)"),
        _ => format!("{text} ({})", traces.join(", ")),
    };
    remarks.into_iter().map(with_traces).collect()
}
