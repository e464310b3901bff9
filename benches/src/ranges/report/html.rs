//! The chapter of the page.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::{HEADS, advice, cells, in_order, overall};
use crate::heap::Class;
use crate::ranges::allocators::ALLOCATORS;
use crate::ranges::row::Row;
use crate::ranges::run::{Plan, TraceResult};
use crate::ranges::survey::Sample;
use crate::report::html::escape;
use crate::report::html::plot::{Axis, Bar, Curve, Who, bars, curves};
use crate::report::number::{bytes, thousands, three};
use crate::report::{Chapter, Machine};

/// The chapter of these results.
#[must_use]
pub fn chapter(results: &[TraceResult], machine: &Machine, plan: &Plan) -> Chapter {
    let id = |name: &str| format!("ranges-{name}");
    let mut links: Vec<_> =
        results.iter().map(|result| (id(&result.program.name), result.program.name.clone())).collect();
    links.push((id("method"), "How ranges were measured".into()));
    let mut body = legend(results);
    for result in results {
        body += &section(result);
    }
    let _ = write!(
        body,
        "<section id=ranges-method><h2>How ranges were measured</h2><p>Heap traces give their sizes in units of 16 \
        bytes, traces of address spaces their mappings in pages; no memory is touched. A block that changes its size is \
        freed and taken anew. Times: thread CPU time in a space of twice the peak, the median of {} rounds in which all \
        take turns. Who is twenty times slower than the fastest is cut. Holes are counted from outside, below the \
        highest unit in use. Smallest space: the least in which nothing is refused, by bisection to half a per cent, \
        over the peak; tables lie elsewhere and do not count.</p></section>",
        plan.rounds.phrase()
    );
    Chapter { title: "Which allocator of ranges?", links, head: head(results, machine), body }
}

fn head(results: &[TraceResult], machine: &Machine) -> String {
    let lines = overall(results);
    let ops: usize = results.iter().map(|result| result.program.ops.len()).sum();
    let mut html = format!(
        "<header><div class=eyebrow>Hectare compare</div><h1>Which allocator of ranges?</h1><p class=soft>{} requests of \
        real programs, placed in abstract spaces by every policy, on {}, {}.</p>",
        thousands(ops as f64),
        escape(&machine.processor),
        machine.date,
    );
    for sentence in advice(results) {
        let _ = write!(html, "<p>{}</p>", escape(&sentence));
    }
    html += "<div class=grid><div class=\"wide scroll\"><table><tr><th>Allocator";
    for title in HEADS {
        let _ = write!(html, "<th>{title}");
    }
    html += "<th class=remarks>Remarks</tr>";
    for line in in_order(&lines) {
        let ours = if line.allocator.is_ours() { " class=ours" } else { "" };
        let cells: String = cells(line, &lines).iter().map(|cell| format!("<td>{}", escape(cell))).collect();
        let remarks = escape(&line.remarks.join("; "));
        let name = escape(line.allocator.name);
        let _ = write!(html, "<tr><td{ours}>{name}{cells}<td class=remarks>{remarks}</tr>");
    }
    html + "</table><p class=note>Geometric means of all traces.</p></div></div></header>"
}

fn legend(results: &[TraceResult]) -> String {
    let Some(result) = results.first() else { return String::new() };
    let mut html = String::from("<div class=legend role=group aria-label=\"Allocators shown\">");
    for row in &result.rows {
        let (who, name) = (who(row), escape(row.allocator.name));
        let dot = format!("<b style=\"background:var(--c{})\"></b>", who.color);
        let _ = write!(html, "<button type=button data-a=\"{name}\" aria-pressed=true>{dot}{name}</button>");
    }
    html + "</div><p class=note>A click hides an allocator in every chart.</p>"
}

/// A row's name and colour: one for each.
fn who(row: &Row) -> Who {
    let name = row.allocator.name;
    let color = ALLOCATORS.iter().position(|a| a.name == name).unwrap_or(11) % 12;
    Who { name, color, ours: row.allocator.is_ours() }
}

fn section(result: &TraceResult) -> String {
    let program = &result.program;
    let name = escape(&program.name);
    let mut html = format!(
        "<section id=\"ranges-{name}\"><div class=head><h2>{name}</h2><p class=soft>{}{} operations, at most {} blocks and {} live.</p></div>",
        result.about.map(|about| format!("{}. ", escape(about))).unwrap_or_default(),
        thousands(program.ops.len() as f64),
        thousands(program.blocks as f64),
        bytes(program.peak.0 * program.unit),
    );
    let figures = [
        ("Time", "Nanoseconds an operation.", by(result, &Row::ns, &three), ""),
        (
            "Smallest space",
            "What suffices, over the peak of live units.",
            by(result, &|row| row.smallest, &|ratio| format!("{ratio:.3}")),
            "",
        ),
        ("Holes over time", "Free ranges below the highest unit in use.", holes(result), " class=wide"),
        (
            "External fragmentation over time",
            "1 − the longest hole over all holes, below the highest unit in use. It ranks policies backwards: worst \
             fit's holes are few and alike. What counts is the smallest space.",
            over_time(result, &Axis::with_step(1.02, 0.25, |v| format!("{v:.2}")), &|s| s.external),
            " class=wide",
        ),
    ];
    html += "<div class=grid>";
    for (title, caption, content, class) in figures {
        let _ = write!(
            html,
            "<figure{class}><h3>{title}</h3><figcaption>{caption}</figcaption>{content}</figure>"
        );
    }
    html + "</div></section>"
}

fn by(result: &TraceResult, figure: &dyn Fn(&Row) -> Option<f64>, show: &dyn Fn(f64) -> String) -> String {
    let mut rows: Vec<&Row> = result.rows.iter().collect();
    let key = |row: &Row| (row.allocator.class != Class::General, figure(row).unwrap_or(f64::INFINITY));
    rows.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(core::cmp::Ordering::Equal));
    let none = |row: &Row| match &row.speed {
        Some(speed) if speed.slow => format!("slow, {}+ ns", three(speed.ns_per_op)),
        _ if row.beyond_cap => "&gt; 8".into(),
        _ => "–".into(),
    };
    let bar = |row: &&Row| Bar {
        who: who(row),
        value: figure(row),
        text: figure(row).map_or_else(|| none(row), show),
        cut: false,
        heading: None,
    };
    bars(&rows.iter().map(bar).collect::<Vec<_>>())
}

fn holes(result: &TraceResult) -> String {
    let samples = result.rows.iter().filter_map(|row| row.survey.as_ref()).flat_map(|s| &s.samples);
    let most = samples.map(|sample| sample.holes).max().unwrap_or(1).max(4) as f64;
    over_time(result, &Axis::linear(most * 1.05, thousands), &|sample| sample.holes as f64)
}

fn over_time(result: &TraceResult, y: &Axis, figure: &dyn Fn(&Sample) -> f64) -> String {
    let x = Axis::range(
        0.0,
        1.0,
        vec![(0.0, "start".into()), (0.5, "half of the calls".into()), (1.0, "end".into())],
    );
    let curve = |row: &Row| {
        let samples = &row.survey.as_ref().filter(|_| row.complete)?.samples;
        let count = samples.len().max(1) as f64;
        let points = samples.iter().enumerate().map(|(i, s)| ((i + 1) as f64 / count, figure(s)));
        Some(Curve { who: Some(who(row)), points: points.collect() })
    };
    curves(&x, y, &result.rows.iter().filter_map(curve).collect::<Vec<_>>(), false)
}
