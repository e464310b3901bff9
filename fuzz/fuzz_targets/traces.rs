//! All four trace readers: no panic, and what reads writes and reads equal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hectare_testkit::fuzz::traces(bytes));
