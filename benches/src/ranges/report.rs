//! What the figures of ranges say: a table, advice, a chapter of the HTML page.
#![forbid(unsafe_code)]

mod html;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

pub use html::chapter;

use super::allocators::Allocator;
use super::row::Row;
use super::run::TraceResult;
use crate::heap::Class;
use crate::report::number::{three, time};
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
    /// Geometric mean of the smallest spaces; likewise.
    pub smallest: Option<f64>,
    /// The worst of them.
    pub worst: Option<f64>,
    /// Mean of the external fragmentation at the peak.
    pub external: Option<f64>,
    /// Remarks.
    pub remarks: Vec<String>,
}

/// The figures of every allocator of these results, in their order.
#[must_use]
pub fn overall(results: &[TraceResult]) -> Vec<Overall> {
    let count = results.first().map_or(0, |result| result.rows.len());
    let of = |who: usize| {
        let rows: Vec<&Row> = results.iter().map(|result| &result.rows[who]).collect();
        let mean = |figure: &dyn Fn(&Row) -> Option<f64>| {
            rows.iter().map(|row| figure(row)).collect::<Option<Vec<_>>>().and_then(geometric_mean)
        };
        let external = rows.iter().filter_map(|row| Some(row.survey.as_ref()?.at_peak?.external));
        let external: Vec<f64> = external.collect();
        let mut remarks: Vec<String> = rows.iter().flat_map(|row| row.notes.clone()).collect();
        remarks.iter_mut().for_each(|note| *note = note.split(" (").next().unwrap_or_default().to_owned());
        remarks.sort();
        remarks.dedup();
        Overall {
            allocator: rows[0].allocator,
            ns: mean(&Row::ns),
            p999: mean(&|row| row.latency.as_ref().map(|q| q.p999)),
            smallest: mean(&|row| row.smallest),
            worst: rows.iter().filter_map(|row| row.smallest).reduce(f64::max),
            external: (!external.is_empty()).then(|| external.iter().sum::<f64>() / external.len() as f64),
            remarks,
        }
    };
    (0..count).map(of).collect()
}

/// The cells' heads, but for the name in front and the remarks behind.
const HEADS: [&str; 6] = ["ns/op", "vs best", "p99.9", "smallest space", "worst", "external at the peak"];

/// One table: a line for each allocator, by speed.
#[must_use]
pub fn table(lines: &[Overall], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(["allocator"].into_iter().chain(HEADS).chain(["remarks"]));
    for index in 1..=HEADS.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in in_order(lines) {
        let cells = [line.allocator.name.to_owned()].into_iter().chain(cells(line, lines));
        table.add_row(cells.chain([line.remarks.join("; ")]).map(Cell::new));
    }
    table.to_string()
}

fn in_order(lines: &[Overall]) -> Vec<&Overall> {
    let mut lines: Vec<_> = lines.iter().collect();
    let key = |line: &Overall| (line.allocator.class != Class::General, line.ns.unwrap_or(f64::INFINITY));
    lines.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(core::cmp::Ordering::Equal));
    lines
}

fn cells(line: &Overall, lines: &[Overall]) -> [String; HEADS.len()] {
    let best = lines.iter().filter(|line| line.allocator.class == Class::General).filter_map(|line| line.ns);
    let best = best.reduce(f64::min);
    let dash = || "–".to_owned();
    [
        line.ns.map_or_else(|| "slow".to_owned(), three),
        line.ns.zip(best).map_or_else(dash, |(ns, best)| format!("{:.2}x", ns / best)),
        line.p999.map_or_else(dash, time),
        line.smallest.map_or_else(dash, |ratio| format!("{ratio:.3}")),
        line.worst.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        line.external.map_or_else(dash, |share| format!("{share:.2}")),
    ]
}

/// Sentences: what holds of what textbooks say about the policies, and whom to choose.
#[must_use]
pub fn advice(results: &[TraceResult]) -> Vec<String> {
    let lines = overall(results);
    let mut sentences: Vec<String> = claim(&lines).into_iter().collect();
    let mut say = |what: &str, figure: &dyn Fn(&Overall) -> Option<f64>, show: &dyn Fn(f64) -> String| {
        let eligible = |line: &&Overall| {
            let who = |row: &&Row| core::ptr::eq(row.allocator, line.allocator);
            results.iter().all(|result| result.rows.iter().find(who).is_some_and(Row::is_eligible))
        };
        let best = lines.iter().filter(eligible).filter_map(|line| Some((line, figure(line)?)));
        if let Some((line, value)) = best.min_by(|a, b| a.1.total_cmp(&b.1)) {
            sentences.push(format!("For {what} choose {}: {}.", line.allocator.name, show(value)));
        }
    };
    say("speed", &|line| line.ns, &|ns| format!("{} ns an operation", three(ns)));
    say("the least space", &|line| line.smallest, &|ratio| format!("{ratio:.3} times the peak suffices"));
    say("steady times", &|line| line.p999, &|ns| format!("999 of 1000 operations within {}", time(ns)));
    sentences
}

/// "First fit ≈ best fit > worst fit": what the smallest spaces say of it.
fn claim(lines: &[Overall]) -> Option<String> {
    let of = |policy: &str| {
        let line = lines.iter().find(|line| line.allocator.name.strip_prefix("hectare-fit/") == Some(policy));
        line.and_then(|line| line.smallest.or(line.worst))
    };
    let (first, best, worst) = (of("first")?, of("best")?, of("worst")?);
    let level = (first / best - 1.0).abs() <= 0.02;
    let order = if level { "first fit ≈ best fit" } else { "first fit and best fit differ" };
    let last = if worst > first.max(best) * 1.02 { "holds" } else { "does not hold" };
    Some(format!(
        "The claim: first fit ≈ best fit > worst fit. Measured by the smallest space that suffices, over the peak: \
         first fit {first:.3}, best fit {best:.3} ({order}: {:+.1} %), worst fit {worst:.3} (that it is worse {last}).",
        (first / best - 1.0) * 100.0,
    ))
}
