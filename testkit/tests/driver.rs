//! The stand-ins keep every rule that the driver watches, whoever writes the operations.

use hectare_core::{CheckInvariants, Extent, FrameRun, Violation};
use hectare_testkit::arena::Arena;
use hectare_testkit::drive::{Counts, FrameModel, HeapModel, RangeModel, drive};
use hectare_testkit::op::heap::Shape;
use hectare_testkit::op::{FrameOp, HeapOp, RangeOp, decode_all, frames, heap, noise, ranges};
use hectare_testkit::stand_in::{Failing, NaiveHeap, NaiveRanges, PlainFrames, Schedule};
use hectare_testkit::trace;
use proptest::collection::vec;
use proptest::prelude::*;

/// Few and short cases under Miri, which is some thousand times slower.
fn cases(native: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(if cfg!(miri) { 3 } else { native });
    config.failure_persistence = None;
    config
}

const OPS: usize = if cfg!(miri) { 40 } else { 400 };

fn naive_heap(arena: usize) -> HeapModel<NaiveHeap> {
    let mut arena = Arena::new(arena, 64);
    arena.give(3..arena.size() / 2);
    HeapModel::new(NaiveHeap::new(), arena)
}

fn no_frame_is_used<const LOG2: u8>(frames: &PlainFrames<LOG2>) -> Result<(), Violation> {
    Violation::unless(frames.free() == frames.all().count(), "every frame is free", frames.free())
}

fn one_hole(ranges: &NaiveRanges) -> Result<(), Violation> {
    Violation::unless(ranges.holes().len() == 1 && ranges.live().is_empty(), "one hole", 0)
}

fn plain_frames(first: u64, count: u64) -> FrameModel<PlainFrames<6>, impl hectare_core::PhysWindow> {
    let frames = PlainFrames::<6>::new(first, count);
    let (all, window) = (frames.all(), frames.window());
    FrameModel::new(frames, &[all], Some(window))
        .taking_parts()
        .checking(CheckInvariants::check_invariants, no_frame_is_used)
}

fn naive_ranges(space: Extent) -> RangeModel<NaiveRanges> {
    RangeModel::new(NaiveRanges::new(space), &[space]).checking(CheckInvariants::check_invariants, one_hole)
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_naive_heap_keeps_the_rules(
        ops in vec(heap::strategy(Shape { slots: 40, max_size_log2: 10, max_align_log2: 8, arena: 8192 }), 0..OPS),
    ) {
        drive(&mut naive_heap(8192), ops, 10).unwrap();
    }

    #[test]
    fn a_failing_heap_loses_nothing(
        every in 1u64..5,
        ops in vec(heap::strategy(Shape { slots: 40, max_size_log2: 8, max_align_log2: 4, arena: 0 }), 0..OPS),
    ) {
        let (arena, _) = Arena::with_region(8192, 16, 1);
        let heap = Failing::new(NaiveHeap::new(), Schedule::Every(every));
        let mut model = HeapModel::new(heap, arena);
        let counts = drive(&mut model, ops, 10).unwrap();
        prop_assert!(counts.refused >= model.heap().refused());
    }

    #[test]
    fn plain_frames_keep_the_rules(first in 0u64..100, ops in vec(frames::strategy(20, 40), 0..OPS)) {
        drive(&mut plain_frames(first, 150), ops, 10).unwrap();
    }

    #[test]
    fn naive_ranges_keep_the_rules(top in any::<bool>(), ops in vec(ranges::strategy(40, 5000), 0..OPS)) {
        let start = if top { u64::MAX - 5000 } else { 7 };
        drive(&mut naive_ranges(Extent::new(start, 5000).unwrap()), ops, 1).unwrap();
    }

    /// Whatever the bytes, they are operations, and enough of them do something.
    #[test]
    fn any_bytes_are_operations(bytes in vec(any::<u8>(), 0..4 * OPS)) {
        drive(&mut naive_heap(1 << 14), decode_all(&bytes, HeapOp::decode), 10).unwrap();
        drive(&mut plain_frames(3, 100), decode_all(&bytes, FrameOp::decode), 10).unwrap();
        drive(&mut naive_ranges(Extent::new(0, 1 << 15).unwrap()), decode_all(&bytes, RangeOp::decode), 10).unwrap();
    }
}

