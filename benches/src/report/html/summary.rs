//! The head of the page: the choice, and everyone at one glance.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::machine::Machine;
use super::plot::{Axis, points};
use super::{escape, who};
use crate::heap::{Class, TraceResult};
use crate::report::number::{thousands, three, time};
use crate::report::overall::{Overall, overall};
use crate::report::policies::policies;
use crate::report::table::{best_ns, in_order};

pub(super) fn summary(results: &[TraceResult], machine: &Machine) -> String {
    let lines = overall(results);
    let ops: usize = results.iter().map(|result| result.ops).sum();
    let programs =
        if results.len() == 1 { "1 program".to_owned() } else { format!("{} programs", results.len()) };
    let mut html = format!(
        "<header><div class=eyebrow>Hectare compare</div><h1>Which heap allocator for which program?</h1>\
        <p class=soft>{} allocator calls, recorded from {programs} and replayed on {} ({} processors, {}), {}.</p>{}",
        thousands(ops as f64),
        escape(&machine.processor),
        machine.processors,
        escape(&machine.system),
        machine.date,
        cards(&lines),
    );
    if let Some(sentence) = policies(results) {
        let _ = write!(html, "<p>{}</p>", escape(&sentence));
    }
    html += "<div class=grid>";
    html += &map_of_all(results, &lines);
    let _ = write!(html, "<div class=\"wide scroll\">{}</div></div></header>", table(&lines));
    html
}

fn cards(lines: &[Overall]) -> String {
    let eligible: Vec<&Overall> = lines.iter().filter(|line| line.eligible).collect();
    let card = |title: &str, figure: &dyn Fn(&Overall) -> Option<f64>, say: &dyn Fn(f64) -> String| {
        let mut ranked: Vec<(&str, f64)> =
            eligible.iter().filter_map(|line| Some((line.allocator.name, figure(line)?))).collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        let Some(&(name, value)) = ranked.first() else { return String::new() };
        let next = ranked.get(1).map(|(name, value)| format!(" Next: {}, {}.", escape(name), say(*value)));
        format!(
            "<div class=card><div class=soft>{title}</div><div class=name>{}</div><p class=why>{}.{}</p></div>",
            escape(name),
            say(value),
            next.unwrap_or_default()
        )
    };
    let speed = card("Fastest", &|line| line.ns, &|ns| format!("{} ns an operation", three(ns)));
    let memory = card("Least memory", &|line| line.smallest, &|r| format!("{r:.3} times the peak suffices"));
    let steady =
        card("Steadiest", &|line| line.p999, &|ns| format!("99.9 % of operations within {}", time(ns)));
    format!("<div class=cards>{speed}{memory}{steady}</div>")
}

/// Speed against space. The two that matter most; the ideal is at the bottom left.
fn map_of_all(results: &[TraceResult], lines: &[Overall]) -> String {
    let Some(first) = results.first() else { return String::new() };
    let placed: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| matches!(line.allocator.class, Class::General | Class::Lesser(_)))
        .filter_map(|(i, line)| Some((who(&first.rows[i], i), line.ns?, (line.smallest? - 1.0).max(0.005))))
        .collect();
    if placed.len() < 2 {
        return String::new();
    }
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x = Axis::linear(most(&mut placed.iter().map(|p| p.1)) * 1.12, |ns| format!("{ns:.0} ns"));
    let least = placed.iter().map(|p| p.2).fold(f64::INFINITY, f64::min).max(0.005);
    let shares = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
    let ticks = shares.map(|share| (share, format!("+{} %", share * 100.0)));
    let y = Axis::log(least * 0.75, most(&mut placed.iter().map(|p| p.2)) * 1.3, ticks.to_vec());
    format!(
        "<figure class=wide><h3>Speed and space</h3><figcaption>Across: nanoseconds an operation. Up: what the smallest \
        heap that never fails needs beyond the peak of requested bytes. Both geometric means of all programs; the best \
        place is at the bottom left. Without those who were cut off as slow or fetch their memory themselves.</figcaption>{}</figure>",
        points(&x, &y, &placed)
    )
}

fn table(lines: &[Overall]) -> String {
    let mut html = String::from(
        "<table><tr><th>Allocator<th>ns/op<th>vs best<th>99.9 %<th>Longest<th>Used<th>Smallest heap<th>Worst<th \
        class=remarks>Remarks</tr>",
    );
    let best = best_ns(lines);
    let leanest = lines.iter().filter(|line| line.eligible).filter_map(|line| line.smallest).reduce(f64::min);
    for line in in_order(lines) {
        let dash = || "–".to_owned();
        let ours = if line.allocator.is_ours() { " class=ours" } else { "" };
        let ratio = match (line.ns, best) {
            (Some(ns), Some(best)) if line.allocator.class != Class::Baseline => format!("{:.2}x", ns / best),
            _ => dash(),
        };
        let mark = |is: bool| if is { " class=best" } else { "" };
        let _ = write!(
            html,
            "<tr><td{ours}>{}<td{}>{}<td>{ratio}<td>{}<td>{}<td>{}<td{}>{}<td>{}<td class=remarks>{}</tr>",
            escape(line.allocator.name),
            mark(line.eligible && line.ns == best),
            line.ns.map_or_else(|| if line.slow > 0 { "slow".into() } else { dash() }, three),
            line.p999.map_or_else(dash, time),
            line.max.map_or_else(dash, time),
            line.used.map_or_else(dash, |used| format!("{used:.2}x")),
            mark(line.eligible && line.smallest == leanest),
            line.smallest.map_or_else(
                || if line.beyond_cap > 0 { "&gt; 8".into() } else { dash() },
                |r| format!("{r:.3}")
            ),
            line.smallest_worst.map_or_else(dash, |r| format!("{r:.2}")),
            escape(&line.remarks.join("; ")),
        );
    }
    html + "</table><p class=note>Geometric means of all programs. Used: highest extent handed out (resident memory for \
    the system's malloc) over the peak of requested bytes. Smallest heap: the arena and all state of the allocator, over \
    the same peak.</p>"
}
