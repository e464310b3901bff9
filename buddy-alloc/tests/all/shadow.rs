//! Any sequence of calls against the plain model.
//!
//! * a request is refused only if no run would do, and what it gives is what was asked for
//! * a free is taken exactly if all its frames are allocated and in a bank; a refused one changes nothing
//! * frames, holes, blocks by order and counts are the model's after every call
//! * when all is given back, the engine is as it was at the start

use hectare_buddy::{Banks, Engine, Frames, Geometry, Request, Rows4, Rows32, Rows64, Word, words_for};
use hectare_core::{CheckInvariants, DirectMap, Figures, Frame, FrameRun, RegionError, Violation};
use hectare_testkit::drive::{FrameModel, drive};
use hectare_testkit::op::FrameOp;
use hectare_testkit::op::frames::strategy;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Plain, frames, order, run};

const OPS: usize = if cfg!(miri) { 20 } else { 150 };

fn cases(native: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(if cfg!(miri) { 2 } else { native });
    config.failure_persistence = None;
    config
}

#[derive(Clone, Debug)]
enum Call {
    Allocate {
        count: u64,
        align: u8,
        from: u64,
        length: Option<u64>,
    },
    Order(u8),
    At {
        first: u64,
        count: u64,
    },
    Free {
        first: u64,
        count: u64,
    },
    /// Gives back a run that is held, or a part of it.
    FreeHeld {
        pick: usize,
        skip: u64,
        count: u64,
    },
    FreeOrder {
        first: u64,
        order: u8,
    },
    Grow {
        pick: usize,
        more: u64,
    },
    Offline {
        first: u64,
        count: u64,
    },
    Online {
        first: u64,
        count: u64,
    },
}

fn call(span: u64) -> impl Strategy<Value = Call> {
    let first = 0..span + 2;
    let count = || prop_oneof![3 => 1..9u64, 1 => 1..span];
    prop_oneof![
        4 => (0..10u8).prop_map(Call::Order),
        3 => (count(), 0..7u8, first.clone(), proptest::option::of(0..span)).prop_map(
            |(count, align, from, length)| Call::Allocate { count, align, from, length }
        ),
        1 => (first.clone(), count()).prop_map(|(first, count)| Call::At { first, count }),
        1 => (first.clone(), count()).prop_map(|(first, count)| Call::Free { first, count }),
        6 => (any::<usize>(), 0..3u64, count()).prop_map(|(pick, skip, count)| Call::FreeHeld { pick, skip, count }),
        1 => (first.clone(), 0..8u8).prop_map(|(first, order)| Call::FreeOrder { first, order }),
        1 => (any::<usize>(), 1..9u64).prop_map(|(pick, more)| Call::Grow { pick, more }),
        1 => (first.clone(), count()).prop_map(|(first, count)| Call::Offline { first, count }),
        1 => (first, count()).prop_map(|(first, count)| Call::Online { first, count }),
    ]
}

/// The maximal runs that are allocated in the model.
fn held(plain: &Plain, span: FrameRun) -> Vec<FrameRun> {
    let mut runs: Vec<FrameRun> = Vec::new();
    for frame in span.iter().filter(|frame| plain.is_allocated(run(frame.number(), 1))) {
        match runs.last_mut().filter(|last| last.end() == frame) {
            Some(last) => *last = run(last.first().number(), last.count() + 1),
            None => runs.push(run(frame.number(), 1)),
        }
    }
    runs
}

fn step<G: Geometry>(engine: &mut Engine<'_, G>, plain: &mut Plain, span: FrameRun, call: &Call) {
    let base = span.first().number();
    match *call {
        Call::Order(k) => take(engine, plain, Request::order(order(k)), true),
        Call::Allocate { count, align, from, length } => {
            let request = Request::exactly(frames(count)).aligned(order(align));
            let request = match length {
                Some(length) => request.within(Frame::new(base + from)..Frame::new(base + from + length)),
                None => request,
            };
            take(engine, plain, request, false);
        }
        Call::At { first, count } => {
            let run = run(base + first, count);
            assert_eq!(engine.allocate_at(run).is_ok(), plain.is_free(run));
            if plain.is_free(run) {
                plain.mark(run, false);
            }
        }
        Call::Free { first, count } => give(engine, plain, run(base + first, count)),
        Call::FreeHeld { pick, skip, count } => {
            let held = held(plain, span);
            let Some(whole) = held.get(pick % held.len().max(1)) else { return };
            let skip = skip.min(whole.count() - 1);
            give(engine, plain, run(whole.first().number() + skip, count.min(whole.count() - skip)));
        }
        Call::FreeOrder { first, order: k } => {
            let whole = run(base + first, order(k).frames());
            let legal = plain.is_allocated(whole) && whole.first().is_aligned(order(k));
            assert_eq!(engine.free_order(whole.first(), order(k)).is_ok(), legal, "{whole:?}");
            if legal {
                plain.mark(whole, true);
            }
        }
        Call::Grow { pick, more } => {
            let held = held(plain, span);
            let Some(whole) = held.get(pick % held.len().max(1)) else { return };
            let tail = run(whole.end().number(), more);
            assert_eq!(engine.grow(*whole, frames(more)).is_ok(), plain.is_free(tail));
            if plain.is_free(tail) {
                plain.mark(tail, false);
            }
        }
        Call::Offline { first, count } => {
            let run = run(base + first, count);
            match engine.offline(run) {
                Ok(()) => {
                    assert!(plain.is_free(run));
                    plain.manage(run, false);
                }
                Err(error) => {
                    let full = error == RegionError::TableFull;
                    assert!(full || !plain.is_free(run), "{run:?}: {error}");
                }
            }
        }
        Call::Online { first, count } => {
            let run = run(base + first, count);
            let apart = run.iter().all(|frame| !plain.manages(FrameRun::new(frame, 1).unwrap()));
            match engine.online(run) {
                Ok(()) => {
                    assert!(apart && span.contains(run));
                    plain.manage(run, true);
                }
                Err(error) => {
                    let full = error == RegionError::TableFull;
                    assert!(full || !apart || !span.contains(run), "{run:?}: {error}");
                }
            }
        }
    }
}

