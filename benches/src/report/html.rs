//! The report: one HTML page that needs nothing else.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::number::bytes;
use super::overall::overall;
use super::table::table;
use crate::heap::TraceResult;

/// Where and when it was measured.
#[derive(Debug)]
pub struct Machine;

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn this() -> Self {
        Self
    }
}

/// The page.
#[must_use]
pub fn page(results: &[TraceResult], _machine: &Machine, rounds: usize) -> String {
    let mut page =
        format!("<!doctype html><meta charset=utf-8><title>compare</title><p>{rounds} rounds</p><pre>");
    page += &table(&overall(results), 120);
    for result in results {
        let _ = write!(page, "\n{}: peak {}", result.name, bytes(result.peak_bytes));
    }
    page + "</pre>"
}
