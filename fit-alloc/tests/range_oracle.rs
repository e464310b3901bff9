//! Every policy against a naive scan. The properties:
//! * each request is answered with the same place, or refused with the same error;
//! * holes, blocks and figures are the same; the invariants hold;
//! * a stale handle is always refused and changes nothing;
//! * with a full fixed table the same.
//!
//! `HECTARE_QUERIES` sets the number of queries for each policy (1 000 000 in the acceptance figures).

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that fails may panic")]

#[path = "range_oracle/naive.rs"]
mod naive;
#[path = "range_oracle/random.rs"]
mod random;

use hectare_core::{CheckInvariants, Figures, FreeError};
use hectare_fit::policy::{
    BestFit, Chunk, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit, chunks_for,
};
use hectare_fit::range::{Block, Node, RangeAllocator, RangeError, Request, Slices, Storage, Unit, Vecs};
use naive::{Ask, Naive, Rule};
use random::Random;

/// What a run looks like: the space, the lengths asked for, the share of constrained requests.
struct Shape {
    space: u64,
    longest: u64,
    live: usize,
    constrained: u64,
}

const SHAPES: [Shape; 8] = [
    Shape { space: 1, longest: 2, live: 1, constrained: 4 },
    Shape { space: 60, longest: 12, live: 12, constrained: 6 },
    Shape { space: 700, longest: 40, live: 60, constrained: 10 },
    Shape { space: 5_000, longest: 300, live: 60, constrained: 10 },
    Shape { space: 40_000, longest: 900, live: 120, constrained: 30 },
    // Lengths of the classes that are not exact.
    Shape { space: 150_000, longest: 5_000, live: 60, constrained: 60 },
    Shape { space: 1_000, longest: 3, live: 450, constrained: 40 },
    // Enough holes for three levels of chunks.
    Shape { space: 16_000, longest: 5, live: 5_000, constrained: 5 },
];

fn queries() -> u64 {
    std::env::var("HECTARE_QUERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(if cfg!(miri) {
        500
    } else {
        60_000
    })
}

fn run<P: Policy>(rule: Rule) {
    let mut done = 0;
    let mut seed = 1;
    while done < queries() {
        for shape in &SHAPES {
            let mut random = Random::new(seed);
            seed += 1;
            let table = if random.below(3) == 0 { 2 + random.below(40) as usize } else { usize::MAX };
            if table == usize::MAX {
                let storage = if random.below(2) == 0 { Vecs::<u32>::by_start() } else { Vecs::new() };
                done += duel::<P, u32, _>(rule, shape, storage, table, &mut random);
            } else if random.below(2) == 0 {
                let (mut nodes, mut chunks) = (vec![Node::NEW; table], vec![Chunk::NEW; chunks_for(table)]);
                let mut buckets = vec![0; table];
                let slices = Slices::new(&mut nodes).with_chunks(&mut chunks).with_buckets(&mut buckets);
                done += duel::<P, u64, _>(rule, shape, slices, table, &mut random);
            } else {
                let (mut nodes, mut chunks) = (vec![Node::NEW; table], vec![Chunk::NEW; chunks_for(table)]);
                let slices = Slices::new(&mut nodes).with_chunks(&mut chunks);
                done += duel::<P, u32, _>(rule, shape, slices, table, &mut random);
            }
        }
    }
}

fn unit<U: Unit + TryFrom<u64>>(n: u64) -> U {
    U::try_from(n).ok().unwrap()
}

