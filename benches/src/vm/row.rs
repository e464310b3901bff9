//! What is known about one choice of settings on one trace.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::choices::Choice;
use super::replay::Checked;
use crate::heap::Quantiles;

/// One row of a table.
#[derive(Debug)]
pub struct Row {
    /// Which settings.
    pub choice: &'static Choice,
    /// What the checked pass found.
    pub checked: Checked,
    /// Nanoseconds for each record, all passes' median.
    pub ns_per_op: Option<f64>,
    /// Nanoseconds for each fault that was handled, zeroing and copying included: the mean.
    pub ns_per_fault: Option<f64>,
    /// How steady.
    pub latency: Option<Quantiles>,
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
    failed: u64,
    valid: bool,
    peak_live_bytes: u64,
    peak_used_bytes: u64,
    metadata_bytes: u64,
    faults: u64,
    tables_peak: u64,
    huge_pages: u64,
    promoted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_fault: Option<f64>,
    differences: usize,
}

impl Row {
    /// Pages copied on a write.
    #[must_use]
    pub fn copies(&self) -> u64 {
        use hectare_paging::space::How;
        let of = |how| self.checked.how.get(&how).copied().unwrap_or(0);
        of(How::Copied) + of(How::ObjectCopied)
    }

    /// The row for `--json`.
    #[must_use]
    pub fn json<'a>(&'a self, trace: &'a str, ops: usize) -> JsonRow<'a> {
        let (found, quantiles) = (&self.checked, self.latency.as_ref());
        JsonRow {
            kind: "vm",
            trace,
            allocator: self.choice.name,
            ops,
            ns_per_op: self.ns_per_op,
            p50_ns: quantiles.map(|q| q.p50),
            p99_ns: quantiles.map(|q| q.p99),
            p999_ns: quantiles.map(|q| q.p999),
            max_ns: quantiles.map(|q| q.max),
            failed: found.differences.len() as u64,
            valid: found.differences.is_empty(),
            peak_live_bytes: found.resident_peak * 4096,
            peak_used_bytes: found.frames_peak * 4096,
            metadata_bytes: found.tables_peak * 4096,
            faults: found.handled,
            tables_peak: found.tables_peak,
            huge_pages: found.huge,
            promoted: found.promoted,
            ns_per_fault: self.ns_per_fault,
            differences: found.differences.len(),
        }
    }
}
