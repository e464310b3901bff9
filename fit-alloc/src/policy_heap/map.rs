//! The map of free granules: one bit each, and what can be read from it.
//!
//! ```text
//!  granule    0 1 2 3 4 5 6 7 8 …                a hole is a maximal run of ones: its start has a one and a zero
//!  bit        0 0 1 1 1 0 0 1 0 …                before it, so no other mark is needed
//!                 └ hole┘   └ hole of one
//! ```
#![forbid(unsafe_code)]

/// Bits in a word of the map. The granules of one word are a *section*.
pub(super) const BITS: u32 = usize::BITS;

/// The words that the map of `span` granules needs: one bit more than there are granules is always zero.
pub(super) const fn words(span: u32) -> usize {
    span as usize / BITS as usize + 1
}

/// The section of a granule.
#[inline(always)]
pub(super) const fn section(granule: u32) -> usize {
    (granule / BITS) as usize
}

/// The words, with the bits in them, of the granules `[start, start + size)`.
#[inline(always)]
fn masks(start: u32, size: u32) -> impl Iterator<Item = (usize, usize)> {
    let (mut at, mut left) = (start, size);
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let bit = at % BITS;
        let count = left.min(BITS - bit);
        let mask = (usize::MAX >> (BITS - count)) << bit;
        let word = section(at);
        at = at.wrapping_add(count);
        left -= count;
        Some((word, mask))
    })
}

/// Whether a granule is free. Granules past the end are not.
#[inline(always)]
pub(super) fn is_free(map: &[usize], granule: u32) -> bool {
    map.get(section(granule)).is_some_and(|word| word >> (granule % BITS) & 1 != 0)
}

/// Whether a hole begins at a granule.
#[inline(always)]
pub(super) fn begins(map: &[usize], granule: u32) -> bool {
    is_free(map, granule) && !(granule > 0 && is_free(map, granule - 1))
}

/// Whether a hole ends before a granule.
#[inline(always)]
pub(super) fn ends(map: &[usize], granule: u32) -> bool {
    granule > 0 && is_free(map, granule - 1) && !is_free(map, granule)
}

/// Whether all of `[start, start + size)` are free (or with `free` false: used). One step for each section.
#[inline(always)]
pub(super) fn all(map: &[usize], start: u32, size: u32, free: bool) -> bool {
    masks(start, size).all(|(word, mask)| {
        map.get(word).is_some_and(|bits| if free { bits & mask == mask } else { bits & mask == 0 })
    })
}

/// Marks `[start, start + size)` free or used. One step for each section.
#[inline(always)]
pub(super) fn mark(map: &mut [usize], start: u32, size: u32, free: bool) {
    for (word, mask) in masks(start, size) {
        if let Some(bits) = map.get_mut(word) {
            *bits = if free { *bits | mask } else { *bits & !mask };
        }
    }
}

/// The bits of a section at which holes begin.
#[inline(always)]
pub(super) fn starts(map: &[usize], section: usize) -> usize {
    let word = map.get(section).copied().unwrap_or(0);
    let before = section.checked_sub(1).and_then(|before| map.get(before)).copied().unwrap_or(0);
    word & !(word << 1 | before >> (BITS - 1))
}

/// How many granules are free from this one up to its section's end; all of them if it is exactly `BITS` minus its bit.
#[inline(always)]
pub(super) fn run(map: &[usize], granule: u32) -> u32 {
    let word = map.get(section(granule)).copied().unwrap_or(0);
    (!(word >> (granule % BITS))).trailing_zeros().min(BITS - granule % BITS)
}

/// The first granule at or after `from` and below `end` that is free (or with `free` false: used); else `end`.
pub(super) fn next(map: &[usize], from: u32, end: u32, free: bool) -> u32 {
    let mut at = from;
    while at < end {
        let word = map.get(section(at)).copied().unwrap_or(0);
        let bits = if free { word } else { !word } >> (at % BITS);
        if bits != 0 {
            return at.saturating_add(bits.trailing_zeros()).min(end);
        }
        at = (at / BITS + 1).saturating_mul(BITS);
    }
    end
}
