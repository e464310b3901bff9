//! The plots of one trace: bars, percentiles, and the memory over time.
#![forbid(unsafe_code)]

use core::fmt::Write;

use crate::frames::row::Row;
use crate::frames::subject::FRAME;
use crate::frames::survey::Sample;
use crate::heap::Class;
use crate::report::html::escape;
use crate::report::html::plot::{Axis, Bar, Curve, Who, bars, curves};
use crate::report::number::{bytes, three, time};

pub(super) type Rows<'a> = Vec<(Who, &'a Row)>;

/// Nanoseconds an operation.
pub(super) fn speed(rows: &Rows<'_>) -> String {
    let key =
        |row: &Row| row.speed.as_ref().map_or(f64::INFINITY, |s| if s.slow { 1e12 } else { s.ns_per_op });
    by(rows, key, |row| match &row.speed {
        Some(speed) if speed.slow => (Some(f64::MAX), format!("slow, {}+", three(speed.ns_per_op)), true),
        Some(speed) => (Some(speed.ns_per_op), three(speed.ns_per_op), false),
        None => (None, "did not run".into(), false),
    })
}

/// What of the free memory is usable as 2 MiB at the end, most first.
pub(super) fn usable(rows: &Rows<'_>) -> String {
    let rows: Rows<'_> =
        rows.iter().filter(|(_, row)| row.allocator.class != Class::Baseline).copied().collect();
    let key = |row: &Row| row.usable_2m().map_or(f64::INFINITY, |share| -share);
    by(&rows, key, |row| match row.usable_2m() {
        Some(share) => (Some(share), super::percent(share), false),
        None => (None, "not known".into(), false),
    })
}

fn by(
    rows: &Rows<'_>,
    key: impl Fn(&Row) -> f64,
    bar: impl Fn(&Row) -> (Option<f64>, String, bool),
) -> String {
    let group = |row: &Row| match row.allocator.class {
        Class::Lesser(_) => 1,
        Class::Baseline => 2,
        _ => 0,
    };
    let mut sorted = rows.clone();
    sorted.sort_by(|a, b| group(a.1).cmp(&group(b.1)).then(key(a.1).total_cmp(&key(b.1))));
    let mut before = 0;
    let make = |(who, row): &(Who, &Row)| {
        let (value, text, cut) = bar(row);
        let here = group(row);
        let heading = (here != core::mem::replace(&mut before, here)).then_some(if here == 1 {
            "these do less"
        } else {
            "the replay itself"
        });
        Bar { who: *who, value, text, cut, heading }
    };
    bars(&sorted.iter().map(make).collect::<Vec<_>>())
}

/// How long an operation takes at most, for all but a share of them.
pub(super) fn latency(rows: &Rows<'_>) -> String {
    let longest = rows
        .iter()
        .filter_map(|(_, row)| row.latency.as_ref())
        .fold(100.0, |most, q| q.curve.iter().filter(|p| p.0 >= 0.99e-5).map(|p| p.1).fold(most, f64::max));
    let shares = [(1.0, "0"), (0.1, "90"), (0.01, "99"), (1e-3, "99.9"), (1e-4, "99.99"), (1e-5, "99.999 %")];
    let x = Axis::log(1.0, 1e-5, Vec::new()).with_ticks(shares.map(|(at, text)| (at, text.to_owned())));
    let y = Axis::log(2.0, longest * 1.2, (1..9).map(|e| 10_f64.powi(e)).map(|ns| (ns, time(ns))).collect());
    let curve = |(who, row): &(Who, &Row)| {
        let points = row.latency.as_ref()?.curve.iter().filter(|(rest, _)| *rest >= 0.99e-5);
        Some(Curve { who: Some(*who), points: points.map(|&(rest, ns)| (rest, ns.max(2.0))).collect() })
    };
    let drawn = rows.iter().filter(|(_, row)| row.allocator.class != Class::Baseline);
    curves(&x, &y, &drawn.filter_map(curve).collect::<Vec<_>>(), false)
}

/// The share of the free frames that is usable as 2 MiB; the area behind is the share of the memory in use.
pub(super) fn usable_over_time(rows: &Rows<'_>) -> String {
    let y = Axis::with_step(1.02, 0.25, super::percent);
    let mut drawn = Vec::new();
    if let Some((_, row)) = rows.iter().find(|(_, row)| row.complete) {
        drawn.push(Curve {
            who: None,
            points: over_time(row, |s| s.live as f64 / (s.live + s.free).max(1) as f64),
        });
    }
    let seen = rows.iter().filter(|(_, row)| row.complete);
    drawn.extend(
        seen.map(|(who, row)| Curve { who: Some(*who), points: over_time(row, |s| 1.0 - s.unusable_2m) }),
    );
    curves(&time_axis(), &y, &drawn, false)
}

/// For each allocator the free memory by order over time: rows are orders, columns time.
pub(super) fn by_order(rows: &Rows<'_>) -> String {
    let mut html = String::new();
    for (who, row) in rows.iter().filter(|(_, row)| row.complete) {
        let Some(survey) = &row.survey else { continue };
        let width = survey.samples.len();
        // The largest order on top. The darkness is the share of the free memory, one hexadecimal digit.
        let orders = survey.samples.first().map_or(0, |sample| sample.blocks.len());
        let mut cells = String::with_capacity(width * orders);
        for order in (0..orders).rev() {
            for sample in &survey.samples {
                let share = (sample.blocks[order] << order) as f64 / sample.free.max(1) as f64;
                let level = (share.sqrt() * 15.0).ceil().min(15.0) as u32;
                cells.push(char::from_digit(level, 16).unwrap_or('f'));
            }
        }
        let ours = if who.ours { " style=\"color:var(--accent)\"" } else { "" };
        let name = escape(who.name);
        let _ = write!(
            html,
            "<div data-a=\"{name}\"><h4{ours}>{name}</h4><canvas data-w={width} data-m=\"{cells}\" role=img \
            style=\"image-rendering:pixelated\" aria-label=\"Free memory by order, {name}\"></canvas></div>"
        );
    }
    html
}

/// The free blocks by order at the end, as `/proc/buddyinfo` shows them.
pub(super) fn buddyinfo(rows: &Rows<'_>) -> String {
    let mut html = String::from("<table><tr><th>Free blocks at the end, of");
    for order in 0..crate::frames::shadow::ORDERS {
        let _ = write!(html, "<th>{}", bytes((FRAME << order) as u64));
    }
    html += "</tr>";
    for (who, row) in rows {
        let Some(end) = row.end() else { continue };
        let ours = if who.ours { " class=ours" } else { "" };
        let cells: String = end.blocks.iter().map(|count| format!("<td>{count}")).collect();
        let _ = write!(html, "<tr data-a=\"{0}\"><td{ours}>{0}{cells}</tr>", escape(who.name));
    }
    html + "</table>"
}

fn over_time(row: &Row, figure: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let samples = row.survey.as_ref().map_or(&[][..], |survey| &survey.samples);
    let count = samples.len().max(1) as f64;
    samples.iter().enumerate().map(|(i, sample)| ((i + 1) as f64 / count, figure(sample))).collect()
}

fn time_axis() -> Axis {
    Axis::range(0.0, 1.0, vec![(0.0, "start".into()), (0.5, "half of the calls".into()), (1.0, "end".into())])
}
