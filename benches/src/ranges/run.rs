//! One trace through all allocators: checked and squeezed in threads, then, alone on the machine, timed in interleaved
//! rounds and operation by operation.
#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use super::allocators::Allocator;
use super::program::Program;
use super::row::Row;
use crate::children::Limit;
use crate::clock::{Scale, thread_ns};
use crate::heap::{Progress, Quantiles, Speed};
use crate::rounds::{Rounds, interleave_within, median};
use crate::traces::Source;
use crate::workers::side_by_side;

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
    pub rounds: Rounds,
}

impl Plan {
    /// How many steps [`measure`] reports.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.allocators.len() * (1 + 1 + self.rounds.most() + LATENCY_PASSES)
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
/// If the trace cannot be read (the sentence names it and the byte offset), or is too large for ranges of `u32` units.
pub fn measure(
    source: &Source,
    plan: &Plan,
    scale: &Scale,
    progress: &dyn Progress,
) -> Result<TraceResult, String> {
    let program = source.ranges()?;
    if program.peak.0 > u64::from(u32::MAX / 16) {
        return Err(format!("{}: more than 2^28 units, which is not replayed", program.name));
    }
    let mut rows: Vec<Row> = plan.allocators.iter().map(|a| Row::new(a)).collect();
    // The first pass warms up, and finds out who is slow. It is not counted.
    let mut fastest = f64::INFINITY;
    for row in &mut rows {
        progress.step("warming up");
        let limit = (CUT * fastest * program.ops.len() as f64).clamp(20e6, 5e9) as u64;
        if let Some((ns, whole)) = (row.allocator.timed)(&program, limit) {
            fastest = fastest.min(ns);
            let slow = !whole || ns > CUT * fastest;
            row.speed = slow.then(|| Speed { ns_per_op: ns, rounds: vec![ns], slow });
        }
    }
    check_rows(&program, &mut rows, progress);
    let quick: Vec<bool> = rows.iter().map(|row| row.speed.is_none() && row.valid() == Some(true)).collect();
    let times = interleave_within(
        rows.len(),
        &plan.rounds,
        |_| true,
        |_, who| {
            progress.step("timing");
            let pass = if quick[who] { (plan.allocators[who].timed)(&program, u64::MAX) } else { None };
            pass.map(|(ns, _)| ns)
        },
    );
    for (row, times) in rows.iter_mut().zip(times) {
        let rounds: Vec<f64> = times.into_iter().flatten().collect();
        if let Some(ns_per_op) = median(&rounds) {
            row.speed = Some(Speed { ns_per_op, rounds, slow: false });
        }
    }
    for (row, quick) in rows.iter_mut().zip(quick) {
        let mut least = vec![u32::MAX; program.ops.len()];
        for _ in 0..LATENCY_PASSES {
            progress.step("timing single operations");
            if quick {
                (row.allocator.latency)(&mut least, &program);
            }
        }
        if quick {
            row.latency = histogram(&least, scale).map(|histogram| Quantiles::of(&histogram));
        }
    }
    Ok(TraceResult { program, about: source.about(), rows })
}

/// The checked passes, and the smallest spaces of those who are neither slow nor wrong.
fn check_rows(program: &Program, rows: &mut [Row], progress: &dyn Progress) {
    let tasks: Vec<_> = rows.iter().map(|row| (row.allocator, row.speed.is_none())).collect();
    let limit = Mutex::new(Limit::LONGEST);
    let now = || *limit.lock().unwrap_or_else(PoisonError::into_inner);
    let check = |&(allocator, quick): &(&Allocator, bool)| {
        let start = thread_ns();
        let survey = (allocator.survey)(program, now().0);
        let ns = thread_ns() - start;
        let whole = survey.as_ref().is_some_and(|s| s.overlap.is_none() && s.ops == program.ops.len());
        if whole {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            *limit = limit.after(ns);
        }
        (survey, (quick && whole).then(|| (allocator.smallest)(program)))
    };
    side_by_side(&tasks, check, |who, (survey, smallest)| {
        progress.step("checking");
        rows[who].take_survey(program, survey);
        rows[who].smallest = smallest.flatten();
        rows[who].beyond_cap = smallest == Some(None);
    });
}

/// In tenths of nanoseconds.
fn histogram(least: &[u32], scale: &Scale) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new(3).ok()?;
    for ticks in least.iter().filter(|ticks| **ticks != u32::MAX) {
        histogram.record((scale.ns(u64::from(*ticks)) * 10.0) as u64).ok()?;
    }
    (!histogram.is_empty()).then_some(histogram)
}
