//! What the figures of objects say: a table, advice, a chapter of the HTML page.
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
    /// The longest operation of all.
    pub max: Option<f64>,
    /// Geometric mean of the smallest heaps.
    pub smallest: Option<f64>,
    /// Whether it may be recommended.
    pub eligible: bool,
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
        let mut remarks: Vec<String> = rows.iter().flat_map(|row| row.notes.clone()).collect();
        remarks.iter_mut().for_each(|note| *note = note.split(" (").next().unwrap_or_default().to_owned());
        remarks.sort();
        remarks.dedup();
        Overall {
            allocator: rows[0].allocator,
            ns: mean(&Row::ns),
            p999: mean(&|row| row.latency.as_ref().map(|q| q.p999)),
            max: rows.iter().filter_map(|row| Some(row.latency.as_ref()?.max)).reduce(f64::max),
            smallest: mean(&|row| row.smallest),
            eligible: rows.iter().all(|row| row.is_eligible()),
            remarks,
        }
    };
    (0..count).map(of).collect()
}

/// The cells' heads, but for the name in front and the remarks behind.
const HEADS: [&str; 5] = ["ns/op", "vs best", "p99.9", "longest", "smallest heap"];

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

/// General allocators by speed, then those that do less, then the empty loop.
fn in_order(lines: &[Overall]) -> Vec<&Overall> {
    let mut lines: Vec<_> = lines.iter().collect();
    let group = |line: &Overall| match line.allocator.class {
        Class::Lesser(_) => 1,
        Class::Baseline => 2,
        _ => 0,
    };
    lines.sort_by(|a, b| {
        let key = |line: &Overall| line.ns.unwrap_or(f64::INFINITY);
        group(a).cmp(&group(b)).then(key(a).total_cmp(&key(b)))
    });
    lines
}

fn cells(line: &Overall, lines: &[Overall]) -> [String; HEADS.len()] {
    let best = lines.iter().filter(|line| line.eligible).filter_map(|line| line.ns).reduce(f64::min);
    let dash = || "–".to_owned();
    let timed = line.allocator.class != Class::Baseline;
    [
        line.ns.map_or_else(dash, three),
        line.ns.zip(best).filter(|_| timed).map_or_else(dash, |(ns, best)| format!("{:.2}x", ns / best)),
        line.p999.map_or_else(dash, time),
        line.max.map_or_else(dash, time),
        line.smallest.map_or_else(dash, |ratio| format!("{ratio:.3}")),
    ]
}

/// Sentences: whom to choose.
#[must_use]
pub fn advice(results: &[TraceResult]) -> Vec<String> {
    let lines = overall(results);
    let mut sentences = Vec::new();
    let mut say = |what: &str, figure: &dyn Fn(&Overall) -> Option<f64>, show: &dyn Fn(f64) -> String| {
        let best = lines.iter().filter(|line| line.eligible).filter_map(|line| Some((line, figure(line)?)));
        if let Some((line, value)) = best.min_by(|a, b| a.1.total_cmp(&b.1)) {
            sentences.push(format!("For {what} choose {}: {}.", line.allocator.name, show(value)));
        }
    };
    say("speed", &|line| line.ns, &|ns| format!("{} ns an operation", three(ns)));
    say("the least memory", &|line| line.smallest, &|ratio| format!("{ratio:.3} times the peak suffices"));
    say("steadiness", &|line| line.p999, &|ns| format!("99.9 % of operations within {}", time(ns)));
    sentences
}
