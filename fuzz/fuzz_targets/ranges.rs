//! A source of abstract ranges against its shadow.
#![no_main]

/// The source under test, with its shadow.
use hectare_testkit::fuzz::naive_ranges as model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hectare_testkit::fuzz::ranges(model(), bytes));
