//! Step bounds: what one allocation or free may visit, among 10 to 1 000 000 holes.
#![forbid(unsafe_code)]
#![expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]

extern crate alloc;

use alloc::vec::Vec;

use hectare_core::Figures;

use super::{RangeAllocator, Request, Vecs};
use crate::policy::{BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit, steps};

/// How the lengths of the holes are arranged.
const SHAPES: [fn(u32) -> u32; 5] = [
    // All equal: one ring, all maxima alike.
    |_| 16,
    // Ascending and descending with the address: the worst case for trees shaped by size.
    |hole| 1 + hole % 4096,
    |hole| 4096 - hole % 4096,
    // Powers of two: every trie holds one size.
    |hole| 1 << (hole % 12),
    // Scattered (a multiplicative hash).
    |hole| 1 + (hole.wrapping_mul(2_654_435_769) >> 20),
];

fn holds_its_bound<P: Policy>() {
    let most = if cfg!(miri) { 2 } else { 6 };
    for (number, shape) in SHAPES.into_iter().enumerate() {
        // A million holes of equal and of scattered lengths only, for the time it takes.
        let most = if number % 4 == 0 { most } else { most.min(4) };
        for holes in (1..=most).map(|power| 10_u32.pow(power)) {
            let space = u32::MAX;
            let mut allocator = RangeAllocator::<P, u32, _>::new(space, Vecs::new()).unwrap();
            // Cut the space from the bottom up, by place: alternately what will be a hole, and a block of one unit.
            let mut start = 0;
            let blocks: Vec<_> = (0..holes)
                .map(|hole| {
                    // One hole is left, the rest of the space, so that every policy finds it at once.
                    let request = |start, length| Request::new(length).within(start..start + length);
                    let block = allocator.allocate_with(request(start, shape(hole))).unwrap();
                    let wall = allocator.allocate_with(request(block.end(), 1)).unwrap();
                    start = wall.end();
                    block.handle
                })
                .collect();
            let bound = P::BOUND.steps(u32::BITS, u64::from(holes) + 1);
            let check = |what: &str| {
                let taken = steps::take();
                assert!(taken <= bound, "{}: {what} took {taken} steps of {bound}, {holes} holes", P::NAME);
                assert!(taken > 0, "{}: {what} is not counted", P::NAME);
            };
            // In a scattered order, so that holes also meet in every pattern.
            let stride = (7 % holes) | 1;
            for turn in 0..holes {
                let block = blocks[(u64::from(turn) * u64::from(stride) % u64::from(holes)) as usize];
                let _ = steps::take();
                if allocator.free(block).is_ok() {
                    check("free");
                }
            }
            assert!(allocator.fragmentation().holes >= u64::from(holes));
            for length in (1..20).chain((0..30).map(|k| 1 << k)).chain([17, 100, 4095, 4097, 1 << 31]) {
                let _ = steps::take();
                let Ok(block) = allocator.allocate(length) else { continue };
                check("allocate");
                allocator.free(block.handle).unwrap();
                check("free");
                let _ = steps::take();
                let _ = allocator.largest_free();
            }
        }
    }
}

macro_rules! bounds {
    ($($test:ident $policy:ident,)*) => {$(
        #[test]
        fn $test() {
            holds_its_bound::<$policy>();
        }
    )*};
}
bounds! {
    best_fit_holds_its_bound BestFit,
    worst_fit_holds_its_bound WorstFit,
    first_fit_holds_its_bound FirstFit,
    next_fit_holds_its_bound NextFit,
    last_fit_holds_its_bound LastFit,
    good_fit_holds_its_bound GoodFit,
    half_fit_holds_its_bound HalfFit,
}
