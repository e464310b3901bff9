//! Any sequence of calls, each made as some CPU, against the plain model.
//!
//! * a request is refused only if no run would do, and what it gives is what was asked for
//! * a free is taken exactly if all its frames are allocated and in a bank; a refused one changes nothing
//! * frames, holes and counts are the model's after every call, and the invariants hold
//! * what the single-owner engine refuses, the shared one refuses
//! * when all is given back and the stocks are drained, everything has merged

use core::num::NonZero;

use hectare_buddy::{
    Banks, Engine, Geometry, Group, Request, Rows4, Rows32, Rows64, Shared, SharedFrames, Word, shared,
    words_for,
};
use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{CheckInvariants, CpuPin, DirectMap, Figures, Frame, FrameRun, Order, Violation};
use hectare_testkit::drive::{FrameModel, drive};
use hectare_testkit::op::frames::strategy;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::chosen::Chosen;
use crate::support::{Plain, frames, order, run};

const OPS: usize = if cfg!(miri) { 20 } else { 150 };
const SLOTS: u32 = 3;

fn cases(native: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(if cfg!(miri) { 2 } else { native });
    config.failure_persistence = None;
    config
}

#[derive(Clone, Debug)]
enum Call {
    Allocate { count: u64, align: u8, from: u64, length: Option<u64> },
    Order(u8),
    At { first: u64, count: u64 },
    Free { first: u64, count: u64 },
    FreeHeld { pick: usize, skip: u64, count: u64 },
    FreeOrder { first: u64, order: u8 },
    Row(u32),
    FreeGroup { first: u64, order: u8, blocks: u64 },
    Drain,
}

fn call(span: u64) -> impl Strategy<Value = Call> {
    let count = prop_oneof![4 => 1u64..10, 1 => 1..=span];
    prop_oneof![
        2 => (count.clone(), 0u8..6, 0..span, proptest::option::of(1..=span))
            .prop_map(|(count, align, from, length)| Call::Allocate { count, align, from, length }),
        8 => (0u8..8).prop_map(Call::Order),
        1 => (0..span, count.clone()).prop_map(|(first, count)| Call::At { first, count }),
        1 => (0..span, count.clone()).prop_map(|(first, count)| Call::Free { first, count }),
        8 => (any::<usize>(), 0u64..4, 1..=span)
            .prop_map(|(pick, skip, count)| Call::FreeHeld { pick, skip, count }),
        1 => (0..span, 0u8..8).prop_map(|(first, order)| Call::FreeOrder { first, order }),
        1 => (1u32..70).prop_map(Call::Row),
        2 => (0..span, 0u8..4, any::<u64>(), any::<u64>())
            .prop_map(|(first, order, one, two)| Call::FreeGroup { first, order, blocks: one & two }),
        1 => Just(Call::Drain),
    ]
}

/// The engine under test, its model, and the runs that are held.
struct Both<'m, G: Geometry> {
    shared: Shared<'m, &'m Chosen, G>,
    plain: Plain,
    held: Vec<FrameRun>,
    first: u64,
}

