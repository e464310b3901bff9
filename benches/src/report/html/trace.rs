//! One program: speed, steadiness, memory, fragmentation, the heap itself.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::plot::{Axis, Bar, Curve, Who, bars, curves};
use super::{escape, who};
use crate::heap::{Class, Row, Sample, TraceResult};
use crate::report::advice::for_trace;
use crate::report::number::{bytes, thousands, three, time};

type Rows<'a> = Vec<(Who, &'a Row)>;

pub(super) fn section(result: &TraceResult) -> String {
    let rows: Rows<'_> = result.rows.iter().enumerate().map(|(i, row)| (who(row, i), row)).collect();
    let name = escape(&result.name);
    let mut html = format!("<section id=\"{name}\"><div class=head><h2>{name}</h2>");
    let _ = write!(
        html,
        "<span class=soft>{}{} calls, at most {} objects and {} live</span></div>",
        result.about.map(|about| format!("{about}; ")).unwrap_or_default(),
        thousands(result.ops as f64),
        thousands(result.objects as f64),
        bytes(result.peak_bytes)
    );
    if let Some(advice) = for_trace(result) {
        let _ = write!(html, "<p>{}</p>", escape(&advice));
    }
    html += "<div class=grid>";
    html += &figure(
        "Time",
        "Nanoseconds of CPU time an operation, median of the rounds. Less is better.",
        &speed(&rows),
    );
    html += &figure(
        "Smallest heap",
        "The least arena that never fails, with all state of the allocator, over the peak of requested bytes. The bar is \
        what goes beyond the peak.",
        &smallest(&rows),
    );
    html += &figure(
        "Latency",
        "How long an operation takes at most (up), for all but the given share of them (across).",
        &latency(&rows),
    );
    html += &figure(
        "Memory over time",
        "Highest extent handed out so far; the area is what the program has asked for and not given back.",
        &memory(&rows),
    );
    let external = fragmentation(&rows, |sample| sample.external);
    html += &figure(
        "External fragmentation over time",
        "1 − largest hole / free bytes, below the highest extent. Misleading alone: one large hole looks good.",
        &external,
    );
    html += &figure(
        "Unusable for 2 MiB, over time",
        "The share of the free bytes that lies in holes below 2 MiB.",
        &fragmentation(&rows, |sample| sample.unusable_2m),
    );
    html += &figure(
        "Holes over time",
        "How many holes of 64 bytes and more lie below the highest extent.",
        &holes(&rows),
    );
    html += &maps(&rows, result.peak_bytes);
    html + "</div></section>"
}

fn figure(title: &str, caption: &str, content: &str) -> String {
    format!("<figure><h3>{title}</h3><figcaption>{caption}</figcaption>{content}</figure>")
}

fn by<'a>(rows: &Rows<'a>, key: impl Fn(&Row) -> f64) -> Rows<'a> {
    let mut sorted: Vec<(Who, &Row)> = rows.clone();
    let group = |row: &Row| match row.allocator.class {
        Class::Lesser(_) => 1,
        Class::Baseline => 2,
        _ => 0,
    };
    sorted.sort_by(|a, b| group(a.1).cmp(&group(b.1)).then(key(a.1).total_cmp(&key(b.1))));
    sorted
}

/// Bars with a heading where those begin that do less.
fn bars_of(sorted: &Rows<'_>, bar: impl Fn(&Row) -> Option<(Option<f64>, String, bool)>) -> String {
    let mut seen = (false, false);
    let make = |(who, row): &(Who, &Row)| {
        let (value, text, cut) = bar(row)?;
        let heading = match row.allocator.class {
            Class::Lesser(_) if !core::mem::replace(&mut seen.0, true) => Some("these do less"),
            Class::Baseline if !core::mem::replace(&mut seen.1, true) => Some("the replay itself"),
            _ => None,
        };
        Some(Bar { who: *who, value, text, cut, heading })
    };
    bars(&sorted.iter().filter_map(make).collect::<Vec<_>>())
}

fn speed(rows: &Rows<'_>) -> String {
    let key =
        |row: &Row| row.speed.as_ref().map_or(f64::INFINITY, |s| if s.slow { 1e12 } else { s.ns_per_op });
    bars_of(&by(rows, key), |row| match &row.speed {
        Some(speed) if speed.slow => {
            Some((Some(f64::MAX), format!("slow, {}+", three(speed.ns_per_op)), true))
        }
        Some(speed) => Some((Some(speed.ns_per_op), three(speed.ns_per_op), false)),
        None => Some((None, "did not run".into(), false)),
    })
}

fn smallest(rows: &Rows<'_>) -> String {
    let key =
        |row: &Row| row.memory.smallest.unwrap_or(if row.memory.beyond_cap { 9.0 } else { f64::INFINITY });
    bars_of(&by(rows, key), |row| match (row.memory.smallest, row.allocator.class) {
        (_, Class::Baseline | Class::Hosted) => None,
        (Some(ratio), _) => Some((Some(ratio - 1.0), format!("{ratio:.3}"), false)),
        (None, _) if row.memory.beyond_cap => Some((Some(f64::MAX), "&gt; 8".into(), true)),
        (None, _) => Some((None, "not searched".into(), false)),
    })
}