/// Plays one random run on both; gives the number of queries.
fn duel<P: Policy, U: Unit + TryFrom<u64>, S: Storage<U>>(
    rule: Rule,
    shape: &Shape,
    storage: S,
    table: usize,
    random: &mut Random,
) -> u64 {
    let mut naive = Naive::new(rule, shape.space, table);
    let mut ours = RangeAllocator::<P, U, S>::new(unit(shape.space), storage).unwrap();
    let mut live: Vec<Block<U>> = Vec::new();
    let mut stale: Vec<Block<U>> = Vec::new();
    let steps = if cfg!(miri) { 150 } else { 1500 + 4 * shape.live };
    for step in 0..steps {
        let wish = random.below(100);
        let grows = live.len() < shape.live;
        if wish < 46 + if grows { 8 } else { 0 } {
            let ask = ask(shape, random, naive.end);
            let plain = ask.align == 1 && ask.high == u64::MAX && ask.boundary == 0 && ask.low == 0;
            let mine = if plain {
                ours.allocate(unit(ask.length))
            } else {
                let high = ask.high.min(u64::from(u32::MAX));
                ours.allocate_with(
                    Request::new(unit(ask.length))
                        .aligned(unit(ask.align))
                        .within(unit(ask.low)..unit(high))
                        .not_crossing(unit(ask.boundary)),
                )
            };
            let his = naive.allocate(&ask);
            assert_eq!(mine.map(|b| (b.start.into(), b.length.into())), his, "{ask:?} at step {step}");
            live.extend(mine);
        } else if wish < 90 {
            if live.is_empty() {
                continue;
            }
            let block = live.swap_remove(random.below(live.len() as u64) as usize);
            if random.below(2) == 0 {
                assert_eq!(ours.free(block.handle), Ok(block));
            } else {
                let wrong = ours.free_at(block.start, block.length + unit(1));
                assert_eq!(wrong, Err(FreeError::WrongSize.into()));
                assert_eq!(ours.free_at(block.start, block.length), Ok(block));
            }
            naive.release(block.start.into());
            stale.push(block);
        } else if wish < 93 {
            let start = random.below(naive.end + 2);
            let length = 1 + random.below(shape.longest);
            let mine = ours.allocate_at(unit(start), unit(length));
            let his = naive.allocate_at(start, length);
            assert_eq!(mine.map(|b| (b.start.into(), b.length.into())), his);
            live.extend(mine);
        } else if wish < 95 {
            let units = 1 + random.below(shape.longest);
            let (mine, his) = if naive.end > 2 * shape.space || random.below(2) == 0 {
                (ours.shrink(unit(units)), naive.shrink(units))
            } else {
                (ours.grow(unit(units)), naive.grow(units))
            };
            assert_eq!(mine, his);
        } else if let Some(block) = stale.last() {
            assert_eq!(ours.free(block.handle), Err(FreeError::NotAllocated.into()), "a stale handle");
            if random.below(3) == 0 {
                stale.swap_remove(random.below(stale.len() as u64) as usize);
            }
        }
        if step % shape.live.max(16) == 0 {
            compare(&ours, &naive);
        }
    }
    for block in live {
        ours.free(block.handle).unwrap();
    }
    assert_eq!(ours.largest_free().into(), naive.end, "all freed: one hole");
    steps as u64
}

fn ask(shape: &Shape, random: &mut Random, end: u64) -> Ask {
    let mut length = 1 + random.below(shape.longest);
    if random.below(40) == 0 {
        length = 1 + random.below(end * 2);
    }
    let mut ask = Ask::plain(length);
    if random.below(100) >= shape.constrained {
        return ask;
    }
    let kind = 1 + random.below(7);
    if kind & 1 != 0 {
        ask.align = 1 + random.below(9);
        if kind & 4 != 0 {
            ask.align = ask.align.next_power_of_two();
        }
    }
    if kind & 2 != 0 {
        ask.low = random.below(end);
        ask.high = ask.low + random.below(end);
    }
    if kind & 4 != 0 {
        ask.boundary = length.next_power_of_two() << random.below(3);
    }
    ask
}

fn compare<P: Policy, U: Unit, S: Storage<U>>(ours: &RangeAllocator<P, U, S>, naive: &Naive) {
    ours.check_invariants().unwrap();
    let mine = ours.holes().map(|h| (h.start.into(), h.length.into()));
    assert!(mine.eq(naive.holes().map(|h| (h.start, h.length))), "holes");
    let mine = ours.blocks().map(|b| (b.start.into(), b.length.into()));
    assert!(mine.eq(naive.pieces.iter().filter(|p| p.used).map(|p| (p.start, p.length))), "blocks");
    let figures = ours.fragmentation();
    assert_eq!(figures.free, naive.free());
    assert_eq!(figures.largest, naive.holes().map(|h| h.length).max().unwrap_or(0));
    assert_eq!(figures.holes, naive.holes().count() as u64);
    assert_eq!(ours.usage().allocated, naive.end - naive.free());
    let small = naive.holes().map(|h| h.length).filter(|l| *l < 20).sum();
    assert_eq!(ours.unusable(20), hectare_core::Ratio::new(small, naive.free()));
}

