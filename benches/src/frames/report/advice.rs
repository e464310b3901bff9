//! Which page-frame allocator for what, in plain words, from the figures.
#![forbid(unsafe_code)]

use super::{overall, percent, ranking};
use crate::frames::row::Row;
use crate::frames::run::TraceResult;
use crate::report::number::{three, time};

/// Differences below this are noise.
const TIE: f64 = 1.05;

/// Sentences: first over all traces (if there are several), then for each.
#[must_use]
pub fn advice(results: &[TraceResult]) -> Vec<String> {
    let mut sentences = Vec::new();
    if results.len() > 1 {
        let lines: Vec<_> = overall(results).into_iter().filter(|line| line.eligible).collect();
        let name = |i: usize| lines[i].allocator.name;
        let mut say = |what: &str, ranked: Vec<(usize, f64)>, show: &dyn Fn(f64) -> String| {
            if let Some(&(first, figure)) = ranked.first() {
                let next =
                    ranked.get(1).map(|&(i, figure)| format!(" (next: {} with {})", name(i), show(figure)));
                let next = next.unwrap_or_default();
                sentences.push(format!("For {what} choose {}: {}{next}.", name(first), show(figure)));
            }
        };
        say("speed", ranking(lines.len(), |i| lines[i].ns), &|ns| format!("{} ns an operation", three(ns)));
        say(
            "huge pages",
            ranking(lines.len(), |i| lines[i].usable.map(|usable| 1.0 - usable.0)),
            &|unusable| format!("{} of the free memory stays usable as 2 MiB", percent(1.0 - unusable)),
        );
        say("steady times", ranking(lines.len(), |i| lines[i].p999), &|ns| {
            format!("999 of 1000 operations take at most {}", time(ns))
        });
        say("small tables", ranking(lines.len(), |i| lines[i].metadata), &|bytes| {
            format!("{bytes:.3} bytes a frame")
        });
    }
    sentences.extend(results.iter().filter_map(for_trace));
    sentences
}

/// The sentence for one trace; `None` if nobody may be recommended.
pub(super) fn for_trace(result: &TraceResult) -> Option<String> {
    let rows: Vec<&Row> = result.rows.iter().filter(|row| row.is_eligible()).collect();
    let speed = ranking(rows.len(), |i| rows[i].ns());
    let &(_, fastest) = speed.first()?;
    // Among those level in speed, the one that keeps most huge pages.
    let level = speed.iter().filter(|(_, ns)| *ns <= fastest * TIE).map(|&(i, _)| i);
    let usable = |i: usize| rows[i].usable_2m().unwrap_or(0.0);
    let chosen = level.max_by(|&a, &b| usable(a).total_cmp(&usable(b)))?;
    let (row, ns) = (rows[chosen], rows[chosen].ns()?);
    let about = result.about.map(|about| format!(" ({about})")).unwrap_or_default();
    let mut sentence = format!("For {}{about} choose {}: {} ns", result.name, row.allocator.name, three(ns));
    if let Some(&(other, theirs)) = speed.iter().find(|(i, _)| *i != chosen) {
        let level = if theirs > ns * TIE { "next: " } else { "level with " };
        sentence += &format!(" ({level}{}, {})", rows[other].allocator.name, three(theirs));
    }
    if row.usable_2m().is_some() {
        sentence += &format!(", {} of the free memory usable as 2 MiB", percent(usable(chosen)));
    }
    let best = (0..rows.len()).max_by(|&a, &b| usable(a).total_cmp(&usable(b)))?;
    if usable(best) > usable(chosen) + 0.01 {
        sentence +=
            &format!("; if huge pages matter, {} ({})", rows[best].allocator.name, percent(usable(best)));
    }
    Some(sentence + ".")
}
