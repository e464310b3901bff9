//! Every policy beside a naive scan: a sorted vector of pieces, all of which are looked at for each request.

use hectare_fit::policy::{BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit};
use hectare_fit::range::{Handle, RangeAllocator, Vecs};

use crate::figures::{Bound, Figure, Random};

#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    length: u32,
    used: bool,
    /// When the hole came into its class: for most policies every size is one.
    stamp: u64,
}

/// How a policy chooses, said as shortly as it can be.
struct Naive {
    pieces: Vec<Piece>,
    clock: u64,
    rover: u32,
    /// The class of a length: holes of one class are taken latest first.
    class: fn(u32) -> u64,
    choose: fn(&Self, u32) -> Option<(usize, u32)>,
    from_top: bool,
}

fn size(length: u32) -> u64 {
    length.into()
}

fn good(length: u32) -> u64 {
    // Exact below 2048, then 32 for each octave.
    if length < 2048 {
        length.into()
    } else {
        u64::from(length.ilog2()) << 32 | u64::from(length >> (length.ilog2() - 5))
    }
}

fn half(length: u32) -> u64 {
    length.ilog2().into()
}

impl Naive {
    fn holes(&self, least: u32) -> impl DoubleEndedIterator<Item = (usize, &Piece)> {
        self.pieces.iter().enumerate().filter(move |(_, piece)| !piece.used && piece.length >= least)
    }

    fn first(&self, length: u32) -> Option<(usize, u32)> {
        self.holes(length).next().map(|(at, _)| (at, length))
    }

    fn last(&self, length: u32) -> Option<(usize, u32)> {
        self.holes(length).next_back().map(|(at, _)| (at, length))
    }

    fn next(&self, length: u32) -> Option<(usize, u32)> {
        let above = self.holes(length).find(|(_, hole)| hole.start + hole.length > self.rover);
        above.map(|(at, _)| (at, length)).or_else(|| self.first(length))
    }

    fn best(&self, length: u32) -> Option<(usize, u32)> {
        let best = self.holes(length).min_by_key(|(_, hole)| (hole.length, u64::MAX - hole.stamp));
        best.map(|(at, _)| (at, length))
    }

    fn worst(&self, length: u32) -> Option<(usize, u32)> {
        self.holes(length).max_by_key(|(_, hole)| (hole.length, hole.stamp)).map(|(at, _)| (at, length))
    }

    /// One look at the latest of the own class, then the lowest class that surely fits, then all of the own.
    fn good(&self, length: u32) -> Option<(usize, u32)> {
        let own = self.holes(1).filter(|(_, hole)| good(hole.length) == good(length));
        let probe = own.max_by_key(|(_, hole)| hole.stamp).filter(|(_, hole)| hole.length >= length);
        let above = || {
            let above = self.holes(length).filter(|(_, hole)| good(hole.length) > good(length));
            above.min_by_key(|(_, hole)| (good(hole.length), u64::MAX - hole.stamp))
        };
        let hidden = || self.holes(length).max_by_key(|(_, hole)| hole.stamp);
        probe.or_else(above).or_else(hidden).map(|(at, _)| (at, length))
    }

    fn half(&self, length: u32) -> Option<(usize, u32)> {
        let rounded = length.next_power_of_two();
        let key = |hole: &Piece| (hole.length.ilog2(), u64::MAX - hole.stamp);
        let sure = self.holes(rounded).min_by_key(|(_, hole)| key(hole));
        let any = || self.holes(length).max_by_key(|(_, hole)| hole.stamp).map(|(at, _)| (at, length));
        sure.map(|(at, _)| (at, rounded)).or_else(any)
    }

    fn stamp(&mut self, before: Piece, length: u32) -> u64 {
        if (self.class)(before.length) == (self.class)(length) {
            return before.stamp;
        }
        self.clock += 1;
        self.clock
    }

