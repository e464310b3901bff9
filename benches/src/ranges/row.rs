//! What is known about one allocator on one trace.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::allocators::Allocator;
use super::program::Program;
use super::survey::Survey;
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
    /// What the checked pass found.
    pub survey: Option<Survey>,
    /// Whether it came to the program's end.
    pub complete: bool,
    /// The smallest space in which nothing is refused, over the peak.
    pub smallest: Option<f64>,
    /// The search for it gave up.
    pub beyond_cap: bool,
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
    min_heap_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_fragmentation: Option<f64>,
}

impl Row {
    /// Nothing is known yet.
    pub(super) fn new(allocator: &'static Allocator) -> Self {
        let lesser = match allocator.class {
            Class::Lesser(why) => vec![why.to_owned()],
            _ => vec![],
        };
        Self {
            allocator,
            speed: None,
            latency: None,
            survey: None,
            complete: false,
            smallest: None,
            beyond_cap: false,
            broke_a_rule: false,
            notes: lesser,
        }
    }

    /// Enters what the checked pass found.
    pub(super) fn take_survey(&mut self, program: &Program, survey: Option<Survey>) {
        let Some(survey) = survey else {
            self.broke_a_rule = true;
            return self.notes.push("cannot manage that many units".into());
        };
        self.complete = survey.ops == program.ops.len();
        if let Some(op) = survey.overlap {
            self.broke_a_rule = true;
            self.notes.push(format!("overlap (at operation {op})"));
        } else if !self.complete {
            self.notes.push("checked in part".into());
        }
        if survey.in_vain > 0 {
            self.broke_a_rule = true;
            self.notes.push(format!("refused what a hole would have held ({} times)", survey.in_vain));
        } else if survey.failed > 0 {
            self.notes.push(format!("refused requests ({} of them)", survey.failed));
        }
        self.survey = Some(survey);
    }

    /// Whether no blocks overlapped.
    #[must_use]
    pub fn valid(&self) -> Option<bool> {
        self.survey.as_ref().map(|survey| survey.overlap.is_none())
    }

    /// Nanoseconds for each operation, unless it was cut off.
    #[must_use]
    pub fn ns(&self) -> Option<f64> {
        self.speed.as_ref().filter(|speed| !speed.slow).map(|speed| speed.ns_per_op)
    }

    /// Whether the row may be recommended: it kept its promises and refused nothing.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        let kept = self.survey.as_ref().is_some_and(|survey| survey.overlap.is_none() && survey.failed == 0);
        self.allocator.class == Class::General && kept && self.complete && self.speed.is_some()
    }

    /// The row for `--json`.
    #[must_use]
    pub fn json<'a>(&'a self, program: &'a Program) -> JsonRow<'a> {
        let (quantiles, survey) = (self.latency.as_ref(), self.survey.as_ref());
        JsonRow {
            kind: "ranges",
            trace: &program.name,
            allocator: self.allocator.name,
            ops: program.ops.len(),
            ns_per_op: self.speed.as_ref().map(|speed| speed.ns_per_op),
            p50_ns: quantiles.map(|q| q.p50),
            p99_ns: quantiles.map(|q| q.p99),
            p999_ns: quantiles.map(|q| q.p999),
            max_ns: quantiles.map(|q| q.max),
            failed: survey.map(|survey| survey.failed),
            valid: self.valid(),
            peak_live_bytes: program.peak.0 * program.unit,
            peak_used_bytes: survey.filter(|_| self.complete).map(|survey| survey.used * program.unit),
            min_heap_ratio: self.smallest,
            external_fragmentation: survey.and_then(|s| s.at_peak).map(|sample| sample.external),
        }
    }
}
