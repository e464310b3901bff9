//! Compaction of ranges. The properties:
//! * a plan's moves, committed in order, reach the goal; contents that are copied along stay intact; handles stay valid;
//! * the units moved equal the optimum that an exhaustive search finds, in every space of up to 8 blocks;
//! * pinned blocks never move; bad moves are refused and change nothing.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that fails may panic")]

#[path = "range_oracle/random.rs"]
mod random;

use hectare_core::{CheckInvariants, Figures, FreeError};
use hectare_fit::compact_plan::{Goal, Move};
use hectare_fit::policy::{BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit};
use hectare_fit::range::{Block, Node, RangeAllocator, RangeError, Storage, Vecs};
use random::Random;

const MIB: u32 = 1 << 20;

#[test]
fn e07_compaction_moves_one_mebibyte() {
    for goal in [Goal::OneHole, Goal::Fit(9 * MIB)] {
        let mut memory = RangeAllocator::<FirstFit, u32, _>::new(16 * MIB, Vecs::new()).unwrap();
        let [_, _, b, c] = [MIB, 2 * MIB, 4 * MIB, MIB].map(|length| memory.allocate(length).unwrap());
        memory.free(b.handle).unwrap();
        assert_eq!(memory.allocate(9 * MIB), Err(RangeError::Fragmented));
        let mut moves = [Move::NONE; 4];
        let plan = memory.plan_compaction(goal, &mut moves).unwrap();
        let expected = Move { handle: c.handle, from: 0x70_0000, to: 0x30_0000, length: MIB };
        assert_eq!((plan.moves, plan.units, plan.complete), (&[expected][..], 1 << 20, true));
        for step in plan.moves {
            memory.commit(*step).unwrap();
        }
        assert_eq!((memory.fragmentation().holes, memory.largest_free()), (1, 12 * MIB));
        assert_eq!(memory.allocate(9 * MIB).unwrap().start, 0x40_0000);
        assert_eq!(memory.block(c.handle).unwrap().start, 0x30_0000);
    }
}

/// A space with contents, which moves carry along.
struct World<P: Policy, S: Storage<u32>> {
    space: RangeAllocator<P, u32, S>,
    units: Vec<u32>,
    live: Vec<(Block<u32>, u32)>,
}

impl<P: Policy> World<P, Vecs<u32>> {
    fn new(length: u32) -> Self {
        let space = RangeAllocator::new(length, Vecs::by_start()).unwrap();
        Self { space, units: vec![0; length as usize], live: Vec::new() }
    }

    fn put(&mut self, start: u32, length: u32, pinned: bool) {
        let block = self.space.allocate_at(start, length).unwrap();
        self.space.set_pinned(block.handle, pinned).unwrap();
        let mark = self.live.len() as u32 + 1;
        self.live.push((block, mark));
        self.units[start as usize..block.end() as usize].fill(mark);
    }

    fn make(&mut self, moves: &[Move<u32>]) {
        for step in moves {
            self.space.commit(*step).unwrap();
            self.space.check_invariants().unwrap();
            let (from, to, length) = (step.from as usize, step.to as usize, step.length as usize);
            self.units.copy_within(from..from + length, to);
            for (block, _) in &mut self.live {
                if block.handle == step.handle {
                    block.start = step.to;
                }
            }
        }
        for (block, mark) in &self.live {
            assert_eq!(self.space.block(block.handle), Ok(*block));
            let contents = &self.units[block.start as usize..block.end() as usize];
            assert!(contents.iter().all(|unit| unit == mark), "contents are intact");
        }
    }
}

/// One block for the exhaustive search: start, length, pinned.
type Piece = (u32, u32, bool);

/// The least cost of any window, by trying all windows and all ways to spread their blocks over the gaps.
fn optimum(space: u32, blocks: &[Piece], wanted: u32) -> Option<u32> {
    let mut best = None;
    for first in 0..=blocks.len() {
        for last in first..=blocks.len() {
            let moved = &blocks[first..last];
            if moved.iter().any(|b| b.2) {
                continue;
            }
            // The gaps between what stays; the one that the moved blocks leave must keep `wanted` units.
            let mut gaps = Vec::new();
            let mut end = 0;
            let stays = blocks[..first].iter().chain(&blocks[last..]).copied();
            for (index, (start, length, _)) in stays.chain([(space, 0, true)]).enumerate() {
                let gap = start - end;
                if index != first {
                    gaps.push(gap);
                } else if gap >= wanted {
                    gaps.push(gap - wanted);
                } else {
                    gaps.clear();
                    break;
                }
                end = start + length;
            }
            if gaps.is_empty() || !spread(moved, &mut gaps) {
                continue;
            }
            let cost: u32 = moved.iter().map(|b| b.1).sum();
            best = Some(best.map_or(cost, |b: u32| b.min(cost)));
        }
    }
    best
}

