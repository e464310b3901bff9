//! What is known about one allocator on one frame trace.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::allocators::Allocator;
use super::child::Surveyed;
use super::program::Program;
use super::subject::FRAME;
use super::survey::{Sample, Survey};
use crate::heap::{Class, Quantiles, Speed};

/// One row of a table. What was not measured, or has no meaning for this allocator, is absent.
#[derive(Debug)]
pub struct Row {
    /// Who.
    pub allocator: &'static Allocator,
    /// How fast.
    pub speed: Option<Speed>,
    /// How steady.
    pub latency: Option<Quantiles>,
    /// What the checked pass found, if it came to an end.
    pub survey: Option<Survey>,
    /// Whether the checked pass came to the program's end.
    pub complete: bool,
    /// Whether nothing was found that could harm this process.
    pub(super) may_run: bool,
    /// Whether one of our promises was broken (meaningful for our allocators).
    pub broke_a_rule: bool,
    /// What a reader must know besides.
    pub notes: Vec<String>,
}

/// A row as `--json` writes it; the fields are an interface.
#[derive(Debug, Serialize)]
pub struct JsonRow<'a> {
    kind: &'static str,
    trace: &'a str,
    allocator: &'a str,
    ops: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p999_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<bool>,
    peak_live_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_fragmentation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable_2m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_bytes: Option<u64>,
}

impl Row {
    /// Nothing is known yet.
    pub(super) fn new(allocator: &'static Allocator) -> Self {
        let lesser = match allocator.class {
            Class::Lesser(why) => Some(why),
            _ => None,
        };
        Self {
            allocator,
            speed: None,
            latency: None,
            survey: None,
            complete: false,
            may_run: allocator.class == Class::Baseline,
            broke_a_rule: false,
            notes: [lesser, allocator.remark].into_iter().flatten().map(str::to_owned).collect(),
        }
    }

    /// Enters what the checked pass found.
    pub(super) fn take_survey(&mut self, program: &Program, surveyed: Surveyed) {
        let survey = match surveyed {
            Ok(Some(survey)) => survey,
            other => {
                self.broke_a_rule = true;
                let why = other.err();
                self.notes.push(why.unwrap_or_else(|| "cannot manage that many frames".into()));
                return;
            }
        };
        self.may_run = survey.breach.is_none_or(|(breach, _)| !breach.is_fatal());
        self.complete = survey.ops == program.ops().len();
        self.broke_a_rule = survey.breach.is_some() || survey.refused_in_vain.is_some();
        if let Some((breach, op)) = survey.breach {
            self.notes.push(format!("{} (at operation {op})", breach.phrase()));
        } else if !self.complete {
            let share = survey.ops * 100 / program.ops().len().max(1);
            self.notes.push(format!("checked in part (the first {share} %)"));
        }
        if let Some(op) = survey.refused_in_vain {
            self.notes.push(format!("refused a block that was free (at operation {op})"));
        } else if survey.failed > 0 {
            self.notes.push(format!("refused requests ({} of them)", survey.failed));
        }
        self.survey = Some(survey);
    }

    /// Whether the timed passes can go on with it.
    pub(super) fn runs(&self) -> bool {
        self.may_run && self.allocator.class != Class::Broken
    }

    /// Whether overlap, bounds and alignment held.
    #[must_use]
    pub fn valid(&self) -> Option<bool> {
        self.survey.as_ref().map(|survey| survey.breach.is_none())
    }

    /// The memory at the end of the program, if the checked pass came so far.
    #[must_use]
    pub fn end(&self) -> Option<&Sample> {
        self.survey.as_ref().filter(|_| self.complete)?.samples.last()
    }

    /// Nanoseconds for each operation, unless it was cut off.
    #[must_use]
    pub fn ns(&self) -> Option<f64> {
        self.speed.as_ref().filter(|speed| !speed.slow).map(|speed| speed.ns_per_op)
    }

    /// The share of the free frames that can be had as 2 MiB at the end.
    #[must_use]
    pub fn usable_2m(&self) -> Option<f64> {
        self.end().map(|end| 1.0 - end.unusable_2m)
    }

    /// Bytes of tables for each frame.
    #[must_use]
    pub fn metadata_a_frame(&self, program_frames: usize) -> Option<f64> {
        let bytes = self.survey.as_ref()?.metadata_bytes?;
        Some(bytes as f64 / program_frames.max(1) as f64)
    }

    /// Whether the row may be recommended: a general allocator that ran, kept its promises and refused nothing in vain.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.allocator.class == Class::General && !self.broke_a_rule && self.ns().is_some()
    }

    /// The row for `--json`.
    #[must_use]
    pub fn json<'a>(&'a self, trace: &'a str, ops: usize, peak: u64) -> JsonRow<'a> {
        let (quantiles, survey) = (self.latency.as_ref(), self.survey.as_ref());
        let whole = survey.filter(|_| self.complete);
        JsonRow {
            kind: "frames",
            trace,
            allocator: self.allocator.name,
            ops,
            ns_per_op: self.speed.as_ref().map(|speed| speed.ns_per_op),
            p50_ns: quantiles.map(|q| q.p50),
            p99_ns: quantiles.map(|q| q.p99),
            p999_ns: quantiles.map(|q| q.p999),
            max_ns: quantiles.map(|q| q.max),
            failed: survey.map(|survey| survey.failed),
            valid: self.valid(),
            peak_live_bytes: peak * FRAME as u64,
            peak_used_bytes: whole.map(|survey| survey.extent * FRAME as u64),
            external_fragmentation: whole.map(|survey| survey.external),
            unusable_2m: self.end().map(|end| end.unusable_2m),
            metadata_bytes: survey.and_then(|survey| survey.metadata_bytes),
        }
    }
}