fn latency(rows: &Rows<'_>) -> String {
    let drawn: Vec<_> = rows.iter().filter(|(_, row)| row.allocator.class != Class::Baseline).collect();
    let longest = drawn
        .iter()
        .filter_map(|(_, row)| row.latency.as_ref())
        .map(|q| q.curve.iter().filter(|p| p.0 >= 0.99e-5).map(|p| p.1).fold(100.0, f64::max))
        .fold(100.0, f64::max);
    let shares = [(1.0, "0"), (0.1, "90"), (0.01, "99"), (1e-3, "99.9"), (1e-4, "99.99"), (1e-5, "99.999 %")];
    let x = Axis::log(1.0, 1e-5, Vec::new()).with_ticks(shares.map(|(at, text)| (at, text.to_owned())));
    let y = Axis::log(4.0, longest * 1.2, (1..9).map(|e| 10_f64.powi(e)).map(|ns| (ns, time(ns))).collect());
    let curve = |(who, row): &&(Who, &Row)| {
        let points = row.latency.as_ref()?.curve.iter().filter(|(rest, _)| *rest >= 0.99e-5);
        Some(Curve { who: Some(*who), points: points.map(|&(rest, ns)| (rest, ns.max(4.0))).collect() })
    };
    curves(&x, &y, &drawn.iter().filter_map(curve).collect::<Vec<_>>(), false)
}

/// The general allocators whose memory is seen from outside.
fn seen<'a, 'b>(rows: &'b Rows<'a>) -> impl Iterator<Item = &'b (Who, &'a Row)> {
    rows.iter().filter(|(_, row)| row.memory.peak_used.is_some() && row.allocator.class == Class::General)
}

fn over_time(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let count = samples.len().max(1) as f64;
    samples.iter().enumerate().map(|(i, sample)| ((i + 1) as f64 / count, figure(sample))).collect()
}

fn time_axis() -> Axis {
    Axis::range(0.0, 1.0, vec![(0.0, "start".into()), (0.5, "half of the calls".into()), (1.0, "end".into())])
}

fn memory(rows: &Rows<'_>) -> String {
    let Some((_, first)) = seen(rows).next() else { return String::new() };
    let peak = first.memory.peak_live as f64;
    let used = |row: &Row| row.memory.peak_used.unwrap_or_default() as f64;
    // Whoever fills the arena from its top shows the whole arena: not a reason to flatten the others.
    let top =
        seen(rows).map(|(_, row)| used(row)).filter(|used| *used < 2.0 * peak).fold(1.2 * peak, f64::max);
    let y = Axis::bytes(top * 1.08, |b| bytes(b as u64));
    let mut drawn = vec![Curve { who: None, points: over_time(&first.memory.samples, |s| s.live as f64) }];
    drawn.extend(seen(rows).map(|(who, row)| Curve {
        who: Some(*who),
        points: over_time(&row.memory.samples, |s| s.extent as f64),
    }));
    curves(&time_axis(), &y, &drawn, false)
}

fn fragmentation(rows: &Rows<'_>, figure: impl Fn(&Sample) -> f64) -> String {
    let y = Axis::with_step(1.02, 0.25, |share| format!("{:.0} %", share * 100.0));
    let drawn: Vec<_> = seen(rows)
        .map(|(who, row)| Curve { who: Some(*who), points: over_time(&row.memory.samples, &figure) })
        .collect();
    curves(&time_axis(), &y, &drawn, true)
}

fn holes(rows: &Rows<'_>) -> String {
    let most = seen(rows).flat_map(|(_, row)| row.memory.samples.iter().map(|sample| sample.holes)).max();
    let y = Axis::linear(most.unwrap_or(0).max(4) as f64 * 1.08, thousands);
    let drawn: Vec<_> = seen(rows)
        .map(|(who, row)| Curve {
            who: Some(*who),
            points: over_time(&row.memory.samples, |s| s.holes as f64),
        })
        .collect();
    curves(&time_axis(), &y, &drawn, true)
}

/// Heap maps, all to one scale: the largest extent of those that stay below three times the peak.
fn maps(rows: &Rows<'_>, peak: u64) -> String {
    let spans =
        seen(rows).filter_map(|(_, row)| Some((row.memory.peak_used?).saturating_sub(row.memory.map.first)));
    let span = spans.filter(|span| *span < 2 * peak).max().unwrap_or(2 * peak).max(peak);
    let mut html = String::new();
    for (who, row) in seen(rows) {
        let map = &row.memory.map;
        if map.columns == 0 {
            continue;
        }
        let columns = (span.div_ceil(map.column_bytes.max(1)) as usize).min(map.columns);
        // One hexadecimal digit is enough for the eye.
        let rows = map.cells.as_bytes().chunks(map.columns * 2);
        let cells: String =
            rows.flat_map(|row| row.chunks(2).take(columns)).map(|cell| char::from(cell[0])).collect();
        let ours = if who.ours { " style=\"color:var(--accent)\"" } else { "" };
        let name = escape(who.name);
        let _ = write!(
            html,
            "<div data-a=\"{name}\"><h4{ours}>{name}</h4><canvas data-w={columns} data-m=\"{cells}\" role=img \
            aria-label=\"Heap map of {name}\"></canvas></div>"
        );
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<figure class=wide><h3>Heap maps</h3><figcaption>Time runs down, addresses run right, {} of them from where most blocks lie; the \
        darker (at night: the brighter), the more of that place is live. Gaps that stay are \
        fragmentation.</figcaption><div class=maps>{html}</div></figure>",
        bytes(span)
    )
}