fn spread(blocks: &[Piece], gaps: &mut [u32]) -> bool {
    let Some((block, rest)) = blocks.split_first() else { return true };
    for gap in 0..gaps.len() {
        if gaps[gap] >= block.1 {
            gaps[gap] -= block.1;
            let fits = spread(rest, gaps);
            gaps[gap] += block.1;
            if fits {
                return true;
            }
        }
    }
    false
}

fn check<P: Policy>(space: u32, blocks: &[Piece]) {
    for wanted in 1..=space {
        let mut world = World::<P, _>::new(space);
        for (start, length, pinned) in blocks {
            world.put(*start, *length, *pinned);
        }
        let free = world.space.free_units();
        let mut moves = [Move::NONE; 8];
        let plan = world.space.plan_compaction(Goal::Fit(wanted), &mut moves);
        let best = if wanted <= free { optimum(space, blocks, wanted) } else { None };
        match plan {
            Ok(plan) => {
                assert_eq!(Some(plan.units as u32), best, "{blocks:?} in {space}, wanted {wanted}");
                world.make(plan.moves);
                assert!(world.space.largest_free() >= wanted, "{blocks:?} in {space}, wanted {wanted}");
            }
            Err(error) => {
                let expected = if wanted > free { RangeError::OutOfSpace } else { RangeError::Fragmented };
                assert_eq!((error, best), (expected, None), "{blocks:?} in {space}, wanted {wanted}");
            }
        }
    }
    let mut world = World::<P, _>::new(space);
    let mut sliding = 0;
    let mut floor = 0;
    for (start, length, pinned) in blocks {
        world.put(*start, *length, *pinned);
        if *pinned {
            floor = *start;
        }
        sliding += if *start == floor { 0 } else { *length };
        floor += length;
    }
    let mut moves = [Move::NONE; 8];
    let plan = world.space.plan_compaction(Goal::OneHole, &mut moves).unwrap();
    assert_eq!((plan.units, plan.complete), (u64::from(sliding), true));
    world.make(plan.moves);
    if blocks.iter().all(|b| !b.2) {
        assert!(world.space.fragmentation().holes <= 1);
    }
}

/// Every way to lay blocks of 1 to 3 units, pinned or not, into a space of this many.
fn every_layout(space: u32, from: u32, blocks: &mut Vec<Piece>, visit: &mut impl FnMut(&[Piece])) {
    visit(blocks);
    for start in from..space {
        for length in 1..=3.min(space - start) {
            for pinned in [false, true] {
                blocks.push((start, length, pinned));
                every_layout(space, start + length, blocks, visit);
                blocks.pop();
            }
        }
    }
}

#[test]
fn plans_equal_the_exhaustive_optimum_in_every_small_space() {
    let mut layouts = 0;
    let space = if cfg!(miri) { 4 } else { 7 };
    every_layout(space, 0, &mut Vec::new(), &mut |blocks| {
        layouts += 1;
        check::<FirstFit>(space, blocks);
    });
    assert!(cfg!(miri) || layouts > 5_000, "{layouts} layouts");
}

#[test]
fn plans_equal_the_exhaustive_optimum_for_up_to_eight_random_blocks() {
    let mut random = Random::new(7);
    for _ in 0..if cfg!(miri) { 2 } else { 600 } {
        let (mut blocks, mut at) = (Vec::new(), 0);
        for _ in 0..1 + random.below(8) {
            at += if random.below(3) == 0 { 0 } else { random.below(6) as u32 };
            let length = 1 + random.below(7) as u32;
            blocks.push((at, length, random.below(6) == 0));
            at += length;
        }
        let space = at + random.below(5) as u32;
        check::<BestFit>(space, &blocks);
    }
}

