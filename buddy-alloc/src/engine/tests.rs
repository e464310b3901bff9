//! Every state that 16 frames in rows of 4 can reach, and every call in each of them.
//!
//! The engine of [`Rows4`] has three levels over 16 frames: every split, carry, row at hand and index tier is met. A state
//! is all that the engine keeps: its words and its levels. The plain model is a number with a bit for each free frame,
//! and for an exact engine one with a bit where each block begins.

extern crate alloc;
extern crate std;

use alloc::vec;
use alloc::vec::Vec;
use std::collections::{HashMap, HashSet};

use core::num::NonZero;

use hectare_core::CheckInvariants;

use super::*;
use crate::engine::hand::{Hand, RECENT};
use crate::geometry::Rows4;
use crate::layout::{NONE, words_for};

const FRAMES: u32 = 16;
const LARGEST: u8 = 4;

#[derive(Clone, Copy, Debug)]
enum Call {
    Take(Order),
    Give(u64, Order),
    /// In two halves.
    Split(u64, Order),
}

fn calls<G: Geometry>() -> Vec<Call> {
    let orders = || (0..=LARGEST).filter_map(Order::new);
    let blocks = || {
        orders().flat_map(|order| (0..u64::from(FRAMES)).step_by(1 << order.get()).map(move |at| (at, order)))
    };
    let gives = blocks().map(|(first, order)| Call::Give(first, order));
    let splits = blocks().map(|(first, order)| Call::Split(first, order)).filter(|_| G::EXACT);
    orders().map(Call::Take).chain(gives).chain(splits).collect()
}

/// Which frames are free and, if the engine is exact, where blocks begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plain {
    free: u32,
    heads: u32,
}

impl Plain {
    fn serves(self, order: Order) -> bool {
        (0..u64::from(FRAMES))
            .step_by(1 << order.get())
            .any(|first| self.free & mask(first, order) == mask(first, order))
    }

    /// Whether these frames may be given back.
    fn is_block<G: Geometry>(self, first: u64, order: Order) -> bool {
        let (frames, end) = (mask(first, order), 1 << (first + order.frames()));
        let ends = (self.free | self.heads | 1 << FRAMES) & end != 0;
        self.free & frames == 0 && (!G::EXACT || self.heads & frames == 1 << first && ends)
    }

    fn take<G: Geometry>(&mut self, first: u64, order: Order) {
        self.free &= !mask(first, order);
        self.heads |= if G::EXACT { 1 << first } else { 0 };
    }

    fn give(&mut self, first: u64, order: Order) {
        self.free |= mask(first, order);
        self.heads &= !mask(first, order);
    }
}

fn mask(first: u64, order: Order) -> u32 {
    ((1 << order.frames()) - 1) << first
}

/// Does one call to both, compares, and says whether it was served.
fn step<G: Geometry>(engine: &mut Engine<'_, G>, plain: &mut Plain, base: u64, call: Call) -> bool {
    match call {
        Call::Take(order) => match engine.allocate_order(order) {
            Ok(frame) => {
                assert!(frame.is_aligned(order));
                let first = frame.number() - base;
                let taken = mask(first, order);
                assert_eq!(
                    plain.free & taken,
                    taken,
                    "{call:?} took what is not free: {taken:#b} of {plain:?}"
                );
                plain.take::<G>(first, order);
                true
            }
            Err(_) => {
                assert!(!plain.serves(order), "{call:?} was refused: {plain:?}");
                false
            }
        },
        Call::Give(first, order) => {
            let given = engine.free_order(Frame::new(base + first), order).is_ok();
            assert_eq!(given, plain.is_block::<G>(first, order), "{call:?}: {plain:?}");
            if given {
                plain.give(first, order);
            }
            given
        }
        Call::Split(first, order) => {
            let run = FrameRun::of_order(Frame::new(base + first), order).unwrap();
            let half = NonZero::new(order.frames().div_ceil(2)).unwrap();
            let split = engine.split(run, half).is_ok();
            assert_eq!(
                split,
                order > Order::ZERO && plain.is_block::<G>(first, order),
                "{call:?}: {plain:?}"
            );
            plain.heads |= if split { 1 << (first + half.get()) } else { 0 };
            split
        }
    }
}

