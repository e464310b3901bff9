//! Frame traces on the command line.

use super::{Outcome, Request, with_progress};
use crate::clock::Scale;
use crate::frames::report::{advice, chapter, overall, table};
use crate::frames::{ALLOCATORS, Plan, TraceResult, measure, select};
use crate::heap::Class;
use crate::report::Machine;

/// Replays them.
///
/// # Errors
/// A sentence about the trace that cannot be read, or what the system refused.
pub(super) fn compare(request: &Request<'_>) -> Result<Outcome, String> {
    let here: Vec<String> =
        request.allocators.iter().filter(|name| names(true).contains(&name.as_str())).cloned().collect();
    let plan = Plan { allocators: select(&here)?, rounds: request.rounds.clone(), threads: request.threads };
    let scale = Scale::calibrate();
    let results = with_progress(request, plan.steps(), |source, bar| measure(source, &plan, &scale, bar))?;
    let rows = results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)));
    let lines =
        rows.map(|(result, row)| serde_json::to_string(&row.json(&result.name, result.ops, result.peak)));
    Ok(Outcome {
        lines: lines.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        table: table(&overall(&results), request.width),
        advice: advice(&results),
        chapter: chapter(&results, &Machine::this(), &plan),
        broken: broken(&results),
    })
}

/// The allocators shown by default, or with those that are wrong on purpose.
pub(super) fn names(broken_too: bool) -> Vec<&'static str> {
    ALLOCATORS.iter().filter(|a| broken_too || a.class != Class::Broken).map(|a| a.name).collect()
}

/// The rules that were broken and are ours to keep.
fn broken(results: &[TraceResult]) -> Vec<String> {
    let rows = results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)));
    let ours = rows.filter(|(_, row)| row.broke_a_rule && row.allocator.is_ours());
    ours.map(|(result, row)| {
        format!("{} broke a rule on {}: {}", row.allocator.name, result.name, row.notes.join("; "))
    })
    .collect()
}
