//! The chapter of the page.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::{HEADS, advice, cells, in_order, overall};
use crate::heap::Class;
use crate::objects::allocators::ALLOCATORS;
use crate::objects::row::Row;
use crate::objects::run::{Plan, TraceResult};
use crate::report::html::escape;
use crate::report::html::plot::{Axis, Bar, Curve, Who, bars, curves};
use crate::report::number::{bytes, thousands, three, time};
use crate::report::{Chapter, Machine};

/// The chapter of these results.
#[must_use]
pub fn chapter(results: &[TraceResult], machine: &Machine, plan: &Plan) -> Chapter {
    let id = |name: &str| format!("objects-{name}");
    let mut links: Vec<_> =
        results.iter().map(|result| (id(&result.program.name), result.program.name.clone())).collect();
    links.push((id("method"), "How objects were measured".into()));
    let mut body = legend(results);
    for result in results {
        body += &section(result);
    }
    let _ = write!(
        body,
        "<section id=objects-method><h2>How objects were measured</h2><p>k-files is every request of a program's process \
        tree to Linux's slab caches and to kmalloc, in order, with the CPU. Caches become caches of the same object size \
        where an allocator has such; all else is asked of its heap. Objects are aligned to a word. One thread, thread \
        CPU time, the median of {} rounds in which all take turns; the first and the last byte of each object are \
        written, and all of those asked for as zeros. For magazines of many CPUs the one thread is one recorded CPU after \
        the other. The arena is twice the peak and 16 MiB, and was touched before. A pass in a process of its own checks \
        overlap, alignment and contents, that nothing is refused with half of the arena free, and that every frame is \
        back in the end. slabmalloc's undefined behaviour is kept in processes of its own, also when it is timed. \
        Smallest heap: the least arena in which nothing is refused, by bisection to half a per cent, with the \
        allocator's own values, over the peak of live bytes; our caches are reaped before a refusal, as a kernel does \
        it. Bulk frees were not recorded, so some objects look alive longer than they were.</p></section>",
        plan.rounds.phrase()
    );
    Chapter { title: "Which object caches?", links, head: head(results, machine), body }
}

fn head(results: &[TraceResult], machine: &Machine) -> String {
    let lines = overall(results);
    let ops: usize = results.iter().map(|result| result.program.count).sum();
    let mut html = format!(
        "<header><div class=eyebrow>Hectare compare</div><h1>Which object caches?</h1><p class=soft>{} requests for \
        kernel objects, recorded from Linux, on {}, {}.</p>",
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
        "<section id=\"objects-{name}\"><div class=head><h2>{name}</h2><p class=soft>{}{} requests to {} caches on {} CPUs, \
        at most {} objects and {} live.</p></div>",
        result.about.map(|about| format!("{}. ", escape(about))).unwrap_or_default(),
        thousands(program.count as f64),
        program.caches.len(),
        program.cpus,
        thousands(program.objects as f64),
        bytes(program.peak),
    );
    let figures = [
        ("Time", "Nanoseconds an operation.", by(result, &Row::ns, &three)),
        (
            "Smallest heap",
            "What suffices, over the peak of live bytes.",
            by(result, &|row| row.smallest, &|ratio| format!("{ratio:.3}")),
        ),
        (
            "Latency",
            "How long an operation takes at most (up), for all but the given share of them (across).",
            latency(result),
        ),
    ];
    html += "<div class=grid>";
    for (title, caption, content) in figures {
        let _ = write!(html, "<figure><h3>{title}</h3><figcaption>{caption}</figcaption>{content}</figure>");
    }
    html + "</div></section>"
}

fn by(result: &TraceResult, figure: &dyn Fn(&Row) -> Option<f64>, show: &dyn Fn(f64) -> String) -> String {
    let mut rows: Vec<&Row> = result.rows.iter().collect();
    let key = |row: &Row| figure(row).unwrap_or(f64::INFINITY);
    rows.sort_by(|a, b| {
        (a.allocator.class != Class::General)
            .cmp(&(b.allocator.class != Class::General))
            .then(key(a).total_cmp(&key(b)))
    });
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

fn latency(result: &TraceResult) -> String {
    let rows: Vec<(&Row, &[(f64, f64)])> = result
        .rows
        .iter()
        .filter_map(|row| Some((row, &row.latency.as_ref()?.curve[..])))
        .filter(|(row, _)| row.allocator.class != Class::Baseline)
        .collect();
    let most = rows.iter().flat_map(|(_, curve)| curve.iter().map(|point| point.1)).fold(10.0, f64::max);
    let shares = [(0.0, "half"), (2.0, "1 %"), (3.0, "0.1 %"), (4.0, "0.01 %"), (5.0, "0.001 %")];
    let x = Axis::range(0.0, 5.0, shares.map(|(at, text)| (at, text.to_owned())).to_vec());
    let ticks = (0..8).map(|power| (10_f64.powi(power), time(10_f64.powi(power)))).collect();
    let y = Axis::log(1.0, most, ticks);
    let curve = |&(row, points): &(&Row, &[(f64, f64)])| {
        let points = points.iter().map(|&(rest, ns)| (-rest.log10(), ns.max(1.0)));
        Curve { who: Some(who(row)), points: points.filter(|point| point.0 <= 5.0).collect() }
    };
    curves(&x, &y, &rows.iter().map(curve).collect::<Vec<_>>(), false)
}
