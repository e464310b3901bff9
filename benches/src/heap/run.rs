//! One trace through all allocators: checked, timed in interleaved rounds, timed operation by operation, squeezed.

use std::io;

use super::allocators::{Allocator, Class};
use super::child::{Task, in_children};
use super::latency::Latencies;
use super::program::Program;
use super::row::{Quantiles, Row, Speed};
use super::smallest::CAP;
use super::threads::Threads;
use crate::arena::Arena;
use crate::children::answer;
use crate::clock::Scale;
use crate::rounds::{interleave, median};
use crate::traces::Source;

/// An allocator this many times slower than the fastest is cut.
const CUT: f64 = 20.0;
/// Passes of the percentiles; an operation's time is the least of them.
const LATENCY_PASSES: usize = 3;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who.
    pub allocators: Vec<&'static Allocator>,
    /// Timed rounds.
    pub rounds: usize,
    /// Who replays in them.
    pub threads: Threads,
}

/// Who wants to know how far the work is.
pub trait Progress {
    /// One step is done. There are [`Plan::steps`] for each trace.
    fn step(&self, what: &str);
}

/// Everything about one trace.
#[derive(Debug)]
pub struct TraceResult {
    /// Its name.
    pub name: String,
    /// What the program did, if that is known.
    pub about: Option<&'static str>,
    /// Operations.
    pub ops: usize,
    /// The highest sum of live requested bytes.
    pub peak_bytes: u64,
    /// Most live objects.
    pub objects: usize,
    /// One row for each allocator, in the plan's order.
    pub rows: Vec<Row>,
}

impl Plan {
    /// How many steps [`measure`] reports.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.allocators.len() * (1 + 1 + self.rounds + LATENCY_PASSES + 1)
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
    let program = source.heap()?;
    let mut rows: Vec<Row> = plan.allocators.iter().map(|a| Row::new(a, &program)).collect();
    let arenas = survey_all(source, &program, &mut rows, progress).map_err(|e| e.to_string())?;
    let largest = arenas.iter().copied().max().unwrap_or(1) * plan.threads.copies();
    let mut arena = Arena::new(largest).map_err(|e| format!("no arena of {largest} bytes: {e}"))?;
    arena.touch(largest);
    time_all(&program, &mut rows, plan, &mut arena, &arenas, progress);
    if plan.threads == Threads::One {
        latency_all(&program, &mut rows, &mut arena, &arenas, scale, progress);
    }
    drop(arena);
    squeeze_all(source, &mut rows, progress).map_err(|e| e.to_string())?;
    Ok(TraceResult {
        name: program.name().to_owned(),
        about: source.about(),
        ops: program.ops().len(),
        peak_bytes: program.peak_bytes(),
        objects: program.slots(),
        rows,
    })
}

/// The checked passes. Returns the arena that each allocator needs; one that cannot be run gets `dead` rows.
fn survey_all(
    source: &Source,
    program: &Program,
    rows: &mut [Row],
    progress: &dyn Progress,
) -> io::Result<Vec<usize>> {
    let mut arenas = vec![program.arena_bytes(2); rows.len()];
    let all = rows.iter().enumerate().filter(|(_, row)| row.allocator.class != Class::Baseline);
    let tasks: Vec<_> = all.map(|(who, row)| (who, row.allocator, Task::Survey)).collect();
    (tasks.len()..rows.len()).for_each(|_| progress.step("checking"));
    in_children(source, tasks, |who, _, outcome| {
        progress.step("checking");
        arenas[who] = arenas[who].max(rows[who].take_survey(program, answer(outcome)));
    })?;
    let hosted =
        rows.iter().enumerate().filter(|(_, row)| row.allocator.class == Class::Hosted && row.runs());
    let tasks: Vec<_> = hosted.map(|(who, row)| (who, row.allocator, Task::Resident)).collect();
    in_children(source, tasks, |who, _, outcome| match answer::<Option<u64>>(outcome) {
        Ok(bytes) => rows[who].memory.peak_used = bytes,
        Err(why) => rows[who].note(format!("resident memory not measured: {why}")),
    })?;
    Ok(arenas)
}

fn time_all(
    program: &Program,
    rows: &mut [Row],
    plan: &Plan,
    arena: &mut Arena,
    arenas: &[usize],
    progress: &dyn Progress,
) {
    // The first pass warms up, and finds out who is slow. It is not counted.
    let mut fastest = f64::INFINITY;
    let mut first = vec![f64::INFINITY; rows.len()];
    for (who, row) in rows.iter().enumerate() {
        if row.runs() {
            let limit = (CUT * fastest * program.ops().len() as f64).max(20e6);
            if let Some(pass) = (row.allocator.timed)(program, arena, arenas[who], limit as u64) {
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
    // Threads that all write to one place would measure that place: no empty loop with threads.
    let takes_part = |row: &Row| row.allocator.class != Class::Baseline || plan.threads == Threads::One;
    let active =
        rows.iter().zip(&first).map(|(row, ns)| row.speed.is_none() && ns.is_finite() && takes_part(row));
    let active: Vec<bool> = active.collect();
    let allocators: Vec<_> = rows.iter().map(|row| row.allocator).collect();
    let times = interleave(
        rows.len(),
        plan.rounds,
        |_| true,
        |_, who| {
            progress.step("timing");
            if !active[who] {
                return None;
            }
            let pass = match plan.threads {
                Threads::One => (allocators[who].timed)(program, arena, arenas[who], u64::MAX),
                many => (allocators[who].threaded)(program, arena, arenas[who] * many.copies(), many),
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
    arena: &mut Arena,
    arenas: &[usize],
    scale: &Scale,
    progress: &dyn Progress,
) {
    let mut latencies: Vec<_> = rows.iter().map(|_| Latencies::new(program)).collect();
    interleave(
        rows.len(),
        LATENCY_PASSES,
        |_| true,
        |_, who| {
            if rows[who].ns().is_some() {
                (rows[who].allocator.latency)(&mut latencies[who], program, arena, arenas[who]);
            }
            progress.step("timing single operations");
        },
    );
    for (row, latencies) in rows.iter_mut().zip(latencies) {
        row.latency = latencies.histogram(scale).map(|h| Quantiles::of(&h));
    }
}

/// The smallest heaps, of those who are neither slow nor wrong.
fn squeeze_all(source: &Source, rows: &mut [Row], progress: &dyn Progress) -> io::Result<()> {
    let mut tasks = Vec::new();
    for (who, row) in rows.iter().enumerate() {
        let arena_based = matches!(row.allocator.class, Class::General | Class::Lesser(_));
        match row.memory.peak_used {
            Some(used) if arena_based && row.ns().is_some() && row.valid == Some(true) => {
                let guess =
                    (used as usize + row.allocator.state_bytes) as f64 / row.memory.peak_live.max(1) as f64;
                tasks.push((who, row.allocator, Task::Smallest(guess.min(CAP))));
            }
            _ => progress.step("squeezing"),
        }
    }
    in_children(source, tasks, |who, _, outcome| {
        progress.step("squeezing");
        match answer::<Option<f64>>(outcome) {
            Ok(Some(ratio)) => rows[who].memory.smallest = Some(ratio),
            Ok(None) => rows[who].memory.beyond_cap = true,
            Err(why) => rows[who].note(format!("smallest heap not found: {why}")),
        }
    })
}
