//! A heap of bytes against its shadow: the default one, or another that the last byte chooses.
#![no_main]

#[path = "../../fit-alloc/tests/driven/heap.rs"]
mod driven;

use driven::Tested;
use hectare_fit::heap::{Bounded, GoodFit, Hardened, QuickLists, Small, Standard};
use hectare_fit::{FitHeap, StrictHeap};
use hectare_testkit::fuzz::{heap, kind};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match kind(bytes, 8) {
    0..4 => heap(Tested(FitHeap::<3>::new()), bytes),
    4 => heap(Tested(QuickLists::<Small, 3>::new()), bytes),
    5 => heap(Tested(StrictHeap::<3>::new()), bytes),
    6 => heap(Tested(GoodFit::<Small, 3, Hardened>::new()), bytes),
    _ => heap(Tested(GoodFit::<Standard, 3, Bounded>::new()), bytes),
});
