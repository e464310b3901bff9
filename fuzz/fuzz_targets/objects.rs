//! A cache of equal objects against its shadow: the last byte chooses their size, and the slabs'.
#![no_main]

#[path = "../../slab-alloc/tests/driven/objects.rs"]
mod driven;

use core::alloc::Layout;

use hectare_testkit::fuzz::{kind, objects};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let choice = kind(bytes, 64);
    let size = [1, 8, 24, 100, 300, 500, 64, 33][choice % 8];
    let object = Layout::from_size_align(size, 1 << (choice / 8 % 4)).expect("a layout");
    if let Some(model) = driven::model::<9>(object, 1 + (choice / 32) as u32 * 3, 5, 24, 1) {
        objects(model, bytes);
    }
});
