//! Address spaces on the command line.

use super::{Outcome, Request, with_progress};
use crate::clock::Scale;
use crate::heap::Threads;
use crate::report::Machine;
use crate::vm::report::{advice, chapter, table};
use crate::vm::{CHOICES, Plan, TraceResult, measure, select};

/// Replays them.
///
/// # Errors
/// A sentence about the trace that cannot be read.
pub(super) fn compare(request: &Request<'_>) -> Result<Outcome, String> {
    if request.threads != Threads::One {
        return Err("address spaces are replayed by one thread".into());
    }
    let here: Vec<String> =
        request.allocators.iter().filter(|name| names().contains(&name.as_str())).cloned().collect();
    let plan = Plan { choices: select(&here)?, rounds: request.rounds.clone() };
    let scale = Scale::calibrate();
    let results = with_progress(request, plan.steps(), |source, bar| measure(source, &plan, &scale, bar))?;
    let rows = results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)));
    let lines = rows
        .map(|(result, row)| serde_json::to_string(&row.json(&result.trace.name, result.trace.ops.len())));
    Ok(Outcome {
        lines: lines.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        table: table(&results, request.width),
        advice: advice(&results),
        chapter: chapter(&results, &Machine::this(), &plan),
        broken: broken(&results),
    })
}

/// The settings that are compared.
pub(super) fn names() -> Vec<&'static str> {
    CHOICES.iter().map(|choice| choice.name).collect()
}

/// What is not as the kernel had it.
fn broken(results: &[TraceResult]) -> Vec<String> {
    let rows = results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)));
    let differing = rows.filter(|(_, row)| !row.checked.differences.is_empty());
    differing
        .map(|(result, row)| {
            let all = &row.checked.differences;
            let first = all.first().map_or("", String::as_str);
            format!("{} differs on {} ({} times): {first}", row.choice.name, result.trace.name, all.len())
        })
        .collect()
}
