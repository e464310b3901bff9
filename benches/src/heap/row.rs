//! What is known about one allocator on one trace.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::allocators::Allocator;
use super::map::Map;
use super::survey::Sample;

/// One row of a table. What was not measured, or has no meaning for this allocator, is absent.
#[derive(Debug)]
pub struct Row {
    /// Who.
    pub allocator: &'static Allocator,
    /// Operations in the trace.
    pub ops: usize,
    /// How fast.
    pub speed: Option<Speed>,
    /// How steady.
    pub latency: Option<Quantiles>,
    /// How much memory.
    pub memory: Memory,
    /// Requests refused in the arena of twice the peak.
    pub failed: Option<u64>,
    /// Whether contents, alignment and disjointness held.
    pub valid: Option<bool>,
    /// Whether the timed passes may run: nothing was found that could harm this process.
    pub(super) may_run: bool,
    /// Whether one of our promises was broken (meaningful for our allocators).
    pub broke_a_rule: bool,
    /// What a reader must know besides.
    pub notes: Vec<Note>,
}

/// A remark to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

/// Nanoseconds for each operation.
#[derive(Clone, Debug)]
pub struct Speed {
    /// The median of the rounds, or of the one pass that was not cut off.
    pub ns_per_op: f64,
    /// Every round.
    pub rounds: Vec<f64>,
    /// More than twenty times slower than the fastest: only one pass was made, cut off early.
    pub slow: bool,
}

/// Times of single operations, in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of the operations take at most this long.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
    /// The whole curve: share of the operations that take longer, and how long the rest takes at most.
    pub curve: Vec<(f64, f64)>,
}

/// Memory, in bytes unless said otherwise.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The highest sum of live requested bytes.
    pub peak_live: u64,
    /// The highest extent handed out; for hosted allocators the peak of resident memory.
    pub peak_used: Option<u64>,
    /// The smallest heap that never fails, state included, over `peak_live`.
    pub smallest: Option<f64>,
    /// The search for it gave up.
    pub beyond_cap: bool,
    /// Just after the peak.
    pub at_peak: Option<Sample>,
    /// Control structures.
    pub metadata: Option<u64>,
    /// Over time.
    pub samples: Vec<Sample>,
    /// Over time and addresses.
    pub map: Map,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable_2m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_bytes: Option<u64>,
}

impl Quantiles {
    /// The quantiles of a distribution in tenths of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |share: f64| histogram.value_at_quantile(share) as f64 / 10.0;
        // From 1 down to a millionth of the operations, eight points a decade.
        let rest = (0..=48).map(|i| 10_f64.powf(-f64::from(i) / 8.0));
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 10.0,
            curve: rest.map(|rest| (rest, at(1.0 - rest))).collect(),
        }
    }
}

impl Row {
    /// The row for `--json`.
    #[must_use]
    pub fn json<'a>(&'a self, trace: &'a str) -> JsonRow<'a> {
        let (quantiles, peak) = (self.latency.as_ref(), self.memory.at_peak);
        JsonRow {
            kind: "heap",
            trace,
            allocator: self.allocator.name,
            ops: self.ops,
            ns_per_op: self.speed.as_ref().map(|speed| speed.ns_per_op),
            p50_ns: quantiles.map(|q| q.p50),
            p99_ns: quantiles.map(|q| q.p99),
            p999_ns: quantiles.map(|q| q.p999),
            max_ns: quantiles.map(|q| q.max),
            failed: self.failed,
            valid: self.valid,
            peak_live_bytes: self.memory.peak_live,
            peak_used_bytes: self.memory.peak_used,
            min_heap_ratio: self.memory.smallest,
            external_fragmentation: peak.map(|sample| sample.external),
            unusable_2m: peak.map(|sample| sample.unusable_2m),
            metadata_bytes: self.memory.metadata,
        }
    }

    /// Nanoseconds for each operation, unless it was cut off.
    #[must_use]
    pub fn ns(&self) -> Option<f64> {
        self.speed.as_ref().filter(|speed| !speed.slow).map(|speed| speed.ns_per_op)
    }

    /// Memory used at the peak over the peak of live requested bytes.
    #[must_use]
    pub fn used_ratio(&self) -> Option<f64> {
        self.memory.peak_used.map(|used| used as f64 / self.memory.peak_live.max(1) as f64)
    }

    /// Whether the row may be recommended: a general allocator that ran, kept its promises and refused nothing.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.allocator.is_candidate()
            && self.valid == Some(true)
            && self.failed == Some(0)
            && self.speed.is_some()
    }
}