    fn allocate(&mut self, length: u32) -> Option<(u32, u32)> {
        let (at, length) = (self.choose)(self, length)?;
        let hole = self.pieces[at];
        let rest = hole.length - length;
        let start = if self.from_top { hole.start + rest } else { hole.start };
        self.rover = start + length;
        let block = Piece { start, length, used: true, stamp: 0 };
        if rest == 0 {
            self.pieces[at] = block;
        } else {
            let stamp = self.stamp(hole, rest);
            let left = if self.from_top { hole.start } else { hole.start + length };
            self.pieces[at] = Piece { start: left, length: rest, used: false, stamp };
            self.pieces.insert(if self.from_top { at + 1 } else { at }, block);
        }
        Some((start, length))
    }

    fn free(&mut self, start: u32) {
        let mut at = self.pieces.partition_point(|piece| piece.start < start);
        self.clock += 1;
        self.pieces[at].used = false;
        self.pieces[at].stamp = self.clock;
        // The hole below stays and grows; if there is none, the one above does.
        if let Some(above) = self.pieces.get(at + 1).copied().filter(|piece| !piece.used) {
            let whole = self.pieces[at].length + above.length;
            let stamp = self.stamp(above, whole);
            self.pieces.remove(at + 1);
            self.pieces[at] = Piece { length: whole, stamp, ..self.pieces[at] };
        }
        if at > 0 && !self.pieces[at - 1].used {
            let piece = self.pieces.remove(at);
            at -= 1;
            let below = self.pieces[at];
            let whole = below.length + piece.length;
            let stamp = self.stamp(below, whole);
            self.pieces[at] = Piece { length: whole, stamp, ..below };
        }
    }
}

/// How many of so many requests are answered otherwise than by the scan.
fn differences<P: Policy>(
    queries: u64,
    class: fn(u32) -> u64,
    choose: fn(&Naive, u32) -> Option<(usize, u32)>,
) -> u64 {
    let (mut random, mut done, mut wrong) = (Random::new(41), 0, 0);
    // Small and large spaces, short and long requests.
    let shapes = [(60, 12, 12), (700, 40, 60), (5_000, 300, 60), (200_000, 6_000, 80), (1_000, 3, 300)];
    while done < queries {
        for (space, longest, most) in shapes {
            let all = Piece { start: 0, length: space, used: false, stamp: 1 };
            let from_top = P::NAME == LastFit::NAME;
            let mut naive = Naive { pieces: vec![all], clock: 1, rover: 0, class, choose, from_top };
            let Ok(mut ours) = RangeAllocator::<P, u32, _>::new(space, Vecs::new()) else { return queries };
            let mut live: Vec<(Handle, u32)> = vec![];
            for _ in 0..4_000 {
                if live.len() < most && random.range(0, 100) < 55 {
                    let length = random.range(1, longest + 1) as u32;
                    let mine = ours.allocate(length).ok();
                    let his = naive.allocate(length);
                    done += 1;
                    if mine.map(|block| (block.start, block.length)) != his {
                        wrong += 1;
                        break; // From here on the two differ.
                    }
                    live.extend(mine.map(|block| (block.handle, block.start)));
                } else if !live.is_empty() {
                    let (handle, start) = live.swap_remove(random.range(0, live.len()));
                    wrong += u64::from(ours.free(handle).is_err());
                    naive.free(start);
                }
            }
        }
    }
    wrong
}

/// A figure for each policy.
#[must_use]
pub fn figures(queries: u64) -> Vec<Figure> {
    let figure = |policy: &str, wrong: u64| {
        let name = format!("ranges, {policy}: of {queries} requests, unlike a naive scan");
        Figure::value(name, wrong as f64, Bound::AtMost(0.0))
    };
    vec![
        figure("best fit", differences::<BestFit>(queries, size, Naive::best)),
        figure("worst fit", differences::<WorstFit>(queries, size, Naive::worst)),
        figure("first fit", differences::<FirstFit>(queries, size, Naive::first)),
        figure("next fit", differences::<NextFit>(queries, size, Naive::next)),
        figure("last fit", differences::<LastFit>(queries, size, Naive::last)),
        figure("good fit", differences::<GoodFit>(queries, good, Naive::good)),
        figure("half fit", differences::<HalfFit>(queries, half, Naive::half)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_differs_from_its_scan_and_a_wrong_scan_is_noticed() {
        for figure in figures(20_000) {
            assert_eq!(figure.ok(), Some(true), "{}", figure.figure);
        }
        assert!(differences::<BestFit>(5_000, size, Naive::first) > 0);
    }
}
