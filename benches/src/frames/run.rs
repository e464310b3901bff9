//! One frame trace through all allocators: checked, timed in interleaved rounds, timed operation by operation.
#![forbid(unsafe_code)]

use super::allocators::Allocator;
use super::child::check_all;
use super::latency::Latencies;
use super::program::Program;
use super::row::Row;
use super::subject::Memory;
use crate::clock::Scale;
use crate::heap::{Class, Progress, Quantiles, Speed, Threads};
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
    /// Who replays in them.
    pub threads: Threads,
}

/// Everything about one trace.
#[derive(Debug)]
pub struct TraceResult {
    /// Its name.
    pub name: String,
    /// What happened, if that is known.
    pub about: Option<&'static str>,
    /// Operations.
    pub ops: usize,
    /// The most frames that were live at once.
    pub peak: u64,
    /// Frames that the allocators were given.
    pub memory: usize,
    /// CPUs.
    pub cpus: usize,
    /// One row for each allocator, in the plan's order.
    pub rows: Vec<Row>,
}

impl Plan {
    /// How many steps [`measure`] reports.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.allocators.len() * (1 + 1 + self.rounds.most() + Rounds::of_single_operations().most())
    }
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
    let program = source.frames()?;
    let mut rows: Vec<Row> = plan.allocators.iter().map(|allocator| Row::new(allocator)).collect();
    let all = rows.iter().enumerate().filter(|(_, row)| row.allocator.class != Class::Baseline);
    let tasks: Vec<_> = all.map(|(who, row)| (who, row.allocator)).collect();
    (tasks.len()..rows.len()).for_each(|_| progress.step("checking"));
    check_all(source, &tasks, |who, surveyed| {
        progress.step("checking");
        rows[who].take_survey(&program, surveyed);
    })
    .map_err(|error| error.to_string())?;
    let frames = program.memory() * plan.threads.copies();
    let mut memory = Memory::new(frames).map_err(|error| format!("no memory of {frames} frames: {error}"))?;
    time_all(&program, &mut rows, plan, &mut memory, progress);
    if plan.threads == Threads::One {
        latency_all(&program, &mut rows, &mut memory, scale, progress);
    }
    Ok(TraceResult {
        name: program.name().to_owned(),
        about: source.about(),
        ops: program.ops().len(),
        peak: program.peak(),
        memory: program.memory(),
        cpus: program.cpus(),
        rows,
    })
}

fn time_all(program: &Program, rows: &mut [Row], plan: &Plan, memory: &mut Memory, progress: &dyn Progress) {
    // The first pass warms up, and finds out who is slow. It is not counted.
    let mut fastest = f64::INFINITY;
    let mut first = vec![f64::INFINITY; rows.len()];
    for (who, row) in rows.iter().enumerate() {
        if row.runs() {
            let limit = (CUT * fastest * program.ops().len() as f64).max(20e6);
            if let Some(pass) = (row.allocator.timed)(program, memory, limit as u64) {
                first[who] = pass.ns_per_op();
                if row.allocator.class != Class::Baseline {
                    fastest = fastest.min(first[who]);
                }
            }
        }
        progress.step("warming up");
    }
    for (row, &ns_per_op) in rows.iter_mut().zip(&first) {
        if ns_per_op > CUT * fastest && ns_per_op.is_finite() {
            row.speed = Some(Speed { ns_per_op, rounds: vec![ns_per_op], slow: true });
        }
    }
    // An empty loop in threads says nothing.
    let takes_part = |row: &Row| row.allocator.class != Class::Baseline || plan.threads == Threads::One;
    let active: Vec<bool> = rows
        .iter()
        .zip(&first)
        .map(|(row, ns)| row.speed.is_none() && ns.is_finite() && takes_part(row))
        .collect();
    let allocators: Vec<_> = rows.iter().map(|row| row.allocator).collect();
    let times = interleave_within(
        rows.len(),
        &plan.rounds,
        |_| true,
        |_, who| {
            progress.step("timing");
            if !active[who] {
                return None;
            }
            let pass = match plan.threads {
                Threads::One => (allocators[who].timed)(program, memory, u64::MAX),
                many => (allocators[who].threaded)(program, memory, many),
            };
            pass.map(|pass| pass.ns_per_op())
        },
    );
    for (row, times) in rows.iter_mut().zip(times) {
        let rounds: Vec<f64> = times.into_iter().flatten().collect();
        if let Some(ns_per_op) = median(&rounds) {
            row.speed = Some(Speed { ns_per_op, rounds, slow: false });
        }
    }
}

fn latency_all(
    program: &Program,
    rows: &mut [Row],
    memory: &mut Memory,
    scale: &Scale,
    progress: &dyn Progress,
) {
    let mut latencies: Vec<_> = rows.iter().map(|_| Latencies::new(program)).collect();
    interleave_within(
        rows.len(),
        &Rounds::of_single_operations(),
        |_| true,
        |_, who| {
            if rows[who].ns().is_some() {
                (rows[who].allocator.latency)(&mut latencies[who], program, memory);
            }
            progress.step("timing single operations");
        },
    );
    for (row, latencies) in rows.iter_mut().zip(latencies) {
        row.latency = latencies.histogram(scale).map(|h| Quantiles::of(&h));
    }
}
