use super::*;
use crate::geometry::{Rows4, Rows32, Rows64};

/// The starts of the aligned runs of 2^class set bits, bit by bit.
fn plain(row: u64, width: u32, class: u32) -> u64 {
    let length = 1 << class;
    let run = |at: u32| (at..at + length).all(|bit| row >> bit & 1 == 1);
    (0..width).step_by(length as usize).filter(|at| run(*at)).fold(0, |starts, at| starts | 1 << at)
}

fn check<G: Geometry>(row: u64) {
    let row = row & (u64::MAX >> (64 - G::BITS));
    let runs = Runs::<G>::of(G::Word::truncate(row));
    for class in 0..G::LOG2 {
        let starts = plain(row, G::BITS, class);
        assert!(runs.of_class(class) == G::Word::truncate(starts), "{row:#x} class {class}");
        let above = if class + 1 < G::LOG2 { plain(row, G::BITS, class + 1) } else { 0 };
        let maximal = starts & !(above | above << (1 << class));
        assert!(runs.maximal(class) == G::Word::truncate(maximal), "{row:#x} class {class}");
        let place = if maximal == 0 { starts } else { maximal };
        assert_eq!(runs.place(class), (place != 0).then(|| place.trailing_zeros()));
        if starts != 0 {
            assert!(runs.largest() >= class);
        }
    }
    if row != 0 {
        assert!(runs.of_class(runs.largest()) != G::Word::ZERO);
    }
}

#[test]
fn every_narrow_row() {
    (0..16).for_each(check::<Rows4>);
}

#[test]
fn rows_of_every_density() {
    let mut state = 1u64;
    for round in 0..if cfg!(miri) { 50 } else { 20_000 } {
        let mut row = u64::MAX;
        for _ in 0..=round % 6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            row &= state ^ state >> 29;
        }
        for row in [row, !row, row & row >> 1 & row >> 2] {
            check::<Rows32>(row);
            check::<Rows64>(row);
        }
    }
}