impl<G: Geometry> Both<'_, G> {
    fn check(&self, span: FrameRun) {
        self.shared.check_invariants().unwrap();
        let mut free = 0;
        for frame in span.iter() {
            let is_free = self.plain.is_free(run(frame.number(), 1));
            assert_eq!(self.shared.is_free(frame), is_free, "{frame:?}");
            free += u64::from(is_free);
        }
        assert_eq!(self.shared.free_frames(), free);
        assert_eq!(self.shared.census().frames(), free);
        assert_eq!(self.shared.fragmentation().free, free);
    }

    fn take(&mut self, request: &Request) {
        match self.shared.allocate(*request) {
            Ok(found) => {
                assert!(self.plain.suits(request, found), "{request:?} got {found:?}");
                self.plain.mark(found, false);
                self.held.push(found);
            }
            Err(error) => assert!(!self.plain.serves(request), "{request:?} was refused: {error}"),
        }
    }

    fn give(&mut self, run: FrameRun) {
        let good = self.plain.is_allocated(run);
        assert_eq!(self.shared.free(run).is_ok(), good, "{run:?}");
        if good {
            self.plain.mark(run, true);
        }
    }

    /// After a bad free, or one of frames that were never held: what is left of the runs that are held.
    fn forget(&mut self) {
        let plain = &self.plain;
        self.held.retain(|held| plain.is_allocated(*held));
    }

    fn step(&mut self, call: &Call) {
        match *call {
            Call::Allocate { count, align, from, length } => {
                let mut request = Request::exactly(frames(count)).aligned(order(align));
                if let Some(length) = length {
                    let from = self.first + from;
                    request = request.within(Frame::new(from)..Frame::new(from + length));
                }
                self.take(&request);
            }
            Call::Order(k) => self.take(&Request::order(order(k))),
            Call::At { first, count } => {
                let run = run(self.first + first, count);
                let good = self.plain.is_free(run);
                assert_eq!(self.shared.allocate_at(run).is_ok(), good, "{run:?}");
                if good {
                    self.plain.mark(run, false);
                    self.held.push(run);
                }
            }
            Call::Free { first, count } => {
                self.give(run(self.first + first, count));
                self.forget();
            }
            Call::FreeHeld { pick, skip, count } => {
                if self.held.is_empty() {
                    return;
                }
                let held = self.held.swap_remove(pick % self.held.len());
                let skip = skip.min(held.count() - 1);
                let count = count.min(held.count() - skip);
                let (first, end) = (held.first().number(), held.end().number());
                self.give(run(first + skip, count));
                let rests = [(first, skip), (first + skip + count, end - first - skip - count)];
                self.held.extend(
                    rests.iter().filter_map(|(first, count)| FrameRun::new(Frame::new(*first), *count)),
                );
            }
            Call::FreeOrder { first, order: k } => {
                let frame = Frame::new(self.first + first);
                let run = run(frame.number(), 1 << k);
                let good = frame.is_aligned(order(k)) && self.plain.is_allocated(run);
                assert_eq!(self.shared.free_order(frame, order(k)).is_ok(), good, "{run:?}");
                if good {
                    self.plain.mark(run, true);
                }
                self.forget();
            }
            Call::Row(most) => match self.shared.allocate_frames_of_row(NonZero::new(most).unwrap()) {
                Ok(group) => {
                    assert!((1..=most).contains(&group.blocks.count_ones()));
                    for first in group.iter() {
                        let one = run(first.number(), 1);
                        assert!(self.plain.is_free(one), "{group:?}");
                        self.plain.mark(one, false);
                        self.held.push(one);
                    }
                }
                Err(error) => {
                    assert!(!self.plain.serves(&Request::order(Order::ZERO)), "was refused: {error}");
                }
            },
            Call::FreeGroup { first, order: k, blocks } => {
                let number = (self.first + first) >> (k + 6);
                let group = Group { order: order(k), number, blocks };
                let parts = || group.iter().map(|first| run(first.number(), 1 << k));
                let good: Vec<_> = parts().filter(|part| self.plain.is_allocated(*part)).collect();
                let refused =
                    self.shared.free_group(group).map_or_else(|refused| refused.get() as usize, |()| 0);
                assert_eq!(refused, parts().count() - good.len(), "{group:?}");
                good.iter().for_each(|part| self.plain.mark(*part, true));
                self.forget();
            }
            Call::Drain => self.shared.drain(),
        }
    }
}

fn compare<G: Geometry>(start: u64, length: u64, hole: (u64, u64), calls: &[(u16, Call)]) {
    let span = run(start, length);
    let (hole_start, hole_length) = (start + hole.0 % length, 1 + hole.1 % length);
    let mut table = [None; 20];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    banks.remove(run(hole_start, hole_length)).unwrap();
    let all: Vec<FrameRun> = banks.iter().collect();
    let Some(covered) = banks.span() else { return };
    let pin = Chosen::new(SLOTS);
    // Full of rubbish.
    let words: Vec<AtomicU64> = (0..shared::words_for::<G>(covered, SLOTS).unwrap())
        .map(|at| AtomicU64::new(at as u64 * 77))
        .collect();
    let shared = Shared::<_, G>::new(banks, &words, &pin).unwrap();
    let mut both = Both { shared, plain: Plain::new(span, &all), held: Vec::new(), first: start };
    both.check(span);
    for (cpu, call) in calls {
        pin.be(*cpu);
        both.step(call);
        both.check(span);
    }
    recovered_is_equal(&both, span, covered, &all);
    for frame in span.iter() {
        let run = run(frame.number(), 1);
        if both.plain.is_allocated(run) {
            pin.be(u16::try_from(frame.number() % 4).unwrap());
            both.give(run);
        }
    }
    for cpu in 0..SLOTS {
        pin.be(u16::try_from(cpu).unwrap());
        both.shared.drain();
    }
    both.check(span);
    assert_eq!(both.shared.usage().allocated, 0);
    // The single-owner engine over the same banks, with nothing allocated, has the same blocks.
    let mut table = [None; 20];
    let mut banks = Banks::new(&mut table);
    all.iter().for_each(|bank| banks.add(*bank).unwrap());
    let mut words = vec![G::Word::ZERO; words_for::<G>(covered).unwrap()];
    let engine = Engine::<G>::new(banks, &mut words).unwrap();
    assert_eq!(both.shared.census(), engine.census());
}

