//! Plans for compaction beside the optimum that an exhaustive search finds.

use hectare_fit::compact_plan::{Goal, Move};
use hectare_fit::policy::BestFit;
use hectare_fit::range::{RangeAllocator, Vecs};

use crate::figures::{Bound, Figure, Random};

/// Start, length, pinned.
type Piece = (u32, u32, bool);

/// The least units of any run of neighbours that can be spread over the gaps elsewhere, so that what they leave holds
/// `wanted` units: all runs, all ways to spread them.
fn optimum(space: u32, blocks: &[Piece], wanted: u32) -> Option<u32> {
    let mut best = None;
    for first in 0..=blocks.len() {
        for last in first..=blocks.len() {
            let moved = &blocks[first..last];
            if moved.iter().any(|block| block.2) {
                continue;
            }
            let (mut gaps, mut end) = (vec![], 0);
            let stay = blocks[..first].iter().chain(&blocks[last..]).copied();
            for (index, (start, length, _)) in stay.chain([(space, 0, true)]).enumerate() {
                // What the run leaves keeps `wanted` units; the rest of it may take some of the run back.
                let gap = start - end;
                match (index == first, gap.checked_sub(wanted)) {
                    (false, _) => gaps.push(gap),
                    (true, Some(rest)) => gaps.push(rest),
                    (true, None) => {
                        gaps.clear();
                        break;
                    }
                }
                end = start + length;
            }
            if !gaps.is_empty() && spread(moved, &mut gaps) {
                let cost: u32 = moved.iter().map(|block| block.1).sum();
                best = Some(best.map_or(cost, |least: u32| least.min(cost)));
            }
        }
    }
    best
}

fn spread(blocks: &[Piece], gaps: &mut [u32]) -> bool {
    let Some((block, rest)) = blocks.split_first() else { return true };
    (0..gaps.len()).any(|gap| {
        let fits = gaps[gap] >= block.1;
        if fits {
            gaps[gap] -= block.1;
        }
        let all = fits && spread(rest, gaps);
        if fits {
            gaps[gap] += block.1;
        }
        all
    })
}

/// Random spaces of up to eight blocks, every length asked for.
///
/// # Panics
/// A block cannot be placed where nothing is.
#[must_use]
pub fn figures() -> Vec<Figure> {
    let (mut random, mut plans, mut worse) = (Random::new(7), 0_u64, 0_u64);
    for _ in 0..2_000 {
        let (mut blocks, mut at): (Vec<Piece>, u32) = (vec![], 0);
        for _ in 0..random.range(1, 9) {
            at += if random.range(0, 3) == 0 { 0 } else { random.range(0, 6) as u32 };
            let length = random.range(1, 8) as u32;
            blocks.push((at, length, random.range(0, 6) == 0));
            at += length;
        }
        let space = at + random.range(0, 5) as u32;
        let mut ranges = RangeAllocator::<BestFit, u32, _>::new(space, Vecs::new()).expect("a space");
        for &(start, length, pinned) in &blocks {
            let block = ranges.allocate_at(start, length).expect("nothing is there");
            ranges.set_pinned(block.handle, pinned).expect("live");
        }
        for wanted in 1..=ranges.free_units() {
            let mut moves = [Move::NONE; 8];
            let plan = ranges.plan_compaction(Goal::Fit(wanted), &mut moves);
            let units = plan.ok().map(|plan| plan.units as u32);
            plans += 1;
            worse += u64::from(units != optimum(space, &blocks, wanted));
        }
    }
    vec![
        Figure::value(
            "ranges: compaction plans beside the exhaustive optimum",
            plans as f64,
            Bound::Recorded,
        ),
        Figure::value("ranges: plans that move another number of units", worse as f64, Bound::AtMost(0.0)),
    ]
}
