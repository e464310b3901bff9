//! The chapter of the page.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::{HEADS, advice, cells};
use crate::report::html::escape;
use crate::report::html::plot::{Axis, Bar, Curve, Who, bars, curves};
use crate::report::number::{bytes, thousands, three};
use crate::report::{Chapter, Machine};
use crate::vm::choices::CHOICES;
use crate::vm::policies;
use crate::vm::row::Row;
use crate::vm::run::{Plan, TraceResult};

/// The chapter of these results.
#[must_use]
pub fn chapter(results: &[TraceResult], machine: &Machine, plan: &Plan) -> Chapter {
    let id = |name: &str| format!("vm-{name}");
    let mut links: Vec<_> =
        results.iter().map(|result| (id(&result.trace.name), result.trace.name.clone())).collect();
    links.push((id("method"), "How address spaces were replayed".into()));
    let mut body = String::new();
    for result in results {
        body += &section(result);
    }
    let _ = write!(
        body,
        "<section id=vm-method><h2>How address spaces were replayed</h2><p>Every record in its order: mappings at the \
        places where the kernel put them, faults as accesses that must succeed. The tables are those of x86-64 with four \
        levels, in memory of a buddy system; a walker of its own reads them before and after each fault and sets the \
        accessed and dirty bits. At the end of a process its areas are compared with the list that the kernel gave. \
        Which file a descriptor was is not recorded: files of one length are taken for one. Time for a fault includes \
        zeroing, copying and the object cache; the least of three passes. Time for a record: thread CPU time, the median \
        of {} rounds.</p></section>",
        plan.rounds.phrase()
    );
    Chapter { title: "Programs, replayed in address spaces", links, head: head(results, machine), body }
}

fn head(results: &[TraceResult], machine: &Machine) -> String {
    let records: usize = results.iter().map(|result| result.trace.ops.len()).sum();
    let mut html = format!(
        "<header><div class=eyebrow>Hectare compare</div><h1>Programs, replayed in address spaces</h1><p class=soft>{} \
        mapping calls and faults of real programs, on {}, {}.</p>",
        thousands(records as f64),
        escape(&machine.processor),
        machine.date,
    );
    for sentence in advice(results) {
        let _ = write!(html, "<p>{}</p>", escape(&sentence));
    }
    html += "<div class=grid><div class=\"wide scroll\"><table><tr><th>Trace<th>Settings";
    for title in HEADS {
        let _ = write!(html, "<th>{title}");
    }
    html += "</tr>";
    for result in results {
        for row in &result.rows {
            let cells: String = cells(row).iter().map(|cell| format!("<td>{}", escape(cell))).collect();
            let _ = write!(
                html,
                "<tr><td>{}<td class=ours>{}{cells}</tr>",
                escape(&result.trace.name),
                escape(row.choice.name)
            );
        }
    }
    html += "</table>";
    for choice in CHOICES {
        let _ = write!(html, "<p class=note>{}: {}.</p>", escape(choice.name), escape(choice.about));
    }
    html + "</div></div></header>"
}

fn who(row: &Row) -> Who {
    let color = CHOICES.iter().position(|choice| choice.name == row.choice.name).unwrap_or(11) % 12;
    Who { name: row.choice.name, color, ours: true }
}

fn section(result: &TraceResult) -> String {
    let name = escape(&result.trace.name);
    let mut html = format!(
        "<section id=\"vm-{name}\"><div class=head><h2>{name}</h2><p class=soft>{}{} records, {} processes.</p></div>",
        result.about.map(|about| format!("{}. ", escape(about))).unwrap_or_default(),
        thousands(result.trace.ops.len() as f64),
        result.trace.processes,
    );
    let count = |figure: &dyn Fn(&Row) -> Option<f64>, show: &dyn Fn(f64) -> String| {
        let bar = |row: &Row| Bar {
            who: who(row),
            value: figure(row),
            text: figure(row).map_or_else(|| "–".into(), show),
            cut: false,
            heading: None,
        };
        bars(&result.rows.iter().map(bar).collect::<Vec<_>>())
    };
    let figures = [
        ("Faults", "That had to be handled.", count(&|row| Some(row.checked.handled as f64), &thousands), ""),
        (
            "Time",
            "Nanoseconds for a fault, with zeroing and copying.",
            count(&|row| row.ns_per_fault, &three),
            "",
        ),
        (
            "Huge pages",
            "At first touch, or made of small ones by a background thread.",
            count(&|row| Some((row.checked.huge + row.checked.promoted) as f64), &thousands),
            "",
        ),
        (
            "Resident memory over time",
            "Pages that are mapped, all processes together.",
            resident(result),
            " class=wide",
        ),
        (
            "Page replacement",
            "Faults of each policy by memory, on the references that the trace shows.",
            replacement(result),
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
    for row in &result.rows {
        for difference in row.checked.differences.iter().take(5) {
            let _ = write!(html, "<p>{}: {}</p>", escape(row.choice.name), escape(difference));
        }
    }
    html + "</div></section>"
}

fn resident(result: &TraceResult) -> String {
    let most = result.rows.iter().map(|row| row.checked.resident_peak).max().unwrap_or(1).max(1);
    let y = Axis::bytes(most as f64 * 4096.0 * 1.05, |value| bytes(value as u64));
    let x = Axis::range(
        0.0,
        1.0,
        vec![(0.0, "start".into()), (0.5, "half of the records".into()), (1.0, "end".into())],
    );
    let curve = |row: &Row| {
        let samples = &row.checked.samples;
        let count = samples.len().max(1) as f64;
        let point = |(nth, pages): (usize, &u64)| ((nth + 1) as f64 / count, (pages * 4096) as f64);
        Curve { who: Some(who(row)), points: samples.iter().enumerate().map(point).collect() }
    };
    curves(&x, &y, &result.rows.iter().map(curve).collect::<Vec<_>>(), false)
}

fn replacement(result: &TraceResult) -> String {
    let least = result.policies.iter().map(|(frames, _)| *frames).min().unwrap_or(1) as f64;
    let most = result.policies.iter().map(|(frames, _)| *frames).max().unwrap_or(1) as f64;
    let ticks = result.policies.iter().map(|(frames, _)| (*frames as f64, format!("{frames} frames")));
    let x = Axis::range(least, most.max(least + 1.0), ticks.collect());
    let y = Axis::linear(result.references as f64 * 1.05, thousands);
    let curve = |(nth, name): (usize, &&'static str)| Curve {
        who: Some(Who { name, color: nth, ours: *name != "optimal" }),
        points: result.policies.iter().map(|(frames, counts)| (*frames as f64, counts[nth] as f64)).collect(),
    };
    curves(&x, &y, &policies::NAMES.iter().enumerate().map(curve).collect::<Vec<_>>(), false)
}