fn take<G: Geometry>(engine: &mut Engine<'_, G>, plain: &mut Plain, request: Request, by_order: bool) {
    let answer = if by_order {
        engine.allocate_order(request.align).map(|first| FrameRun::of_order(first, request.align).unwrap())
    } else {
        engine.allocate(request)
    };
    match answer {
        Ok(run) => {
            assert!(plain.suits(&request, run), "{request:?} got {run:?}");
            plain.mark(run, false);
        }
        Err(error) => assert!(!plain.serves(&request), "{request:?} was refused: {error}"),
    }
}

fn give<G: Geometry>(engine: &mut Engine<'_, G>, plain: &mut Plain, run: FrameRun) {
    assert_eq!(engine.free(run).is_ok(), plain.is_allocated(run), "{run:?}");
    if plain.is_allocated(run) {
        plain.mark(run, true);
    }
}

fn compare<G: Geometry>(start: u64, length: u64, hole: (u64, u64), calls: &[Call]) {
    let span = run(start, length);
    let mut table = [None; 6];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let hole = FrameRun::new(Frame::new(start + hole.0 % length), hole.1 % length / 2);
    if let Some(hole) = hole {
        banks.remove(hole).unwrap();
    }
    let all: Vec<FrameRun> = banks.iter().collect();
    let mut words = vec![G::Word::ONE; words_for::<G>(span).unwrap()];
    let mut engine = Engine::<G>::with_span(span, banks, &mut words).unwrap();
    let mut plain = Plain::new(span, &all);
    plain.check(&engine);
    for call in calls {
        step(&mut engine, &mut plain, span, call);
        plain.check(&engine);
    }
    recovered_is_equal(&engine, &plain, span);
    for run in held(&plain, span) {
        give(&mut engine, &mut plain, run);
    }
    plain.check(&engine);
    assert_eq!(engine.usage().allocated, 0);
}

/// What is saved and recovered has the same frames free, and saves the same.
fn recovered_is_equal<G: Geometry>(engine: &Engine<'_, G>, plain: &Plain, span: FrameRun) {
    let mut bitmap = vec![G::Word::ZERO; engine.bitmap_words()];
    engine.save(&mut bitmap).unwrap();
    let mut table = [None; 20];
    let mut banks = Banks::new(&mut table);
    engine.banks().iter().for_each(|bank| banks.add(bank).unwrap());
    let mut words = vec![G::Word::ONE; words_for::<G>(span).unwrap()];
    let recovered = Engine::<G>::recover(span, banks, &mut words, &bitmap).unwrap();
    plain.check(&recovered);
    let mut again = vec![G::Word::ZERO; engine.bitmap_words()];
    recovered.save(&mut again).unwrap();
    assert_eq!(again, bitmap);
}

fn one_engine<G: Geometry>(engine: &Frames<'_, G>) -> Result<(), Violation> {
    engine.engine().check_invariants()
}

fn nothing_is_held<G: Geometry>(engine: &Frames<'_, G>) -> Result<(), Violation> {
    let used = engine.engine().usage().allocated;
    Violation::unless(used == 0, "every frame is free", used)
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn rows_of_4(start in 0u64..70, length in 1u64..80, hole: (u64, u64), calls in vec(call(80), 0..OPS)) {
        compare::<Rows4>(start, length, hole, &calls);
    }

    #[test]
    fn rows_of_32(start in 0u64..3000, length in 1u64..1500, hole: (u64, u64), calls in vec(call(1500), 0..OPS / 3)) {
        compare::<Rows32>(start, length, hole, &calls);
    }

    #[test]
    fn rows_of_64(start in 0u64..9000, length in 1u64..3000, hole: (u64, u64), calls in vec(call(3000), 0..OPS / 3)) {
        compare::<Rows64>(start, length, hole, &calls);
    }

    #[test]
    fn the_testkit_driver(start in 0u64..5000, ops in vec(strategy(40, 600), 0..4 * OPS)) {
        drive_engine::<Rows64>(start, ops);
    }
}

#[cfg(feature = "exact")]
proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn the_testkit_driver_gives_back_what_it_took(start in 0u64..5000, ops in vec(strategy(40, 600), 0..4 * OPS)) {
        drive_engine::<hectare_buddy::Exact<Rows64>>(start, ops);
    }
}

fn drive_engine<G: Geometry<Word = u64>>(start: u64, ops: Vec<FrameOp>) {
    let span = run(start, 5000);
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let mut words = vec![0; words_for::<G>(span).unwrap()];
    let engine = Engine::<G>::new(banks, &mut words).unwrap();
    // SAFETY: no window shows the frames: nobody writes to them.
    let source = unsafe { Frames::<G>::new(engine) };
    let model = FrameModel::new(source, &[span], None::<DirectMap>).checking(one_engine, nothing_is_held);
    let mut model = if G::EXACT { model } else { model.taking_parts() };
    drive(&mut model, ops, 10).unwrap();
}
