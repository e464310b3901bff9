//! The chapter of the page.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::advice::for_trace;
use super::curves::{Rows, buddyinfo, by_order, latency, speed, usable, usable_over_time};
use super::method::method;
use super::table::{HEADS, best_ns, cells, in_order};
use super::{Overall, overall, percent, ranking};
use crate::frames::allocators::ALLOCATORS;
use crate::frames::row::Row;
use crate::frames::run::{Plan, TraceResult};
use crate::frames::subject::FRAME;
use crate::heap::Class;
use crate::report::html::escape;
use crate::report::html::plot::Who;
use crate::report::number::{bytes, thousands, three, time};
use crate::report::{Chapter, Machine};

/// The chapter of these results.
#[must_use]
pub fn chapter(results: &[TraceResult], machine: &Machine, plan: &Plan) -> Chapter {
    let id = |name: &str| format!("frames-{name}");
    let mut links: Vec<_> = results.iter().map(|result| (id(&result.name), result.name.clone())).collect();
    links.push((id("method"), "How frames were measured".into()));
    let mut body = legend(results);
    for result in results {
        body += &section(result);
    }
    body += &method(plan);
    Chapter { title: "Which page-frame allocator?", links, head: head(results, machine), body }
}

fn head(results: &[TraceResult], machine: &Machine) -> String {
    let lines = overall(results);
    let ops: usize = results.iter().map(|result| result.ops).sum();
    let best = best_ns(&lines);
    let mut html = format!(
        "<header><div class=eyebrow>Hectare compare</div><h1>Which page-frame allocator?</h1><p class=soft>{} requests \
        for page frames, recorded from Linux and made to age a memory, replayed on {} ({} processors, {}), {}.</p>{}",
        thousands(ops as f64),
        escape(&machine.processor),
        machine.processors,
        escape(&machine.system),
        machine.date,
        cards(&lines),
    );
    html += "<div class=grid><div class=\"wide scroll\"><table><tr><th>Allocator";
    for title in HEADS {
        let _ = write!(html, "<th>{title}");
    }
    html += "<th class=remarks>Remarks</tr>";
    for line in in_order(&lines) {
        let ours = if line.allocator.is_ours() { " class=ours" } else { "" };
        let cells: String = cells(line, best).iter().map(|cell| format!("<td>{}", escape(cell))).collect();
        let remarks = escape(&line.remarks.join("; "));
        let _ = write!(
            html,
            "<tr><td{ours}>{}{cells}<td class=remarks>{remarks}</tr>",
            escape(line.allocator.name)
        );
    }
    html + "</table><p class=note>Times are geometric means of all traces. 2 MiB usable: the share of the free frames \
        that lies in free, aligned blocks of 2 MiB at the end of a trace, mean (and worst) of all. Bytes a frame: the \
        allocator's own value and tables.</p></div></div></header>"
}

fn cards(lines: &[Overall]) -> String {
    let lines: Vec<&Overall> = lines.iter().filter(|line| line.eligible).collect();
    let card = |title: &str, ranked: Vec<(usize, f64)>, say: &dyn Fn(f64) -> String| {
        let Some(&(first, figure)) = ranked.first() else { return String::new() };
        let name = |i: usize| escape(lines[i].allocator.name);
        let next = ranked.get(1).map(|&(i, figure)| format!(" Next: {}, {}.", name(i), say(figure)));
        format!(
            "<div class=card><div class=soft>{title}</div><div class=name>{}</div><p class=why>{}.{}</p></div>",
            name(first),
            say(figure),
            next.unwrap_or_default()
        )
    };
    let count = lines.len();
    let speed =
        card("Fastest", ranking(count, |i| lines[i].ns), &|ns| format!("{} ns an operation", three(ns)));
    let huge = ranking(count, |i| lines[i].usable.map(|usable| 1.0 - usable.0));
    let huge = card("Most huge pages", huge, &|rest| format!("{} usable as 2 MiB", percent(1.0 - rest)));
    let steady = card("Steadiest", ranking(count, |i| lines[i].p999), &|ns| {
        format!("99.9 % of operations within {}", time(ns))
    });
    format!("<div class=cards>{speed}{huge}{steady}</div>")
}

fn legend(results: &[TraceResult]) -> String {
    let Some(result) = results.first() else { return String::new() };
    let mut html = String::from("<div class=legend role=group aria-label=\"Allocators shown\">");
    for row in result.rows.iter().filter(|row| row.allocator.class != Class::Baseline) {
        let (who, name) = (who(row), escape(row.allocator.name));
        let dot = format!("<b style=\"background:var(--c{})\"></b>", who.color);
        let _ = write!(html, "<button type=button data-a=\"{name}\" aria-pressed=true>{dot}{name}</button>");
    }
    html + "</div><p class=note>A click hides an allocator in every chart.</p>"
}

/// A row's name and colour: two greens for ours, one of nine for each peer, grey for the empty loop.
fn who(row: &Row) -> Who {
    let (name, ours) = (row.allocator.name, row.allocator.is_ours());
    let before = ALLOCATORS.iter().take_while(|a| a.name != name).filter(|a| a.is_ours() == ours).count();
    let color = match row.allocator.class {
        Class::Baseline => 11,
        _ if ours => before % 2,
        _ => 2 + before % 9,
    };
    Who { name, color, ours }
}

fn section(result: &TraceResult) -> String {
    let rows: Rows<'_> = result.rows.iter().map(|row| (who(row), row)).collect();
    let name = escape(&result.name);
    let size = |frames: u64| bytes(frames * FRAME as u64);
    let mut html = format!("<section id=\"frames-{name}\"><div class=head><h2>{name}</h2>");
    let _ = write!(
        html,
        "<span class=soft>{}{} requests, {} live at most, in {}{}</span></div>",
        result.about.map(|about| format!("{about}; ")).unwrap_or_default(),
        thousands(result.ops as f64),
        size(result.peak),
        size(result.memory as u64),
        if result.cpus > 1 { format!(", {} CPUs", result.cpus) } else { String::new() },
    );
    if let Some(advice) = for_trace(result) {
        let _ = write!(html, "<p>{}</p>", escape(&advice));
    }
    let figures = [
        ("Time", "Nanoseconds an operation, median of the rounds. Less is better.", speed(&rows), ""),
        (
            "Usable as 2 MiB at the end",
            "The share of the free frames that lies in free, aligned blocks of 2 MiB. More is better.",
            usable(&rows),
            "",
        ),
        (
            "Latency",
            "How long an operation takes at most (up), for all but the given share of them (across).",
            latency(&rows),
            "",
        ),
        (
            "Usable as 2 MiB, over time",
            "The same share as time goes by; the area is the share of the memory in use.",
            usable_over_time(&rows),
            "",
        ),
        (
            "Free memory by order, over time",
            "Time runs right. Each row is an order, single frames at the bottom, 4 MiB and more at the top; the stronger \
            the colour, the more of the free memory lies in blocks of that order.",
            format!("<div class=maps>{}</div>", by_order(&rows)),
            " class=wide",
        ),
        (
            "Free blocks",
            "A frame counts in the largest aligned free block that has it.",
            buddyinfo(&rows),
            " class=\"wide scroll\"",
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
