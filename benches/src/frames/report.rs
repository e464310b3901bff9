//! What the figures of frame traces say: a table, advice, a chapter of the HTML page.
#![forbid(unsafe_code)]

mod advice;
mod curves;
mod html;
mod method;
mod table;

pub use advice::advice;
pub use html::chapter;
pub use table::table;

use super::allocators::Allocator;
use super::row::Row;
use super::run::TraceResult;
use crate::rounds::geometric_mean;

/// One allocator over all traces.
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
    /// The share of the free frames that is usable as 2 MiB at the end, mean and worst; only if it is known on every trace.
    pub usable: Option<(f64, f64)>,
    /// Bytes of tables a frame, the most of all traces.
    pub metadata: Option<f64>,
    /// On how many traces it was cut off.
    pub slow: usize,
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
    let all = |figure: &dyn Fn(&Row) -> Option<f64>| -> Option<Vec<f64>> {
        rows.iter().map(|row| figure(row)).collect()
    };
    let usable = all(&Row::usable_2m).filter(|values| !values.is_empty()).map(|values| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.into_iter().fold(1.0, f64::min))
    });
    let metadata = results.iter().zip(rows).filter_map(|(result, row)| row.metadata_a_frame(result.memory));
    Overall {
        allocator: rows[0].allocator,
        ns: all(&Row::ns).and_then(geometric_mean),
        p999: all(&|row| row.latency.as_ref().map(|q| q.p999)).and_then(geometric_mean),
        max: rows.iter().filter_map(|row| row.latency.as_ref().map(|q| q.max)).reduce(f64::max),
        usable,
        metadata: metadata.reduce(f64::max),
        slow: rows.iter().filter(|row| row.speed.as_ref().is_some_and(|speed| speed.slow)).count(),
        eligible: rows.iter().all(|row| row.is_eligible()),
        remarks: remarks(results, rows),
    }
}

fn remarks(results: &[TraceResult], rows: &[&Row]) -> Vec<String> {
    let mut remarks: Vec<(String, Vec<&str>)> = Vec::new();
    for (result, row) in results.iter().zip(rows) {
        for note in &row.notes {
            // The same remark with another number in brackets is the same remark.
            let text = note.split(" (").next().unwrap_or_default().to_owned();
            match remarks.iter_mut().find(|(known, _)| *known == text) {
                Some((_, traces)) => traces.push(&result.name),
                None => remarks.push((text, vec![&result.name])),
            }
        }
    }
    let with_traces = |(text, traces): (String, Vec<&str>)| {
        if traces.len() == rows.len() { text } else { format!("{text} ({})", traces.join(", ")) }
    };
    remarks.into_iter().map(with_traces).collect()
}

/// Indices with their figures, least first.
fn ranking(count: usize, figure: impl Fn(usize) -> Option<f64>) -> Vec<(usize, f64)> {
    let mut ranked: Vec<(usize, f64)> = (0..count).filter_map(|i| Some((i, figure(i)?))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    ranked
}

/// A share in whole per cent.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
