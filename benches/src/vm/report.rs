//! What replayed address spaces say: a table, advice, a chapter of the HTML page.
#![forbid(unsafe_code)]

mod html;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

pub use html::chapter;

use super::policies;
use super::row::Row;
use super::run::TraceResult;
use crate::report::number::{bytes, thousands, three, time};

/// The cells' heads, but for the trace and the settings in front.
const HEADS: [&str; 9] = [
    "faults",
    "of recorded",
    "ns/fault",
    "p99",
    "ns/record",
    "copied",
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
