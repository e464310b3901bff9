//! The table on the terminal.
#![forbid(unsafe_code)]

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::number::{three, time};
use super::overall::Overall;
use crate::heap::Class;

/// One table: a line for each allocator, general ones by speed, then those that do less, then the empty loop.
#[must_use]
pub fn table(overall: &[Overall], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    let heads = ["allocator", "ns/op", "vs best", "p99.9", "longest", "used", "smallest heap", "remarks"];
    table.set_header(heads);
    for index in 1..7 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let best = best_ns(overall);
    for line in in_order(overall) {
        let speed = match (line.ns, line.slow) {
            (Some(ns), _) => three(ns),
            (None, 0) => "–".into(),
            (None, _) => "slow".into(),
        };
        let ratio = |value: Option<f64>| value.map_or("–".into(), |r| format!("{r:.2}"));
        let smallest = match (line.smallest, line.smallest_worst) {
            (Some(mean), Some(worst)) if worst > mean * 1.005 => format!("{mean:.3} (≤ {worst:.2})"),
            (Some(mean), _) => format!("{mean:.3}"),
            _ if line.beyond_cap > 0 => "> 8".into(),
            _ => "–".into(),
        };
        table.add_row([
            Cell::new(line.allocator.name),
            Cell::new(speed),
            Cell::new(match (line.ns, best) {
                (Some(ns), Some(best)) if line.allocator.class != Class::Baseline => {
                    format!("{:.2}x", ns / best)
                }
                _ => "–".into(),
            }),
            Cell::new(line.p999.map_or("–".into(), time)),
            Cell::new(line.max.map_or("–".into(), time)),
            Cell::new(ratio(line.used)),
            Cell::new(smallest),
            Cell::new(line.remarks.join("; ")),
        ]);
    }
    table.to_string()
}

/// The figure that ratios are taken from: the fastest that may be recommended.
pub(super) fn best_ns(overall: &[Overall]) -> Option<f64> {
    let eligible = overall.iter().filter(|line| line.eligible).filter_map(|line| line.ns).reduce(f64::min);
    eligible.or_else(|| overall.iter().filter_map(|line| line.ns).reduce(f64::min))
}

/// General allocators by speed (the slow last), then those that do less, then the empty loop.
pub(super) fn in_order(overall: &[Overall]) -> Vec<&Overall> {
    let mut lines: Vec<_> = overall.iter().collect();
    lines.sort_by(|a, b| {
        let key = |line: &Overall| (group(line.allocator.class), line.ns.unwrap_or(f64::INFINITY));
        let ((ga, na), (gb, nb)) = (key(a), key(b));
        ga.cmp(&gb).then(na.total_cmp(&nb))
    });
    lines
}

fn group(class: Class) -> u8 {
    match class {
        Class::General | Class::Hosted | Class::Broken => 0,
        Class::Lesser(_) => 1,
        Class::Baseline => 2,
    }
}
