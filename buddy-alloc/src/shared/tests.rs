//! How many read-modify-writes each operation takes: a cost that no clock on a busy machine shows.
#![allow(clippy::unwrap_used, reason = "tests")]

extern crate alloc;
extern crate std;

use alloc::vec::Vec;

use hectare_core::{Frame, NoCpu, SingleCpu};

use super::words::counted::so_far;
use super::*;

fn order(k: u8) -> Order {
    Order::new(k).unwrap()
}

/// Runs `test` with an engine over a gibibyte.
fn with_engine<C: CpuPin>(pin: C, test: impl FnOnce(&Shared<'_, C>)) {
    let span = FrameRun::new(Frame::new(0), 1 << 18).unwrap();
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let words: Vec<AtomicU64> =
        (0..words_for::<Rows64>(span, pin.slots()).unwrap()).map(|_| AtomicU64::new(0)).collect();
    test(&Shared::new(banks, &words, pin).unwrap());
}

/// The read-modify-writes of a call.
fn counted<R>(call: impl FnOnce() -> R) -> (u64, R) {
    let before = so_far();
    let result = call();
    (so_far() - before, result)
}

/// Of an allocation and the free after it, when the same was done before.
fn pair<C: CpuPin>(engine: &Shared<'_, C>, k: u8) -> (u64, u64) {
    let first = engine.allocate_order(order(k)).unwrap();
    engine.free_order(first, order(k)).unwrap();
    let (taking, first) = counted(|| engine.allocate_order(order(k)).unwrap());
    let (giving, ()) = counted(|| engine.free_order(first, order(k)).unwrap());
    (taking, giving)
}

#[test]
fn a_pair_inside_a_row_takes_none() {
    for k in 0..6 {
        with_engine(SingleCpu::new(), |engine| assert_eq!(pair(engine, k), (0, 0), "order {k}"));
    }
}

#[test]
fn a_pair_of_rows_takes_one_each() {
    for k in 6..11 {
        with_engine(SingleCpu::new(), |engine| assert!(pair(engine, k) <= (2, 2), "order {k}"));
    }
}

/// Single frames, one after the other: one row in 64 is new.
#[test]
fn a_row_of_single_frames() {
    with_engine(SingleCpu::new(), |engine| {
        let count = 64 * 100;
        let (taking, frames) =
            counted(|| (0..count).map(|_| engine.allocate_order(order(0)).unwrap()).collect::<Vec<_>>());
        assert!(taking < 3 * count / 64, "{taking} for {count} frames");
        // Back in the same order: the second of a row makes the row the stock, and each row is carried.
        let (giving, ()) = counted(|| frames.iter().for_each(|f| engine.free_order(*f, order(0)).unwrap()));
        assert!(giving < 6 * count / 64, "{giving} for {count} frames");
    });
}

/// Frames of a row at once: one to take, one to give, and the carry.
#[test]
fn a_group_of_frames() {
    let most = core::num::NonZero::new(64).unwrap();
    with_engine(SingleCpu::new(), |engine| {
        let count = 100;
        let (taking, groups) =
            counted(|| (0..count).map(|_| engine.allocate_frames_of_row(most).unwrap()).collect::<Vec<_>>());
        assert!(taking < 3 * count, "{taking} for {count} rows");
        assert_eq!(groups.iter().map(|group| group.blocks.count_ones()).sum::<u32>(), 64 * 100);
        let (giving, ()) = counted(|| groups.iter().for_each(|group| engine.free_group(*group).unwrap()));
        assert!(giving < 3 * count, "{giving} for {count} rows");
    });
    with_engine(NoCpu, |engine| {
        let group = engine.allocate_frames_of_row(most).unwrap();
        let (giving, ()) = counted(|| engine.free_group(group).unwrap());
        assert!(group.blocks.count_ones() == 64 && giving < 8, "{giving} for a row");
    });
}

/// Who has no slot pays for each call, but not for the length of the block.
#[test]
fn without_a_slot() {
    with_engine(NoCpu, |engine| {
        // These keep the tree and a row from merging.
        engine.allocate_order(order(0)).unwrap();
        engine.allocate_order(order(6)).unwrap();
        for k in 0..12 {
            let (taking, giving) = pair(engine, k);
            assert!(taking <= 4 && giving <= 6, "order {k}: {taking} {giving}");
        }
    });
}
