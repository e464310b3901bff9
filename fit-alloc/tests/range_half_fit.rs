//! Half fit never refuses in a space of `half_fit_space`, whatever the order of requests. The adversaries:
//! * Robson's: fill with blocks of one length, keep those that lie across a grid twice as wide, fill with the next length;
//!   for every choice of the grids' offsets;
//! * the same with lengths just above powers of two, which rounding nearly doubles;
//! * random requests at the peak, biased to free what separates large holes.
//!
//! That they bite is shown by smaller spaces, in which they make half fit refuse.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "range_oracle/random.rs"]
mod random;

use hectare_core::CheckInvariants;
use hectare_fit::policy::{HalfFit, half_fit_space};
use hectare_fit::range::{Block, RangeAllocator, Vecs};
use random::Random;

type Space = RangeAllocator<HalfFit, u64, Vecs<u64>>;

/// Robson's adversary: gives whether every request was served. At most `peak` units are asked for at one time.
fn robson(units: u64, peak: u64, longest: u64, offsets: u64, odd: bool) -> bool {
    let mut space = Space::new(units, Vecs::new()).unwrap();
    let mut live: Vec<(Block<u64>, u64)> = Vec::new();
    let mut offset = 0;
    for power in 0..=longest.ilog2() {
        // With `odd`, one more than the half: 2^k − 1 and 2^k round to the same, 2^(k−1) + 1 wastes most.
        let length = if odd { (1 << power >> 1) + 1 } else { 1 << power };
        let grid = 2_u64 << power;
        let mut asked: u64 = live.iter().map(|(_, asked)| asked).sum();
        while asked + length <= peak {
            let Ok(block) = space.allocate(length) else { return false };
            live.push((block, length));
            asked += length;
        }
        offset += (offsets >> power & 1) << power;
        live.retain(|(block, _)| {
            // Whether it has a unit at offset modulo the grid.
            let next = block.start + (grid + offset - block.start % grid) % grid;
            let stays = next < block.end();
            if !stays {
                space.free(block.handle).unwrap();
            }
            stays
        });
    }
    space.check_invariants().unwrap();
    true
}

/// Random requests of all lengths, the live ones always near the peak.
fn storm(units: u64, peak: u64, longest: u64, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let mut space = Space::new(units, Vecs::new()).unwrap();
    let (mut live, mut asked): (Vec<(Block<u64>, u64)>, u64) = (Vec::new(), 0);
    for step in 0..2_000_u64 {
        // Phases of short and of long lengths.
        let most = if step / 100 % 2 == 0 { 2 } else { longest };
        let length = 1 + random.below(most);
        while asked + length > peak {
            // Every second block from the bottom, so that what is freed does not join.
            live.sort_by_key(|(block, _)| block.start);
            let which = (random.below(live.len() as u64) | 1).min(live.len() as u64 - 1);
            let (block, length) = live.remove(usize::try_from(which).unwrap());
            space.free(block.handle).unwrap();
            asked -= length;
        }
        let Ok(block) = space.allocate(length) else { return false };
        live.push((block, length));
        asked += length;
    }
    space.check_invariants().unwrap();
    true
}

#[test]
fn half_fit_never_refuses_in_the_space_that_its_formula_gives() {
    let longest = if cfg!(miri) { 4 } else { 64_u64 };
    for peak in [longest, longest + 1, 3 * longest - 1, 16 * longest] {
        let units = half_fit_space(peak, longest).unwrap();
        let offsets = 2 * longest;
        for offsets in 0..offsets {
            for odd in [false, true] {
                assert!(
                    robson(units, peak, longest, offsets, odd),
                    "peak {peak}, offsets {offsets:b}, {odd}"
                );
            }
        }
        for seed in 0..if cfg!(miri) { 1 } else { 60 } {
            assert!(storm(units, peak, longest, seed + 1), "peak {peak}, seed {seed}");
        }
    }
}

#[test]
fn the_adversaries_bite_in_smaller_spaces() {
    let (peak, longest) = if cfg!(miri) { (16, 4) } else { (1024, 64_u64) };
    let bites = |units: u64| (0..2 * longest).any(|offsets| !robson(units, peak, longest, offsets, false));
    assert!(bites(peak * 3 / 2), "Robson's adversary needs more than half as much again");
    assert!((1..40).any(|seed| !storm(peak * 3 / 2, peak, longest, seed)), "a storm does");
}