fn survives_a_mix<P: Policy>() {
    let mut random = Random::new(3);
    let mut world = World::<P, _>::new(400);
    for _ in 0..if cfg!(miri) { 20 } else { 3_000 } {
        match random.below(10) {
            0..=4 => {
                if let Ok(block) = world.space.allocate(1 + random.below(20) as u32) {
                    let mark = random.next() as u32 | 1;
                    world.units[block.start as usize..block.end() as usize].fill(mark);
                    world.live.push((block, mark));
                    world.space.set_pinned(block.handle, random.below(8) == 0).unwrap();
                }
            }
            5..=7 if !world.live.is_empty() => {
                let (block, _) = world.live.swap_remove(random.below(world.live.len() as u64) as usize);
                assert_eq!(world.space.free(block.handle), Ok(block));
            }
            _ => {
                let wanted = 1 + random.below(60) as u32;
                let goal = if random.below(4) == 0 { Goal::OneHole } else { Goal::Fit(wanted) };
                let mut moves = [Move::NONE; 12];
                let Ok(plan) = world.space.plan_compaction(goal, &mut moves) else { continue };
                let moved: u64 = plan.moves.iter().map(|m| u64::from(m.length)).sum();
                assert_eq!(plan.units, moved);
                let pinned = |m: &Move<u32>| world.space.is_pinned(m.handle).unwrap();
                assert!(!plan.moves.iter().any(pinned), "pinned blocks stay");
                world.make(plan.moves);
                if let Goal::Fit(wanted) = goal {
                    assert!(world.space.largest_free() >= wanted);
                }
            }
        }
    }
}

#[test]
fn contents_survive_a_mix_of_everything() {
    survives_a_mix::<BestFit>();
    survives_a_mix::<WorstFit>();
    survives_a_mix::<FirstFit>();
    survives_a_mix::<NextFit>();
    survives_a_mix::<LastFit>();
    survives_a_mix::<GoodFit>();
    survives_a_mix::<HalfFit>();
}

#[test]
fn one_hole_can_be_reached_a_move_at_a_time() {
    let mut world = World::<LastFit, _>::new(60);
    for block in 0..10 {
        world.put(block * 6 + 2, 3, false);
    }
    let mut rounds = 0;
    loop {
        let mut moves = [Move::NONE; 1];
        let plan = world.space.plan_compaction(Goal::OneHole, &mut moves).unwrap();
        world.make(plan.moves);
        rounds += 1;
        if plan.complete {
            break;
        }
    }
    assert_eq!((rounds, world.space.fragmentation().holes), (10, 1));
}

#[test]
fn a_bad_move_is_refused_and_changes_nothing() {
    let mut nodes = [Node::<u32>::NEW; 4];
    let mut space = RangeAllocator::<BestFit, _, _>::new(30, &mut nodes[..]).unwrap();
    let low = space.allocate_at(0, 10).unwrap();
    let high = space.allocate_at(20, 5).unwrap();
    let good = Move { handle: high.handle, from: 20, to: 12, length: 5 };
    let refused = |space: &mut RangeAllocator<BestFit, u32, &mut [Node<u32>]>, step, error| {
        assert_eq!(space.commit(step), Err(error));
        space.check_invariants().unwrap();
        assert_eq!(space.blocks().map(|b| b.start).collect::<Vec<_>>(), [0, 20]);
    };
    refused(&mut space, Move { from: 19, ..good }, FreeError::WrongSize.into());
    refused(&mut space, Move { length: 4, ..good }, FreeError::WrongSize.into());
    refused(&mut space, Move { to: 9, ..good }, RangeError::InUse);
    refused(&mut space, Move { to: 26, ..good }, RangeError::Outside);
    refused(&mut space, Move { to: u32::MAX, ..good }, RangeError::Outside);
    refused(&mut space, Move { handle: low.handle, from: 0, to: 15, length: 10 }, RangeError::InUse);
    space.set_pinned(high.handle, true).unwrap();
    refused(&mut space, good, RangeError::Pinned);
    space.set_pinned(high.handle, false).unwrap();
    // The space below `low` would be a hole more than the table holds; the exact upper end is not.
    let split = Move { handle: low.handle, from: 0, to: 5, length: 10 };
    refused(&mut space, split, RangeError::TableFull);
    space.commit(good).unwrap();
    let stale = space.free(high.handle).unwrap();
    assert_eq!(space.commit(Move { from: 12, to: 20, ..good }), Err(FreeError::NotAllocated.into()));
    assert_eq!(stale.start, 12);
    assert_eq!(space.plan_compaction(Goal::Fit(0), &mut []), Err(RangeError::Empty));
    assert_eq!(space.plan_compaction(Goal::Fit(31), &mut []), Err(RangeError::TooLarge));
    assert_eq!(space.plan_compaction(Goal::Fit(21), &mut []), Err(RangeError::OutOfSpace));
}
