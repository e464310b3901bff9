//! The walks through the trie of one class.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::super::memory::Field::{Back, Left, Next, Right, Up};
use super::super::memory::{Field, Hole, Memory};
use super::{EXACT, class_of};

/// The number of holes in a subtree.
pub(super) fn count(m: &Memory, top: u32, class: usize, bits: u32, most: u32) -> Result<u32, Violation> {
    if top == 0 {
        return Ok(0);
    }
    let size = m.get(top, Field::Size);
    let (mut holes, mut at) = (1, m.get(top, Next));
    while at != top && holes <= most {
        Violation::unless(m.get(at, Field::Size) == size, "P1: a ring holds one size", at.into())?;
        holes += 1;
        at = m.get(at, Next);
    }
    Violation::unless(class_of(size).0 == class, "P1: a trie holds the sizes of its class", top.into())?;
    if bits > 0 {
        for side in [Left, Right] {
            let below = m.get(top, side);
            let linked = below == 0 || m.get(below, Up) == top;
            Violation::unless(linked, "P1: links lead up and down alike", below.into())?;
            holes += count(m, below, class, bits - 1, most)?;
        }
    }
    Ok(holes)
}

/// The newest of a ring, given its oldest.
#[inline(always)]
pub(super) fn newest(m: &Memory, oldest: u32) -> Option<Hole> {
    m.hole_from(m.get(oldest, Back))
}

/// The smallest size of at least `size` in the trie of its own class; 0 if there is none.
///
/// Along the path that the bits of `size` lead, each right turn not taken holds only larger sizes; the deepest such
/// subtree holds the smallest of them.
#[inline(always)]
pub(super) fn at_least_in(m: &Memory, top: u32, size: u32, shift: u32) -> u32 {
    let (mut best, mut best_size, mut aside) = (0, u32::MAX, 0);
    let (mut at, mut bit) = (top, shift);
    while at != 0 {
        let here = m.get(at, Field::Size);
        // The planted fault: a hole that fits exactly is taken for too small.
        let fits = if cfg!(hectare_plant = "policy_off_by_one") { here > size } else { here >= size };
        if fits && here < best_size {
            (best, best_size) = (at, here);
            if here == size {
                return best;
            }
        }
        if bit == 0 {
            break;
        }
        bit -= 1;
        let right = m.get(at, Right);
        if size >> bit & 1 == 0 {
            if right != 0 {
                aside = right;
            }
            at = m.get(at, Left);
        } else {
            at = right;
        }
    }
    let other = extreme(m, aside, Left);
    if other != 0 && m.get(other, Field::Size) < best_size { other } else { best }
}

/// The largest size of at most `size` in the trie of its own class: the mirror image.
pub(super) fn at_most_in(m: &Memory, top: u32, size: u32, shift: u32) -> u32 {
    let (mut best, mut best_size, mut aside) = (0, 0, 0);
    let (mut at, mut bit) = (top, shift);
    while at != 0 {
        let here = m.get(at, Field::Size);
        if here <= size && here > best_size {
            (best, best_size) = (at, here);
        }
        if bit == 0 {
            break;
        }
        bit -= 1;
        let left = m.get(at, Left);
        if size >> bit & 1 == 1 {
            if left != 0 {
                aside = left;
            }
            at = m.get(at, Right);
        } else {
            at = left;
        }
    }
    let other = extreme(m, aside, Right);
    if other != 0 && m.get(other, Field::Size) > best_size { other } else { best }
}

/// The smallest (`Left`) or largest (`Right`) size in a subtree: along one flank, as inner holes are sizes too.
#[inline(always)]
pub(super) fn extreme(m: &Memory, top: u32, side: Field) -> u32 {
    let (mut best, mut best_size) = (top, m.get(top, Field::Size));
    if best_size < EXACT {
        return best;
    }
    let other = if side == Left { Right } else { Left };
    let mut at = top;
    for _ in 0..=u32::BITS {
        let near = m.get(at, side);
        at = if near == 0 { m.get(at, other) } else { near };
        if at == 0 {
            break;
        }
        let here = m.get(at, Field::Size);
        if if side == Left { here < best_size } else { here > best_size } {
            (best, best_size) = (at, here);
        }
    }
    best
}