/// A state: the words, which have 4 bits each, the classes of each level, and the rows at hand. It is a key and a copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    words: u128,
    classes: [u8; 3],
    /// The rows at hand.
    rows: [[u8; Rows4::AT_HAND]; 2],
    lengths: [u8; 2],
    hints: [u8; ORDERS],
    recent: [[u8; RECENT]; ORDERS],
    tops: [u8; ORDERS],
}

const ORDERS: usize = LARGEST as usize + 1;

impl State {
    #[expect(clippy::cast_possible_truncation, reason = "two classes, 24 words; nothing is cut to 255")]
    fn of<G: Geometry<Word = u8>>(engine: &Engine<'_, G>) -> Self {
        let words = engine.words.iter().rev().fold(0, |words, word| words << 4 | u128::from(*word));
        let hand = &engine.hand;
        let rows = [0, 1].map(|list| {
            core::array::from_fn(|at| if at < hand.lengths[list] { hand.rows[list][at] as u8 } else { 0 })
        });
        Self {
            words,
            classes: [0, 1, 2].map(|level| engine.level(level).classes as u8),
            rows,
            lengths: hand.lengths.map(|length| length as u8),
            hints: core::array::from_fn(|order| hand.hints[order] as u8),
            recent: core::array::from_fn(|order| hand.recent[order].map(|offset| offset as u8)),
            tops: core::array::from_fn(|order| hand.tops[order]),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    fn restore<G: Geometry<Word = u8>>(self, engine: &mut Engine<'_, G>, free: u32) {
        for (at, word) in engine.words.iter_mut().enumerate() {
            *word = (self.words >> (4 * at)) as u8 & 0xf;
        }
        for (level, classes) in engine.layout.levels.iter_mut().zip(self.classes) {
            level.classes = classes.into();
        }
        let place = |at: u8| if at == u8::MAX { NONE } else { at.into() };
        let hand = &mut engine.hand;
        hand.lengths = self.lengths.map(usize::from);
        for (places, rows) in hand.rows.iter_mut().zip(self.rows) {
            places.iter_mut().zip(rows).for_each(|(place, row)| *place = row.into());
        }
        for order in 0..ORDERS {
            hand.hints[order] = place(self.hints[order]);
            hand.recent[order] = self.recent[order].map(place);
            hand.tops[order] = self.tops[order];
        }
        engine.free = Free::NONE;
        engine.free.give(free.count_ones().into());
    }
}

/// What an engine keeps from call to call.
#[derive(Clone, Copy)]
enum Kept {
    /// Rows at hand, and where to look first.
    All,
    /// Rows at hand.
    Rows,
    Nothing,
}

impl Kept {
    fn forget<G: Geometry>(self, engine: &mut Engine<'_, G>) {
        if matches!(self, Self::Nothing) {
            engine.put_all_back();
            engine.hand = Hand::EMPTY;
        } else if matches!(self, Self::Rows) {
            let hint = engine.hand.hint(0);
            let Hand { rows, lengths, .. } = engine.hand;
            engine.hand = Hand { rows, lengths, ..Hand::EMPTY };
            engine.hand.set_hint(0, hint);
        }
    }
}

/// All states from the empty engine on, at most `limit`: how many, and how many meanings they have. `kept` says what
/// the engine keeps from call to call: with less there are fewer states, and the same meanings.
fn explore<G: Geometry<Word = u8>>(base: u64, limit: usize, kept: Kept) -> (usize, usize) {
    let span = FrameRun::new(Frame::new(base), FRAMES.into()).unwrap();
    let mut table = [None; 2];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let mut words = vec![0xff; words_for::<G>(span).unwrap()];
    assert!(words.len() <= 32, "a state holds 32 words");
    let mut engine = Engine::<G>::new(banks, &mut words).unwrap();
    assert_eq!(engine.layout.count, 3);
    let all = Plain { free: (1 << FRAMES) - 1, heads: 0 };
    let mut seen = HashMap::from([(State::of(&engine), all)]);
    let mut open = vec![(State::of(&engine), all)];
    let calls = calls::<G>();
    let mut random = 1_usize;
    while !open.is_empty() {
        // Any of them, so that a limit cuts breadth and depth alike.
        random = random.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        let (state, plain) = open.swap_remove((random >> 8) % open.len());
        for call in &calls {
            state.restore(&mut engine, plain.free);
            let mut after = plain;
            let served = step(&mut engine, &mut after, base, *call);
            if !served && !matches!(call, Call::Take(..)) {
                assert!(State::of(&engine) == state, "{call:?} was refused and changed something");
            }
            kept.forget(&mut engine);
            let next = State::of(&engine);
            if let Some(known) = seen.get(&next) {
                assert_eq!(*known, after, "one state, two meanings");
            } else if seen.len() < limit {
                check(&engine, after);
                seen.insert(next, after);
                open.push((next, after));
            }
        }
    }
    (seen.len(), seen.values().collect::<HashSet<_>>().len())
}

/// What holds in every state.
fn check<G: Geometry>(engine: &Engine<'_, G>, plain: Plain) {
    engine.check_invariants().unwrap();
    let census = engine.census();
    assert_eq!(census.frames(), plain.free.count_ones().into());
    for order in (0..=LARGEST).filter_map(Order::new) {
        assert_eq!(plain.serves(order), census.largest().is_some_and(|largest| order <= largest));
    }
}

/// How many states to explore.
fn limit() -> usize {
    if cfg!(miri) { 30 } else { usize::MAX }
}

#[test]
fn every_state_of_sixteen_frames() {
    let (states, meanings) = explore::<Rows4>(16, limit(), Kept::Nothing);
    // The number is what it is; a change of the engine may change it. That it is large shows that it was explored.
    assert_eq!(states, limit().min(83_522));
    assert_eq!(meanings, limit().min(1 << FRAMES));
}

/// The same with rows at hand: of many more states so many, whatever they mean.
#[test]
fn states_with_rows_at_hand() {
    let most = limit().min(60_000);
    for kept in [Kept::Rows, Kept::All] {
        let (states, meanings) = explore::<Rows4>(16, most, kept);
        assert_eq!(states, most);
        assert!(meanings > most / 20, "{meanings}");
    }
}

/// A block of order k is free, allocated, or two blocks of order k − 1 that are not both free: c(0) = 2 and c(k) =
/// c(k−1)² + 1, so that c(4) = 458 330. (Two free halves are one free block: the pair is counted for it.)
#[cfg(feature = "exact")]
#[test]
fn every_block_of_sixteen_frames() {
    use crate::geometry::Exact;

    let expected = (0..LARGEST).fold(2, |count: usize, _| count.pow(2) + 1);
    assert_eq!(expected, 458_330);
    let (states, meanings) = explore::<Exact<Rows4>>(16, limit(), Kept::Nothing);
    // More states than meanings: a row without a free frame was allocated as a whole or frame by frame.
    assert_eq!((states, meanings), (limit().min(812_478), limit().min(expected)));
}

/// The same with the rows at hand: some minutes.
#[cfg(feature = "exact")]
#[test]
#[ignore = "long: run by name"]
fn every_block_with_every_row_at_hand() {
    use crate::geometry::Exact;

    let (states, meanings) = explore::<Exact<Rows4>>(16, limit(), Kept::Rows);
    assert_eq!(meanings, 458_330);
    assert!(states > meanings, "{states}");
    std::println!("{states} states");
}
