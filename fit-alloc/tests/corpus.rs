//! Replays the fuzz targets' cases, what they once found included, on every heap and every policy.
#![cfg(not(miri))]

#[path = "driven/heap.rs"]
mod driven;
#[path = "driven/ranges.rs"]
mod ranges;

use driven::{Regions, Tested};
use hectare_fit::heap::{Bounded, Complete, GoodFit, Hardened, QuickLists, Small, Standard};
use hectare_testkit::fuzz::{self, corpus};

fn replay<H: Regions>() {
    for (name, bytes) in corpus("heap") {
        println!("{name}");
        fuzz::heap(Tested(H::EMPTY), &bytes);
    }
}

#[test]
fn the_heap_corpus_passes() {
    replay::<QuickLists<Standard, 3>>();
    replay::<QuickLists<Small, 1>>();
    replay::<GoodFit<Standard, 3, Complete>>();
    replay::<GoodFit<Standard, 3, Bounded>>();
    replay::<GoodFit<Standard, 3, Hardened>>();
    replay::<GoodFit<Small, 3, Complete>>();
    replay::<GoodFit<Small, 2, Hardened>>();
}

#[test]
fn the_ranges_corpus_passes() {
    for (name, bytes) in corpus("ranges") {
        println!("{name}");
        (0..ranges::KINDS).for_each(|kind| ranges::drive(kind, &bytes));
    }
}
