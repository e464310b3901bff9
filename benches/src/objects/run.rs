//! One trace through all allocators: checked, timed in interleaved rounds, timed operation by operation, squeezed.
#![forbid(unsafe_code)]

use super::allocators::Allocator;
use super::child::{Task, alone, in_children};
use super::program::Program;
use super::replay::{LATENCY_PASSES, quantiles};
use super::row::Row;
use crate::arena::Arena;
use crate::children::answer;
use crate::clock::Scale;
use crate::heap::{CAP, Class, Progress, Speed};
use crate::rounds::{Rounds, interleave_within, median};
use crate::traces::Source;

/// An allocator this many times slower than the fastest is cut.
const CUT: f64 = 20.0;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who.
    pub allocators: Vec<&'static Allocator>,
    /// Timed rounds.
    pub rounds: Rounds,
}

impl Plan {
    /// How many steps [`measure`] reports.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.allocators.len() * (1 + 1 + self.rounds.most() + 1 + 1)
    }
}

/// Everything about one trace.
#[derive(Debug)]
pub struct TraceResult {
    /// What was replayed.
    pub program: Program,
    /// What the program did, if that is known.
    pub about: Option<&'static str>,
    /// One row for each allocator, in the plan's order.
    pub rows: Vec<Row>,
}

/// Measures one trace.
///
/// # Errors
/// If the trace cannot be read (the sentence names it and the byte offset), or the system refuses memory or processes.
pub fn measure(
    source: &Source,
    plan: &Plan,
    scale: &Scale,
    progress: &dyn Progress,
) -> Result<TraceResult, String> {
    let program = source.objects()?;
    let mut rows: Vec<Row> = plan.allocators.iter().map(|a| Row::new(a)).collect();
    let mut arenas = vec![program.arena_bytes(2); rows.len()];
    let checked = rows.iter().enumerate().filter(|(_, row)| row.allocator.class != Class::Baseline);
    let tasks: Vec<_> = checked.map(|(who, row)| (who, row.allocator, Task::Survey)).collect();
    (tasks.len()..rows.len()).for_each(|_| progress.step("checking"));
    in_children(source, tasks, |who, outcome| {
        progress.step("checking");
        arenas[who] = arenas[who].max(rows[who].take_survey(&program, answer(outcome)));
    })
    .map_err(|error| error.to_string())?;
    let bytes = arenas.iter().copied().max().unwrap_or(1);
    let mut arena = Arena::new(bytes).map_err(|error| format!("no arena of {bytes} bytes: {error}"))?;
    arena.touch(bytes);
    time_all(source, &program, &mut rows, plan, (&mut arena, &arenas), progress);
    for (row, bytes) in rows.iter_mut().zip(arenas) {
        progress.step("timing single operations");
        if row.ns().is_none() {
            continue;
        }
        row.latency = if row.allocator.apart {
            alone(source, row.allocator, Task::Latency)
        } else {
            let mut least = vec![u32::MAX; program.ops.len()];
            (0..LATENCY_PASSES)
                .for_each(|_| (row.allocator.latency)(&mut least, &program, &mut arena, bytes));
            quantiles(&least, scale)
        };
    }
    drop(arena);
    squeeze_all(source, &program, &mut rows, progress).map_err(|error| error.to_string())?;
    Ok(TraceResult { program, about: source.about(), rows })
}

fn time_all(
    source: &Source,
    program: &Program,
    rows: &mut [Row],
    plan: &Plan,
    (arena, arenas): (&mut Arena, &[usize]),
    progress: &dyn Progress,
) {
    let mut pass = |row: &Row, who: usize, limit: u64| match row.allocator.apart {
        true => alone::<f64>(source, row.allocator, Task::Timed).map(|ns| (ns, true)),
        false => (row.allocator.timed)(program, arena, arenas[who], limit),
    };
    // The first pass warms up, and finds out who is slow. It is not counted.
    let mut fastest = f64::INFINITY;
    for (who, row) in rows.iter_mut().enumerate() {
        progress.step("warming up");
        if !row.runs() {
            continue;
        }
        let limit = (CUT * fastest * program.count as f64).clamp(20e6, 5e9) as u64;
        if let Some((ns, whole)) = pass(row, who, limit) {
            if row.allocator.class != Class::Baseline {
                fastest = fastest.min(ns);
            }
            let slow = !whole || ns > CUT * fastest;
            row.speed = slow.then(|| Speed { ns_per_op: ns, rounds: vec![ns], slow });
        }
    }
    let active: Vec<bool> = rows.iter().map(|row| row.runs() && row.speed.is_none()).collect();
    let times = interleave_within(
        rows.len(),
        &plan.rounds,
        |_| true,
        |_, who| {
            progress.step("timing");
            if active[who] { pass(&rows[who], who, u64::MAX) } else { None }
        },
    );
    for (row, times) in rows.iter_mut().zip(times) {
        let rounds: Vec<f64> = times.into_iter().flatten().map(|(ns, _)| ns).collect();
        if let Some(ns_per_op) = median(&rounds) {
            row.speed = Some(Speed { ns_per_op, rounds, slow: false });
        }
    }
}

/// The smallest heaps, of those who are neither slow nor wrong.
fn squeeze_all(
    source: &Source,
    program: &Program,
    rows: &mut [Row],
    progress: &dyn Progress,
) -> std::io::Result<()> {
    let mut tasks = Vec::new();
    for (who, row) in rows.iter().enumerate() {
        let used = row.survey.as_ref().filter(|_| row.ns().is_some() && row.valid() == Some(true));
        match used {
            Some(survey) => {
                let guess = survey.peak_used as f64 / program.peak.max(1) as f64;
                tasks.push((who, row.allocator, Task::Smallest(guess.min(CAP))));
            }
            None => progress.step("squeezing"),
        }
    }
    in_children(source, tasks, |who, outcome| {
        progress.step("squeezing");
        match answer::<Option<f64>>(outcome) {
            Ok(ratio) => (rows[who].smallest, rows[who].beyond_cap) = (ratio, ratio.is_none()),
            Err(why) => rows[who].notes.push(format!("smallest heap not found: {why}")),
        }
    })
}
