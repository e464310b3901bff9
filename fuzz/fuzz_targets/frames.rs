//! A source of page frames against its shadow.
#![no_main]

/// The source under test, with its shadow.
use hectare_testkit::fuzz::plain_frames as model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hectare_testkit::fuzz::frames(model(), bytes));
