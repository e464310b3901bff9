//! Page frames against their shadow, in rows of a width that the last byte chooses.
#![no_main]

#[path = "../../buddy-alloc/tests/all/driven.rs"]
mod driven;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    driven::drive(hectare_testkit::fuzz::kind(bytes, driven::KINDS), bytes);
});
