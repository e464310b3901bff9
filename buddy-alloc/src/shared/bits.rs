//! Rows as plain `u64`, whatever the geometry: the shared engine's words are all of one type.
#![forbid(unsafe_code)]

use crate::geometry::{Geometry, Word};
use crate::row::Runs;

/// All bits of a row.
#[inline(always)]
pub(super) const fn full<G: Geometry>() -> u64 {
    u64::MAX >> (64 - G::BITS)
}

/// The lowest 2^class bits.
#[inline(always)]
pub(super) const fn low(class: u32) -> u64 {
    u64::MAX >> (64 - (1 << class))
}

/// The number of a unit in its row.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
pub(super) const fn number<G: Geometry>(unit: usize) -> u32 {
    unit as u32 & (G::BITS - 1)
}

/// The bit of a unit in its row.
#[inline(always)]
pub(super) const fn bit<G: Geometry>(unit: usize) -> u64 {
    1 << number::<G>(unit)
}

/// The class a row is found under; `None` if nothing can be taken from it: it is empty, or full.
#[inline(always)]
pub(super) fn class<G: Geometry>(word: u64) -> Option<u32> {
    if word == 0 || word == full::<G>() {
        None
    } else {
        Some(Runs::<G>::of(G::Word::truncate(word)).largest())
    }
}

/// Where to take 2^class bits from a row that is not full.
#[inline(always)]
pub(super) fn place<G: Geometry>(word: u64, class: u32) -> Option<u32> {
    Runs::<G>::of(G::Word::truncate(word)).place(class)
}

/// Where to take 2^class bits from a row that is neither empty nor full, if `exact` only where that breaks no larger
/// run.
#[inline(always)]
pub(super) fn place_in<G: Geometry>(word: u64, class: u32, exact: bool) -> Option<u32> {
    let runs = Runs::<G>::of(G::Word::truncate(word));
    let maximal = runs.maximal(class);
    let from = if exact || maximal != G::Word::ZERO { maximal } else { runs.of_class(class) };
    if from == G::Word::ZERO { None } else { Some(from.lowest()) }
}

/// The level and the class of an order.
#[inline(always)]
pub(super) const fn place_of<G: Geometry>(order: u32) -> (usize, u32) {
    ((order / G::LOG2) as usize, order % G::LOG2)
}

/// The unit of a level in which a frame lies.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "shifted down, an offset still fits usize")]
pub(super) const fn unit_of<G: Geometry>(level: usize, offset: usize) -> usize {
    // In 64 bits: on narrower machines the shift may exceed the width of usize.
    (offset as u64 >> (G::LOG2 * level as u32)) as usize
}

/// The first frame of a unit of a level.
#[inline(always)]
pub(super) const fn offset_of<G: Geometry>(level: usize, unit: usize) -> usize {
    unit << (G::LOG2 as usize * level)
}

/// The aligned blocks that fill a run, from first to last: offset and order, at most `largest`.
pub(super) fn blocks(offset: usize, count: u64, largest: u32) -> impl Iterator<Item = (usize, u32)> {
    let (mut at, mut left) = (offset, count);
    core::iter::from_fn(move || {
        let order = left.checked_ilog2()?.min(at.trailing_zeros()).min(largest);
        let block = (at, order);
        at = at.wrapping_add(1 << order);
        left -= 1 << order;
        Some(block)
    })
}
