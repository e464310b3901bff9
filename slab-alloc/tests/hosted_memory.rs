//! What the hosted heap gives back. A program by itself: the resident memory of a process counts what other tests hold too.
#![cfg(all(feature = "hosted", target_os = "linux", not(hectare_loom), not(miri)))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use hectare_slab::hosted::{self, Hosted};

#[global_allocator]
static HEAP: Hosted = Hosted;

/// Resident bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn memory_goes_back_to_the_system() {
    let before = resident();
    let blocks: Vec<Vec<u8>> = (0..200_000).map(|i| vec![1; 64 + i % 900]).collect();
    let full = resident();
    assert!(full > before + (80 << 20));
    drop(blocks);
    hosted::release();
    let after = resident();
    assert!(after < before + (full - before) / 10, "{before} → {full} → {after}");
    let _ = hosted::usage();
}
