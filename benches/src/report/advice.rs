//! Which allocator for what, in plain words, from the figures.
#![forbid(unsafe_code)]

use super::number::{three, time};
use super::overall::overall;
use super::policies::policies;
use crate::heap::{Row, TraceResult};

/// Differences below this are noise: the measurements move by so much from run to run.
const TIE: f64 = 1.05;

/// Sentences: first over all traces (if there are several), then for each.
#[must_use]
pub fn advice(results: &[TraceResult]) -> Vec<String> {
    let mut sentences = Vec::new();
    if results.len() > 1 {
        let lines: Vec<_> = overall(results).into_iter().filter(|line| line.eligible).collect();
        let pick = |figure: &dyn Fn(usize) -> Option<f64>| ranking(lines.len(), figure);
        if let Some(ranked) = pick(&|i| lines[i].ns) {
            let won = results
                .iter()
                .filter(|result| fastest(result) == Some(lines[ranked[0].0].allocator.name))
                .count();
            sentences.push(format!(
                "For speed choose {}: {} ns an operation in the geometric mean{}, and the fastest on {won} of {} programs.",
                lines[ranked[0].0].allocator.name,
                three(ranked[0].1),
                runner_up(&ranked, |i| lines[i].allocator.name, |ns| format!("{} ns", three(ns))),
                results.len(),
            ));
        }
        if let Some(ranked) = pick(&|i| lines[i].smallest) {
            sentences.push(format!(
                "For the least memory choose {}: a heap of {:.3} times what the program uses at its peak suffices{}.",
                lines[ranked[0].0].allocator.name,
                ranked[0].1,
                runner_up(&ranked, |i| lines[i].allocator.name, |ratio| format!("{ratio:.3}")),
            ));
        }
        if let Some(ranked) = pick(&|i| lines[i].p999) {
            sentences.push(format!(
                "For steady times choose {}: 999 of 1000 operations take at most {}{}.",
                lines[ranked[0].0].allocator.name,
                time(ranked[0].1),
                runner_up(&ranked, |i| lines[i].allocator.name, time),
            ));
        }
    }
    sentences.extend(policies(results));
    sentences.extend(results.iter().filter_map(for_trace));
    sentences
}

/// The sentence for one trace; `None` if nobody may be recommended.
pub(super) fn for_trace(result: &TraceResult) -> Option<String> {
    let rows: Vec<&Row> = result.rows.iter().filter(|row| row.is_eligible()).collect();
    let speed = ranking(rows.len(), &|i| rows[i].ns())?;
    // Among those level in speed, the one that needs least memory.
    let level = speed.iter().filter(|(_, ns)| *ns <= speed[0].1 * TIE).map(|&(i, _)| i);
    let need = |i: &usize| rows[*i].memory.smallest.unwrap_or(f64::INFINITY);
    let chosen = level.min_by(|a, b| need(a).total_cmp(&need(b)))?;
    let row = rows[chosen];
    let about = result.about.map(|about| format!(" ({about})")).unwrap_or_default();
    let mut sentence = format!("For {}{about} choose {}: ", result.name, row.allocator.name);
    let ns = row.ns()?;
    match speed.iter().find(|(i, _)| *i != chosen) {
        Some(&(other, theirs)) if theirs > ns * TIE => {
            sentence +=
                &format!("the fastest, {} ns ({} {})", three(ns), rows[other].allocator.name, three(theirs));
        }
        Some(&(other, theirs)) => {
            sentence +=
                &format!("{} ns, level with {} ({})", three(ns), rows[other].allocator.name, three(theirs));
        }
        None => sentence += &format!("{} ns", three(ns)),
    }
    if let Some(smallest) = row.memory.smallest {
        sentence += &format!(", in a heap of {smallest:.2} times the peak");
    }
    let memory = ranking(rows.len(), &|i| rows[i].memory.smallest);
    if let Some(&(leanest, ratio)) = memory.as_ref().and_then(|ranked| ranked.first())
        && leanest != chosen
        && ratio * 1.01 < row.memory.smallest.unwrap_or(f64::INFINITY)
    {
        sentence += &format!("; if memory is short, {} ({ratio:.2})", rows[leanest].allocator.name);
    }
    Some(sentence + ".")
}

fn fastest(result: &TraceResult) -> Option<&'static str> {
    let rows: Vec<&Row> = result.rows.iter().filter(|row| row.is_eligible()).collect();
    ranking(rows.len(), &|i| rows[i].ns()).map(|ranked| rows[ranked[0].0].allocator.name)
}

/// Indices with their figures, least first; `None` if nobody has one.
fn ranking(count: usize, figure: &dyn Fn(usize) -> Option<f64>) -> Option<Vec<(usize, f64)>> {
    let mut ranked: Vec<(usize, f64)> = (0..count).filter_map(|i| Some((i, figure(i)?))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    (!ranked.is_empty()).then_some(ranked)
}

fn runner_up(
    ranked: &[(usize, f64)],
    name: impl Fn(usize) -> &'static str,
    show: impl Fn(f64) -> String,
) -> String {
    match ranked.get(1) {
        Some(&(next, figure)) => format!(" (next: {} with {})", name(next), show(figure)),
        None => String::new(),
    }
}
