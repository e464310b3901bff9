//! Walking a heap: its holes, and the used runs between them.
#![expect(unsafe_code, reason = "reads the maps")]

use core::ptr::NonNull;

use super::engine::{Engine, Hole};
use super::good_fit::GoodFit;
use super::region::{BITS, Region};
use super::shape::{Mode, Shape};

/// A part of a region, as a walk sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Run {
    /// A hole: where it begins, and its bytes.
    Hole(NonNull<u8>, usize),
    /// Blocks without a hole between them: where they begin, and their bytes. A region's map counts as used.
    Used(NonNull<u8>, usize),
}

impl<S: Shape, const REGIONS: usize, M: Mode> GoodFit<S, REGIONS, M> {
    /// The holes and used runs of every region, in the order of addresses within each. O(map) in all.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        self.used_engines().flat_map(|engine| {
            let region = engine.region;
            let mut at = region.first();
            core::iter::from_fn(move || {
                if at == region.end() {
                    return None;
                }
                // SAFETY: `at` is a granule of the region.
                let start = unsafe { region.block(at) };
                let hole = engine.holes(at).next().unwrap_or(Hole { start: region.end(), size: 0 });
                if hole.start > at {
                    let size = hole.start - at;
                    at = hole.start;
                    return Some(Run::Used(start, size << S::LOG2_GRANULE));
                }
                at = hole.end();
                Some(Run::Hole(start, hole.size << S::LOG2_GRANULE))
            })
        })
    }

    /// The live blocks of a hardened heap as (start, granted bytes), in the order of addresses within each region; of
    /// another heap none, since it does not know where they begin. O(map) in all.
    pub fn blocks(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> {
        self.used_engines().filter(|_| M::HARDENED).flat_map(|engine| {
            let region = engine.region;
            let mut at = region.first();
            core::iter::from_fn(move || {
                while at < region.end() {
                    let start = at;
                    // SAFETY: a granule of the region; the heap is hardened.
                    match unsafe { region.block_at(start, usize::MAX) } {
                        Some(end) => {
                            at = end;
                            // SAFETY: a granule of the region.
                            let block = unsafe { region.block(start) };
                            return Some((block, (end - start) << S::LOG2_GRANULE));
                        }
                        None => at += 1,
                    }
                }
                None
            })
        })
    }

    pub(crate) fn used_engines(&self) -> impl Iterator<Item = &Engine<S>> {
        self.engines.iter().take(self.count)
    }
}

impl<S: Shape> Engine<S> {
    /// The holes that begin at or after `from`, which is a granule outside any hole or the first of one. The recent run
    /// counts as free: as a hole, or as a part of those beside it.
    pub(crate) fn holes(&self, from: usize) -> impl Iterator<Item = Hole> {
        let mut recent = Some(self.recent).filter(|recent| recent.size != 0 && recent.start >= from);
        let mut holes = self.mapped_holes(from).peekable();
        core::iter::from_fn(move || {
            let before = recent.filter(|recent| holes.peek().is_none_or(|hole| recent.start < hole.start));
            let mut hole = if before.is_some() { recent.take()? } else { holes.next()? };
            if let Some(after) = recent.take_if(|recent| recent.start == hole.end()) {
                hole.size += after.size;
            }
            if let Some(after) = holes.next_if(|after| after.start == hole.end()) {
                hole.size += after.size;
            }
            Some(hole)
        })
    }

    /// The same without the recent run.
    pub(crate) fn mapped_holes(&self, from: usize) -> impl Iterator<Item = Hole> {
        let mut at = from;
        core::iter::from_fn(move || {
            at = next_set(&self.region, at)?;
            let hole = self.sized(at);
            // A broken size must not lead out of the region or stand still.
            at = at.saturating_add(hole.size.max(1)).min(self.region.end());
            Some(hole)
        })
    }

    /// The hole that begins at `start`, with its size from where it is kept.
    fn sized(&self, start: usize) -> Hole {
        for held in [self.active, self.top] {
            if held.start == start {
                return held;
            }
        }
        // SAFETY: the map says that a hole begins there, and it is not held, so it is listed.
        Hole { start, size: unsafe { self.region.size_from(start) } }
    }
}

/// The first index at or after `from` whose bit is set.
fn next_set<S: Shape>(region: &Region<S>, mut from: usize) -> Option<usize> {
    while from < region.end() {
        // SAFETY: a granule of the region.
        let bits = unsafe { region.map_word(from) } >> (from % BITS);
        if bits != 0 {
            return Some(from + bits.trailing_zeros() as usize).filter(|index| *index < region.end());
        }
        from = (from / BITS + 1) * BITS;
    }
    None
}
