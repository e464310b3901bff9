//! What is known about one allocator on one trace.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::allocators::Allocator;
use super::child::Surveyed;
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
    /// The smallest heap that never fails, state included, over the peak of live bytes.
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
    metadata_bytes: Option<u64>,
}

impl Row {
    /// Nothing is known yet.
    pub(super) fn new(allocator: &'static Allocator) -> Self {
        let mut notes: Vec<String> = allocator.remark.iter().map(|remark| (*remark).to_owned()).collect();
        if let Class::Lesser(why) = allocator.class {
            notes.push(why.to_owned());
        }
        Self {
            allocator,
            speed: None,
            latency: None,
            survey: None,
            smallest: None,
            beyond_cap: false,
            broke_a_rule: false,
            notes,
        }
    }

    /// Enters what the checked pass found; returns the arena that it used.
    pub(super) fn take_survey(&mut self, program: &Program, outcome: Result<Surveyed, String>) -> usize {
        let (arena, survey) = match outcome {
            Ok(Surveyed { arena, survey: Some(survey) }) => (arena, survey),
            Ok(_) => {
                self.broke_a_rule = true;
                self.notes.push("cannot begin in an arena of twice the peak".into());
                return 0;
            }
            Err(why) => {
                self.broke_a_rule = true;
                self.notes.push(why);
                return 0;
            }
        };
        if let Some((breach, op)) = survey.breach {
            self.broke_a_rule = true;
            self.notes.push(format!("{} (at operation {op})", breach.phrase()));
        } else if survey.ops < program.ops.len() {
            self.notes.push("checked in part".into());
        }
        if survey.failed > 0 {
            self.notes.push(format!("refused requests ({} of them)", survey.failed));
        }
        if arena > program.arena_bytes(2) {
            let times = arena as f64 / program.peak.max(1) as f64;
            self.notes.push(format!("given more than twice the peak ({times:.0}x)"));
        }
        self.survey = Some(survey);
        arena
    }

    /// Whether overlap, alignment and contents held.
    #[must_use]
    pub fn valid(&self) -> Option<bool> {
        self.survey.as_ref().map(|survey| survey.breach.is_none())
    }

    /// Whether the timed passes may run: nothing was found that could harm the process.
    pub(super) fn runs(&self) -> bool {
        let harmless = |survey: &Survey| survey.breach.is_none_or(|(breach, _)| !breach.is_fatal());
        match self.allocator.class {
            Class::Baseline => true,
            Class::Broken => false,
            _ => self.survey.as_ref().is_some_and(harmless),
        }
    }

    /// Nanoseconds for each operation, unless it was cut off.
    #[must_use]
    pub fn ns(&self) -> Option<f64> {
        self.speed.as_ref().filter(|speed| !speed.slow).map(|speed| speed.ns_per_op)
    }

    /// Whether the row may be recommended: it kept its promises and refused nothing.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        let kept = self.survey.as_ref().is_some_and(|survey| survey.breach.is_none() && survey.failed == 0);
        self.allocator.class == Class::General && !self.allocator.apart && kept && self.speed.is_some()
    }

    /// The row for `--json`.
    #[must_use]
    pub fn json<'a>(&'a self, program: &'a Program) -> JsonRow<'a> {
        let (quantiles, survey) = (self.latency.as_ref(), self.survey.as_ref());
        JsonRow {
            kind: "objects",
            trace: &program.name,
            allocator: self.allocator.name,
            ops: program.count,
            ns_per_op: self.speed.as_ref().map(|speed| speed.ns_per_op),
            p50_ns: quantiles.map(|q| q.p50),
            p99_ns: quantiles.map(|q| q.p99),
            p999_ns: quantiles.map(|q| q.p999),
            max_ns: quantiles.map(|q| q.max),
            failed: survey.map(|survey| survey.failed),
            valid: self.valid(),
            peak_live_bytes: program.peak,
            peak_used_bytes: survey
                .filter(|survey| survey.ops == program.ops.len())
                .map(|survey| survey.peak_used),
            min_heap_ratio: self.smallest,
            metadata_bytes: survey.map(|survey| survey.metadata_bytes),
        }
    }
}