macro_rules! policies {
    ($($test:ident $policy:ident $rule:ident,)*) => {$(
        #[test]
        fn $test() {
            run::<$policy>(Rule::$rule);
        }
    )*};
}
policies! {
    best_fit_equals_a_naive_scan BestFit Best,
    worst_fit_equals_a_naive_scan WorstFit Worst,
    first_fit_equals_a_naive_scan FirstFit First,
    next_fit_equals_a_naive_scan NextFit Next,
    last_fit_equals_a_naive_scan LastFit Last,
    good_fit_equals_a_naive_scan GoodFit Good,
    half_fit_equals_a_naive_scan HalfFit Half,
}

#[test]
fn a_refusal_is_typed() {
    let mut nodes = [Node::<u32>::NEW; 8];
    let mut space = RangeAllocator::<BestFit, _, _>::new(100, &mut nodes[..]).unwrap();
    assert_eq!(space.allocate(0), Err(RangeError::Empty));
    assert_eq!(space.allocate(101), Err(RangeError::TooLarge));
    assert_eq!(space.allocate_aligned(1, 0), Err(RangeError::Unsound));
    assert_eq!(space.allocate_with(Request::new(9).not_crossing(8)), Err(RangeError::Unsound));
    assert_eq!(space.allocate_with(Request::new(3).not_crossing(12)), Err(RangeError::Unsound));
    assert_eq!(space.allocate_with(Request::new(3).aligned(3).not_crossing(8)), Err(RangeError::Unsound));
    assert_eq!(space.allocate_at(99, 2), Err(RangeError::Outside));
    assert_eq!(space.allocate_at(u32::MAX, 2), Err(RangeError::Outside));
    assert_eq!(space.grow(u32::MAX), Err(RangeError::Outside));
    assert_eq!(space.shrink(100), Err(RangeError::Outside));
    assert_eq!(space.free_at(100, 1), Err(FreeError::Foreign.into()));
    assert_eq!(space.free_at(5, 1), Err(FreeError::NotAllocated.into()));
    space.allocate_at(10, 5).unwrap();
    assert_eq!(space.free_at(11, 4), Err(FreeError::Misaligned.into()));
    assert_eq!(space.allocate_at(9, 2), Err(RangeError::InUse));
    assert_eq!(space.allocate(95), Err(RangeError::Fragmented));
    assert_eq!(space.allocate(96), Err(RangeError::OutOfSpace));
    assert_eq!((space.usage().failures.fragmented, space.usage().failures.out_of_memory), (1, 2));
    space.check_invariants().unwrap();
}

/// Plays every sequence of this many operations in a space of six units: allocate 1 to 6, free the first to third block.
fn every_sequence<P: Policy>(rule: Rule) {
    let (choices, depth) = (9_u32, if cfg!(miri) { 2 } else { 5 });
    for sequence in 0..choices.pow(depth) {
        let mut ours = RangeAllocator::<P, u32, _>::new(6, Vecs::new()).unwrap();
        let mut naive = Naive::new(rule, 6, usize::MAX);
        let (mut rest, mut live) = (sequence, Vec::new());
        for _ in 0..depth {
            let choice = rest % choices;
            rest /= choices;
            if choice < 6 {
                let mine = ours.allocate(choice + 1);
                let his = naive.allocate(&Ask::plain(u64::from(choice) + 1));
                assert_eq!(mine.map(|b| (b.start.into(), b.length.into())), his, "sequence {sequence}");
                live.extend(mine);
            } else if (choice as usize - 6) < live.len() {
                let block = live.remove(choice as usize - 6);
                ours.free(block.handle).unwrap();
                naive.release(block.start.into());
            }
        }
        compare(&ours, &naive);
    }
}

#[test]
fn every_short_sequence_equals_a_naive_scan() {
    every_sequence::<BestFit>(Rule::Best);
    every_sequence::<WorstFit>(Rule::Worst);
    every_sequence::<FirstFit>(Rule::First);
    every_sequence::<NextFit>(Rule::Next);
    every_sequence::<LastFit>(Rule::Last);
    every_sequence::<GoodFit>(Rule::Good);
    every_sequence::<HalfFit>(Rule::Half);
}
