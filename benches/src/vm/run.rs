//! One trace with every choice of settings: checked, timed in interleaved rounds, timed fault by fault.
#![forbid(unsafe_code)]

use hdrhistogram::Histogram;
use hectare_testkit::trace::vm::VmTrace;

use super::choices::Choice;
use super::policies;
use super::replay::{Memory, check, latency, timed};
use super::row::Row;
use crate::clock::Scale;
use crate::heap::{Progress, Quantiles};
use crate::rounds::{Rounds, interleave_within, median};
use crate::traces::Source;

/// Passes in which each fault is timed; its time is the least of them.
const LATENCY_PASSES: usize = 3;
/// Frames of the machine: 1 GiB.
const FRAMES: u64 = 1 << 18;
/// Shares of the pages that are referenced, for the policies.
pub(super) const SHARES: [f64; 6] = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8];

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which settings.
    pub choices: Vec<&'static Choice>,
    /// Timed rounds.
    pub rounds: Rounds,
}

impl Plan {
    /// How many steps [`measure`] reports.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.choices.len() * (1 + self.rounds.most() + LATENCY_PASSES) + SHARES.len()
    }
}

/// Everything about one trace.
#[derive(Debug)]
pub struct TraceResult {
    /// What was replayed.
    pub trace: VmTrace,
    /// What the program did, if that is known.
    pub about: Option<&'static str>,
    /// One row for each choice, in the plan's order.
    pub rows: Vec<Row>,
    /// Frames, and how often each policy would fault with them.
    pub policies: Vec<(usize, [u64; 6])>,
    /// How many references that were.
    pub references: usize,
}

/// Measures one trace.
///
/// # Errors
/// If the trace cannot be read (the sentence names it and the byte offset), or there is no memory.
pub fn measure(
    source: &Source,
    plan: &Plan,
    scale: &Scale,
    progress: &dyn Progress,
) -> Result<TraceResult, String> {
    let trace = source.vm()?;
    if trace.page != 4096 {
        return Err(format!("{}: pages of {} bytes, which is not replayed", trace.name, trace.page));
    }
    let mut memory = Memory::new(FRAMES)?;
    let mut rows: Vec<Row> = vec![];
    for choice in &plan.choices {
        progress.step("checking");
        let checked = check(&trace, choice, &mut memory);
        rows.push(Row { choice, checked, ns_per_op: None, ns_per_fault: None, latency: None });
    }
    let times = interleave_within(
        rows.len(),
        &plan.rounds,
        |_| true,
        |_, who| {
            progress.step("timing");
            timed(&trace, plan.choices[who], &mut memory) / trace.ops.len().max(1) as f64
        },
    );
    for (row, times) in rows.iter_mut().zip(times) {
        row.ns_per_op = median(&times);
        let mut ticks = vec![];
        for _ in 0..LATENCY_PASSES {
            progress.step("timing single faults");
            latency(&trace, row.choice, &mut memory, &mut ticks);
        }
        let mut histogram = Histogram::new(3).map_err(|error| error.to_string())?;
        let mut sum = 0.0;
        for ticks in &ticks {
            let ns = scale.ns(u64::from(*ticks));
            sum += ns;
            histogram.record((ns * 10.0) as u64).map_err(|error| error.to_string())?;
        }
        if !ticks.is_empty() {
            row.ns_per_fault = Some(sum / ticks.len() as f64);
            row.latency = Some(Quantiles::of(&histogram));
        }
    }
    let references = rows.first().map(|row| row.checked.references.clone()).unwrap_or_default();
    let pages = policies::distinct(&references);
    let mut counts = vec![];
    for share in SHARES {
        progress.step("replacing");
        let frames = ((pages as f64 * share) as usize).max(1);
        counts.push((frames, policies::faults(&references, frames)));
    }
    Ok(TraceResult { trace, about: source.about(), rows, policies: counts, references: references.len() })
}
