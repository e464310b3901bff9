//! A heap of bytes against its shadow.
#![no_main]

/// The heap under test.
type Heap = hectare_testkit::stand_in::NaiveHeap;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hectare_testkit::fuzz::heap(Heap::new(), bytes));