/// The driver is not idle: noise reaches every kind of operation.
#[test]
fn noise_does_everything() {
    let noise = &noise(1, if cfg!(miri) { 2000 } else { 40_000 });
    let done = |counts: Counts| {
        println!("{counts:?}");
        counts.allocated > 20 && counts.freed > 20 && counts.refused > 0
    };
    let heap = drive(&mut naive_heap(1 << 14), decode_all(noise, HeapOp::decode), 50).unwrap();
    assert!(done(heap) && heap.resized > 5 && heap.regions > 5);
    let frames = drive(&mut plain_frames(3, 100), decode_all(noise, FrameOp::decode), 50).unwrap();
    assert!(done(frames) && frames.regions > 5);
    let space = Extent::new(0, 1 << 13).unwrap();
    let ranges = drive(&mut naive_ranges(space), decode_all(noise, RangeOp::decode), 50).unwrap();
    assert!(done(ranges));
}

#[test]
fn recorded_traces_are_operations() {
    use trace::heap::HeapOp::{Allocate, Free, Reallocate, Thread};
    let recorded = vec![
        Allocate { slot: 0, size: 100, align_log2: 4, zeroed: true },
        Thread { thread: 2 },
        Allocate { slot: 1, size: 0, align_log2: 7, zeroed: false },
        Reallocate { slot: 0, size: 3000 },
        Free { slot: 1 },
        Allocate { slot: 1, size: 7, align_log2: 4, zeroed: false },
    ];
    let trace = trace::heap::HeapTrace::from_ops("t", false, recorded).unwrap();
    let mut model = naive_heap(1 << 14).looking_at(64);
    let counts = drive(&mut model, HeapOp::from_trace(&trace.ops), 1).unwrap();
    assert_eq!((counts.allocated, counts.freed, counts.resized, counts.refused), (3, 1, 1, 0));
    let space = Extent::new(0, 1 << 14).unwrap();
    let counts = drive(&mut naive_ranges(space), RangeOp::from_trace(&trace), 1).unwrap();
    assert_eq!((counts.allocated, counts.freed), (4, 2));
}

#[test]
fn recorded_splits_are_operations() {
    use trace::frames::FrameOp::{Allocate, Free, Piece, Split};
    let mobility = trace::frames::Mobility::Movable;
    let block = Allocate { slot: 0, order: 3, mobility, zeroed: false, movable: true, accounted: false };
    let pieces = [Piece { slot: 1 }, Piece { slot: 2 }, Piece { slot: 3 }];
    let mut recorded = vec![block, Split { slot: 0, order: 1 }];
    recorded.extend(pieces);
    recorded.extend([Free { slot: 2 }, Free { slot: 0 }]);
    trace::frames::FrameTrace::from_ops("t", false, recorded.clone()).unwrap();
    let mut model = plain_frames(0, 16);
    let mut ops: Vec<_> = FrameOp::from_trace(&recorded).collect();
    assert_eq!(ops.len(), 6);
    let last = ops.split_off(5);
    hectare_testkit::drive::Model::step(&mut model, ops[0]).unwrap();
    for op in &ops[1..] {
        hectare_testkit::drive::Model::step(&mut model, *op).unwrap();
    }
    let run = |first: u64, count: u64| FrameRun::new(hectare_core::Frame::new(first), count).unwrap();
    let live: Vec<_> = model.space().live().map(|live| run(live.start, live.end - live.start)).collect();
    assert_eq!(live, [run(0, 2), run(2, 2), run(6, 2)]);
    assert_eq!(drive(&mut model, last, 1).unwrap().freed, 2);
}
