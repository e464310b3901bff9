//! The table on the terminal.
#![forbid(unsafe_code)]

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{Overall, percent};
use crate::heap::Class;
use crate::report::number::{three, time};

/// The cells' heads, but for the name in front and the remarks behind.
pub(super) const HEADS: [&str; 6] = ["ns/op", "vs best", "p99.9", "longest", "2 MiB usable", "bytes a frame"];

/// One table: a line for each allocator, general ones by speed, then those that do less, then the empty loop.
#[must_use]
pub fn table(overall: &[Overall], width: u16) -> String {
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
    let best = best_ns(overall);
    for line in in_order(overall) {
        let cells = [line.allocator.name.to_owned()].into_iter().chain(cells(line, best));
        table.add_row(cells.chain([line.remarks.join("; ")]).map(Cell::new));
    }
    table.to_string()
}

/// A line's cells under [`HEADS`].
pub(super) fn cells(line: &Overall, best: Option<f64>) -> [String; HEADS.len()] {
    let dash = || "–".to_owned();
    [
        line.ns.map_or_else(|| if line.slow > 0 { "slow".into() } else { dash() }, three),
        match (line.ns, best) {
            (Some(ns), Some(best)) if line.allocator.class != Class::Baseline => format!("{:.2}x", ns / best),
            _ => dash(),
        },
        line.p999.map_or_else(dash, time),
        line.max.map_or_else(dash, time),
        line.usable.map_or_else(dash, |(mean, worst)| {
            if percent(mean) == percent(worst) {
                percent(mean)
            } else {
                format!("{} (≥ {:.0})", percent(mean), worst * 100.0)
            }
        }),
        line.metadata.map_or_else(dash, |bytes| format!("{bytes:.3}")),
    ]
}

/// The figure that ratios are taken from: the fastest that may be recommended.
pub(super) fn best_ns(overall: &[Overall]) -> Option<f64> {
    let of = |lines: &mut dyn Iterator<Item = &Overall>| lines.filter_map(|line| line.ns).reduce(f64::min);
    of(&mut overall.iter().filter(|line| line.eligible)).or_else(|| of(&mut overall.iter()))
}

/// General allocators by speed (the slow last), then those that do less, then the empty loop.
pub(super) fn in_order(overall: &[Overall]) -> Vec<&Overall> {
    let mut lines: Vec<_> = overall.iter().collect();
    let group = |line: &Overall| match line.allocator.class {
        Class::Lesser(_) => 1,
        Class::Baseline => 2,
        _ => 0,
    };
    let key = |line: &Overall| (group(line), line.ns.unwrap_or(f64::INFINITY));
    lines.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(core::cmp::Ordering::Equal));
    lines
}
