//! What replayed address spaces say: a table, advice, a chapter of the HTML page.
#![forbid(unsafe_code)]

mod html;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

pub use html::chapter;

use super::policies;
use super::replay::Checked;
use super::row::Row;
use super::run::TraceResult;
use crate::report::number::{bytes, thousands, three, time};

/// The cells' heads, but for the trace and the settings in front.
const HEADS: [&str; 10] = [
    "faults",
    "of recorded",
    "ns/fault",
    "p99",
    "ns/record",
    "copied",
    "huge pages",
    "tables",
    "peak memory",
    "differences",
];

/// One table: a line for each trace and choice of settings.
#[must_use]
pub fn table(results: &[TraceResult], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(["trace", "settings"].into_iter().chain(HEADS));
    for index in 2..HEADS.len() + 2 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for result in results {
        for row in &result.rows {
            let front = [result.trace.name.clone(), short(row.choice.name).to_owned()];
            table.add_row(front.into_iter().chain(cells(row)).map(Cell::new));
        }
    }
    format!("{table}\n\n{}", policy_table(results, width))
}

/// How often each policy would fault, by memory.
fn policy_table(results: &[TraceResult], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(["trace", "frames"].into_iter().chain(policies::NAMES));
    for index in 1..policies::NAMES.len() + 2 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for result in results {
        for (frames, counts) in &result.policies {
            let front = [result.trace.name.clone(), thousands(*frames as f64)];
            let counts = counts.iter().map(|count| thousands(*count as f64));
            table.add_row(front.into_iter().chain(counts).map(Cell::new));
        }
    }
    table.to_string()
}

/// A name without what all of them begin with.
fn short(name: &str) -> &str {
    name.strip_prefix("hectare-paging/").unwrap_or(name)
}

fn cells(row: &Row) -> [String; HEADS.len()] {
    let found = &row.checked;
    let dash = || "–".to_owned();
    let share = found.handled as f64 / found.recorded.max(1) as f64;
    [
        thousands(found.handled as f64),
        format!("{:.0} %", share * 100.0),
        row.ns_per_fault.map_or_else(dash, three),
        row.latency.as_ref().map_or_else(dash, |q| time(q.p99)),
        row.ns_per_op.map_or_else(dash, three),
        thousands(row.copies() as f64),
        thousands((found.huge + found.promoted) as f64),
        thousands(found.tables_peak as f64),
        bytes(found.frames_peak * 4096),
        found.differences.len().to_string(),
    ]
}

/// Sentences: whether everything came out as it was recorded, and what fault-around saves.
#[must_use]
pub fn advice(results: &[TraceResult]) -> Vec<String> {
    let rows = || results.iter().flat_map(|result| &result.rows);
    let differences: usize = rows().map(|row| row.checked.differences.len()).sum();
    let records: usize = results.iter().map(|result| result.trace.ops.len()).sum();
    let mut sentences = vec![format!(
        "{} records of {} traces: {differences} differences from what the kernel recorded.",
        thousands(records as f64),
        results.len()
    )];
    let faults = |name: &str| -> u64 {
        rows().filter(|row| row.choice.name == name).map(|row| row.checked.handled).sum()
    };
    let around: u64 =
        rows().filter(|row| row.choice.name == "hectare-paging").map(|row| row.checked.around).sum();
    let (usual, alone) = (faults("hectare-paging"), faults("hectare-paging/alone"));
    if usual > 0 && alone > usual {
        sentences.push(format!(
            "Fault-around of 16 pages saves {} of {} recorded faults, and maps {} pages besides. The recorded kernel maps \
             around faults too, so what it saves is not in the traces.",
            thousands((alone - usual) as f64),
            thousands(alone as f64),
            thousands(around as f64),
        ));
    }
    sentences.extend(huge(results));
    let named = |name: &str| policies::NAMES.iter().position(|other| *other == name);
    if let (Some(best), Some(clock), Some(fifo)) = (named("optimal"), named("clock"), named("FIFO")) {
        let sum = |who: usize| -> u64 {
            results.iter().flat_map(|result| &result.policies).map(|(_, counts)| counts[who]).sum()
        };
        let over = |who: usize| (sum(who) as f64 / sum(best).max(1) as f64 - 1.0) * 100.0;
        sentences.push(format!(
            "Page replacement over all traces and sizes: clock faults {:.1} % more often than the optimum, FIFO {:.1} %.",
            over(clock),
            over(fifo)
        ));
    }
    sentences
}

/// What huge pages made of small ones gain, and what huge pages at first touch do.
fn huge(results: &[TraceResult]) -> Option<String> {
    let sum = |name: &str, of: fn(&Checked) -> u64| -> u64 {
        let rows = results.iter().flat_map(|result| &result.rows).filter(|row| row.choice.name == name);
        rows.map(|row| of(&row.checked)).sum()
    };
    let [usual, touch, later] =
        ["hectare-paging", "hectare-paging/huge", "hectare-paging/promote"].map(|name| {
            let peak = |found: &Checked| found.frames_peak;
            let share =
                sum(name, |found| found.at_end.1) as f64 / sum(name, |found| found.at_end.0).max(1) as f64;
            (
                sum(name, |found| found.huge + found.promoted),
                share * 100.0,
                sum(name, |f| f.tables_peak),
                sum(name, peak),
            )
        });
    if usual.3 == 0 || touch.3 == 0 || later.3 == 0 {
        return None;
    }
    let more = |(_, _, _, frames): (u64, f64, u64, u64)| (frames as f64 / usual.3 as f64 - 1.0) * 100.0;
    Some(format!(
        "A background thread makes {} huge pages of small ones: {:.0} % of the pages that processes have at their ends lie in \
        them, for {:+.0} % memory and {} tables instead of {}. At first touch it would be {} huge pages, {:.0} % of the \
        pages, for {:+.0} % memory.",
        thousands(later.0 as f64),
        later.1,
        more(later),
        thousands(later.2 as f64),
        thousands(usual.2 as f64),
        thousands(touch.0 as f64),
        touch.1,
        more(touch),
    ))
}
