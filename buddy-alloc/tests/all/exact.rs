//! Engines that know where blocks begin.

use hectare_buddy::{Banks, Engine, Exact, Request, Rows32, Rows64, words_for};
use hectare_core::{AllocError, CheckInvariants, Frame, FrameRun, FreeError, Order, RegionError};

use crate::support::{Memory, frames, order, run};

#[test]
fn a_bit_a_frame() {
    let gibibyte = run(0, 1 << 18);
    let bytes = words_for::<Exact<Rows64>>(gibibyte).unwrap() * 8;
    assert!(bytes * 100 <= 29 * (1 << 18), "{bytes}");
    let narrow = words_for::<Exact<Rows32>>(gibibyte).unwrap() * 4;
    assert!(narrow * 100 <= 30 * (1 << 18), "{narrow}");
}

#[test]
fn a_wrong_size_is_refused_and_changes_nothing() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Exact<Rows64>> = memory.engine(&[run(0, 1 << 13), run(3 << 12, 40)], u64::MAX);
    let last = engine
        .allocate(Request::exactly(frames(40)).within(Frame::new(3 << 12)..Frame::new(u64::MAX)))
        .unwrap();
    let blocks = [0, 3, 6, 9, 12].map(|k| (engine.allocate_order(order(k)).unwrap(), order(k)));
    let odd = engine.allocate(Request::exactly(frames(100))).unwrap();
    let free = engine.free_frames();
    for (first, k) in blocks {
        for wrong in (0..=12).map(order).filter(|wrong| *wrong != k && first.is_aligned(*wrong)) {
            let error = engine.free_order(first, wrong);
            assert!(
                matches!(error, Err(FreeError::WrongSize | FreeError::NotAllocated | FreeError::Foreign)),
                "{error:?}"
            );
        }
        let part = FrameRun::new(first.checked_add(k.frames() / 2).unwrap(), 1).unwrap();
        assert!(k == Order::ZERO || engine.free(part).is_err(), "{part:?}");
    }
    for bad in
        [run(odd.first().number(), 99), run(odd.first().number() + 1, 99), run(last.first().number(), 39)]
    {
        assert_eq!(engine.free(bad), Err(FreeError::WrongSize), "{bad:?}");
        assert_eq!(engine.split(bad, frames(1)), Err(FreeError::WrongSize));
        assert_eq!(engine.grow(bad, frames(1)), Err(AllocError::BadBlock(FreeError::WrongSize)));
    }
    assert_eq!(engine.free_frames(), free);
    engine.check_invariants().unwrap();
    for (first, k) in blocks {
        engine.free_order(first, k).unwrap();
        assert_eq!(engine.free_order(first, k), Err(FreeError::NotAllocated));
    }
    engine.free(odd).unwrap();
    engine.free(last).unwrap();
    assert_eq!(engine.free_frames(), engine.capacity());
    engine.check_invariants().unwrap();
}

#[test]
fn a_part_is_given_back_after_a_split() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Exact<Rows64>> = memory.engine(&[run(0, 1 << 13)], 0);
    let block = engine.allocate_order(order(10)).unwrap();
    let whole = FrameRun::of_order(block, order(10)).unwrap();
    assert_eq!(engine.split(whole, frames(1 << 10)), Err(FreeError::WrongSize));
    let (head, rest) = engine.split(whole, frames(100)).unwrap();
    assert_eq!(engine.free(whole), Err(FreeError::WrongSize));
    let (middle, tail) = engine.split(rest, frames(24)).unwrap();
    engine.free(middle).unwrap();
    assert_eq!(engine.free(middle), Err(FreeError::NotAllocated));
    assert_eq!(engine.grow(head, frames(24)), Ok(run(block.number(), 124)));
    engine.check_invariants().unwrap();
    assert_eq!(engine.free(head), Err(FreeError::WrongSize));
    engine.free(run(block.number(), 124)).unwrap();
    engine.free(tail).unwrap();
    assert_eq!(engine.census().largest(), Some(order(13)));
    engine.check_invariants().unwrap();
}

#[test]
fn frames_that_go_offline_end_a_block() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Exact<Rows64>> = memory.engine(&[run(0, 128)], 0);
    engine.allocate_at(run(10, 5)).unwrap();
    engine.offline(run(15, 20)).unwrap();
    engine.check_invariants().unwrap();
    engine.allocate_at(run(35, 1)).unwrap();
    assert_eq!(engine.free(run(10, 4)), Err(FreeError::WrongSize));
    engine.free(run(10, 5)).unwrap();
    engine.online(run(15, 20)).unwrap();
    engine.free(run(35, 1)).unwrap();
    engine.check_invariants().unwrap();
    assert_eq!(engine.census().largest(), Some(order(7)));
}

#[test]
fn what_is_recovered_knows_its_blocks() {
    let span = run(5, 1000);
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Exact<Rows64>> = memory.engine(&[span], 0);
    let blocks: Vec<FrameRun> =
        (1..30).map(|n| engine.allocate(Request::exactly(frames(n))).unwrap()).collect();
    blocks.iter().step_by(3).for_each(|block| engine.free(*block).unwrap());
    let mut bitmap = vec![0; engine.bitmap_words()];
    engine.save(&mut bitmap).unwrap();
    recovered(span, &bitmap, |engine| {
        let mut engine = engine.unwrap();
        engine.check_invariants().unwrap();
        for (number, block) in blocks.iter().enumerate() {
            assert_eq!(engine.free(*block).is_ok(), number % 3 != 0);
        }
        assert_eq!(engine.free_frames(), 1000);
    });
    // A block that begins at a free frame, or nowhere.
    let heads = bitmap.len() / 2;
    for broken in [heads, heads + 1] {
        let mut bitmap = bitmap.clone();
        bitmap[broken] = !bitmap[broken];
        recovered(span, &bitmap, |engine| assert_eq!(engine.err(), Some(RegionError::Unknown)));
    }
    recovered(span, &bitmap[..heads], |engine| assert_eq!(engine.err(), Some(RegionError::TooSmall)));
}

type Recovered<'m> = Result<Engine<'m, Exact<Rows64>>, RegionError>;

fn recovered(span: FrameRun, bitmap: &[u64], check: impl FnOnce(Recovered<'_>)) {
    let (mut table, mut words) = ([None; 1], vec![7; words_for::<Exact<Rows64>>(span).unwrap()]);
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    check(Engine::recover(span, banks, &mut words, bitmap));
}
