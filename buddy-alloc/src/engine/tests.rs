//! Every state that 16 frames in rows of 4 can reach, and every call in each of them.
//!
//! The engine of [`Rows4`] has three levels over 16 frames: every split, carry, hot row and index tier is met. A state
//! is all that the engine keeps: its words and its levels. The plain model is a number with a bit for each free frame.

extern crate alloc;
extern crate std;

use alloc::vec;
use alloc::vec::Vec;
use std::collections::HashMap;

use hectare_core::CheckInvariants;

use super::*;
use crate::geometry::Rows4;
use crate::layout::words_for;

const FRAMES: u32 = 16;
const LARGEST: u8 = 4;

#[derive(Clone, Copy, Debug)]
enum Call {
    Take(Order),
    Give(u64, Order),
}

fn calls() -> Vec<Call> {
    let orders = || (0..=LARGEST).filter_map(Order::new);
    let gives = orders().flat_map(|order| {
        (0..u64::from(FRAMES)).step_by(1 << order.get()).map(move |first| Call::Give(first, order))
    });
    orders().map(Call::Take).chain(gives).collect()
}

fn mask(first: u64, order: Order) -> u32 {
    ((1 << order.frames()) - 1) << first
}

fn serves(free: u32, order: Order) -> bool {
    (0..u64::from(FRAMES))
        .step_by(1 << order.get())
        .any(|first| free & mask(first, order) == mask(first, order))
}

/// Does one call to both, compares, and says whether it was served.
fn step(engine: &mut Engine<'_, Rows4>, free: &mut u32, base: u64, call: Call) -> bool {
    match call {
        Call::Take(order) => match engine.allocate_order(order) {
            Ok(frame) => {
                assert!(frame.is_aligned(order));
                let taken = mask(frame.number() - base, order);
                assert_eq!(*free & taken, taken, "{call:?} took what is not free: {taken:#b} of {free:#b}");
                *free &= !taken;
                true
            }
            Err(_) => {
                assert!(!serves(*free, order), "{call:?} was refused: {free:#b}");
                false
            }
        },
        Call::Give(first, order) => {
            let given = mask(first, order);
            let taken = engine.free_order(Frame::new(base + first), order).is_ok();
            assert_eq!(taken, *free & given == 0, "{call:?}: {free:#b}");
            *free |= if taken { given } else { 0 };
            taken
        }
    }
}

/// A state: the words, which have 4 bits each, and for each level its classes and its hot row. It is a key and a copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    words: u64,
    levels: [(u8, u8); 3],
}

impl State {
    #[expect(clippy::cast_possible_truncation, reason = "two classes, twelve words")]
    fn of(engine: &Engine<'_, Rows4>) -> Self {
        let words = engine.words.iter().rev().fold(0, |words, word| words << 4 | u64::from(*word));
        let levels =
            [0, 1, 2].map(|level| (engine.level(level).classes as u8, engine.level(level).hot as u8));
        Self { words, levels }
    }

    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    fn restore(self, engine: &mut Engine<'_, Rows4>, free: u32) {
        for (at, word) in engine.words.iter_mut().enumerate() {
            *word = (self.words >> (4 * at)) as u8 & 0xf;
        }
        for (level, (classes, hot)) in engine.layout.levels.iter_mut().zip(self.levels) {
            level.classes = classes.into();
            level.hot = if hot == u8::MAX { NONE } else { hot.into() };
        }
        (engine.free, engine.least_free) = (free.count_ones().into(), 0);
    }
}

/// All states from the empty engine on, at most `limit`: how many.
fn explore(base: u64, limit: usize) -> usize {
    let span = FrameRun::new(Frame::new(base), FRAMES.into()).unwrap();
    let mut table = [None; 2];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let mut words = vec![0xff; words_for::<Rows4>(span).unwrap()];
    assert!(words.len() <= 16, "a state holds 16 words");
    let mut engine = Engine::<Rows4>::new(banks, &mut words).unwrap();
    assert_eq!(engine.layout.count, 3);
    let all: u32 = (1 << FRAMES) - 1;
    let mut seen = HashMap::from([(State::of(&engine), all)]);
    let mut open = vec![(State::of(&engine), all)];
    let calls = calls();
    while let Some((state, free)) = open.pop() {
        for call in &calls {
            state.restore(&mut engine, free);
            let mut after = free;
            let served = step(&mut engine, &mut after, base, *call);
            let next = State::of(&engine);
            if !served && matches!(call, Call::Give(..)) {
                assert!(next == state, "{call:?} was refused and changed something");
            }
            if let Some(known) = seen.get(&next) {
                assert_eq!(*known, after, "one state, two meanings");
            } else if seen.len() < limit {
                check(&engine, after);
                seen.insert(next, after);
                open.push((next, after));
            }
        }
    }
    seen.len()
}

/// What holds in every state.
fn check(engine: &Engine<'_, Rows4>, free: u32) {
    engine.check_invariants().unwrap();
    let census = engine.census();
    assert_eq!(census.frames(), free.count_ones().into());
    for order in (0..=LARGEST).filter_map(Order::new) {
        assert_eq!(serves(free, order), census.largest().is_some_and(|largest| order <= largest));
    }
}

#[test]
fn every_state_of_sixteen_frames() {
    let limit = if cfg!(miri) { 30 } else { usize::MAX };
    let states = explore(16, limit);
    // The number is what it is; a change of the engine may change it. That it is large shows that it was explored.
    assert_eq!(states, limit.min(795_907));
}