/// What is saved and recovered has the same frames free, and saves the same.
fn recovered_is_equal<G: Geometry>(both: &Both<'_, G>, span: FrameRun, covered: FrameRun, all: &[FrameRun]) {
    let mut bitmap = vec![0; both.shared.bitmap_words()];
    both.shared.save(&mut bitmap).unwrap();
    let mut table = [None; 20];
    let mut banks = Banks::new(&mut table);
    all.iter().for_each(|bank| banks.add(*bank).unwrap());
    let pin = Chosen::new(1);
    let words: Vec<AtomicU64> =
        (0..shared::words_for::<G>(covered, 1).unwrap()).map(|_| AtomicU64::new(u64::MAX)).collect();
    let recovered = Shared::<_, G>::recover(covered, banks, &words, &pin, &bitmap).unwrap();
    let recovered = Both { shared: recovered, plain: both.plain.clone(), held: Vec::new(), first: 0 };
    recovered.check(span);
    let mut again = vec![0; recovered.shared.bitmap_words()];
    recovered.shared.save(&mut again).unwrap();
    assert_eq!(again, bitmap);
}

type Source<'a> = &'a SharedFrames<'a, Chosen>;

fn one_engine(source: &Source<'_>) -> Result<(), Violation> {
    // SAFETY: nothing is given back through it.
    unsafe { source.engine() }.check_invariants()
}

fn nothing_is_held(source: &Source<'_>) -> Result<(), Violation> {
    // SAFETY: nothing is given back through it.
    let used = unsafe { source.engine() }.usage().allocated;
    Violation::unless(used == 0, "every frame is free", used)
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn rows_of_4(start in 0u64..70, length in 1u64..80, hole: (u64, u64), calls in vec((0u16..4, call(80)), 0..OPS)) {
        compare::<Rows4>(start, length, hole, &calls);
    }

    #[test]
    fn rows_of_32(
        start in 0u64..3000,
        length in 1u64..1500,
        hole: (u64, u64),
        calls in vec((0u16..4, call(1500)), 0..OPS / 3),
    ) {
        compare::<Rows32>(start, length, hole, &calls);
    }

    #[test]
    fn rows_of_64(
        start in 0u64..9000,
        length in 1u64..3000,
        hole: (u64, u64),
        calls in vec((0u16..4, call(3000)), 0..OPS / 3),
    ) {
        compare::<Rows64>(start, length, hole, &calls);
    }

    #[test]
    fn the_testkit_driver(start in 0u64..5000, ops in vec(strategy(40, 600), 0..4 * OPS)) {
        let span = run(start, 5000);
        let mut table = [None; 1];
        let mut banks = Banks::new(&mut table);
        banks.add(span).unwrap();
        let pin = Chosen::new(1);
        pin.be(0);
        let words: Vec<AtomicU64> =
            (0..shared::words_for::<Rows64>(span, pin.slots()).unwrap()).map(|_| AtomicU64::new(0)).collect();
        let engine = Shared::<_>::new(banks, &words, pin).unwrap();
        // SAFETY: no window shows the frames: nobody writes to them.
        let source = unsafe { SharedFrames::<_>::new(engine) };
        let mut model = FrameModel::new(&source, &[span], None::<DirectMap>)
            .taking_parts()
            .checking(one_engine, nothing_is_held);
        drive(&mut model, ops, 10).unwrap();
    }
}

#[test]
fn a_region_of_one_row() {
    // No tree, no stock: everybody takes the shared path.
    compare::<Rows64>(
        0,
        10,
        (20, 1),
        &[(0, Call::Order(0)), (1, Call::Order(2)), (0, Call::Order(Order::ZERO.get()))],
    );
}
