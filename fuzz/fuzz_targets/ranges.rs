//! Ranges against their shadow, by a policy that the last byte chooses.
#![no_main]

#[path = "../../fit-alloc/tests/driven/ranges.rs"]
mod driven;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    driven::drive(hectare_testkit::fuzz::kind(bytes, driven::KINDS), bytes);
});
