//! One trace through all allocators: checked and squeezed in children, then, alone on the machine, timed in interleaved
//! rounds and operation by operation.

use std::io;

use super::allocators::{Allocator, Class};
use super::child::{check_all, resident_all};
use super::latency::Latencies;
use super::program::Program;
use super::row::{Quantiles, Row, Speed};
use super::threads::Threads;
use crate::arena::Arena;
use crate::clock::Scale;
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
    let program = source.heap()?;
    let mut rows: Vec<Row> = plan.allocators.iter().map(|a| Row::new(a, &program)).collect();
    let arenas = check_rows(source, &program, &mut rows, progress).map_err(|e| e.to_string())?;
    let largest = arenas.iter().copied().max().unwrap_or(1) * plan.threads.copies();
    let mut arena = Arena::new(largest).map_err(|e| format!("no arena of {largest} bytes: {e}"))?;
    arena.touch(largest);
    time_all(&program, &mut rows, plan, &mut arena, &arenas, progress);
    if plan.threads == Threads::One {
        latency_all(&program, &mut rows, &mut arena, &arenas, scale, progress);
    }
    Ok(TraceResult {
        name: program.name().to_owned(),
        about: source.about(),
        ops: program.ops().len(),
        peak_bytes: program.peak_bytes(),
        objects: program.slots(),
        rows,
    })
}

/// The checked passes and the smallest heaps. Returns the arena that each allocator needs; one that cannot be run gets `dead` rows.
fn check_rows(
    source: &Source,
    program: &Program,
    rows: &mut [Row],
    progress: &dyn Progress,
) -> io::Result<Vec<usize>> {
    let mut arenas = vec![program.arena_bytes(2); rows.len()];
    let all = rows.iter().enumerate().filter(|(_, row)| row.allocator.class != Class::Baseline);
    let all: Vec<_> = all.map(|(who, row)| (who, row.allocator)).collect();
    (all.len()..rows.len()).for_each(|_| progress.step("checking"));
    check_all(source, program.ops().len(), all, |who, checked| {
        progress.step("checking");
        arenas[who] = arenas[who].max(rows[who].take_check(program, checked));
    })?;
    let hosted =
        rows.iter().enumerate().filter(|(_, row)| row.allocator.class == Class::Hosted && row.runs());
    let hosted = hosted.map(|(who, row)| (who, row.allocator)).collect();
    resident_all(source, hosted, |who, answer| match answer {
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
    interleave_within(
        rows.len(),
        &Rounds::of_single_operations(),
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
