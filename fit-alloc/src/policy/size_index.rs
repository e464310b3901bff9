//! All holes by exact size: a bitwise trie for each class of sizes.
//!
//! ```text
//!  classes   0…010110 ─► links to tries: sixty-four for each octave, so that most hold one size or none
//!
//!  trie of a class that leaves k bits open:
//!                  (any size of the class)
//!               bit k-1 = 0 │ │ bit k-1 = 1               every node is a size; the sizes below a child share
//!                 ┌─────────┘ └─────────┐                 the bits that lead to it; equal sizes form a ring
//!              (size)                (size)◄─►(same)◄─►   whose oldest member sits in the trie
//! ```
//! A trie of sizes (Knuth, *The Art of Computer Programming*, vol. 3, section 6.3, there "digital tree search"; Doug
//! Lea's malloc uses such tries for its large bins) is never deeper than the bits it branches on: no rotations, no
//! balance, and every operation within a word's length of steps.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::classes::{Class, Classes};
use super::step;
use crate::range::{NIL, Tables, Unit, View};

/// The parent of a ring's members that do not sit in the trie.
const RING: u32 = NIL - 1;
/// The parent of a root.
const ROOT: u32 = NIL;

/// See the [module](self).
///
/// Invariants:
/// * every hole is in exactly one ring, that of its size, and one member of each ring, the oldest, is in the trie of
///   its class;
/// * below child `b` of a node at depth `d` of a class that leaves `k` bits open, bit `k − 1 − d` of every size is `b`;
/// * from each ring's oldest, `older` leads cyclically to the latest and on to earlier ones.
#[derive(Clone, Debug)]
pub(super) struct SizeIndex<U: Unit>(Classes<U>);

impl<U: Unit> Default for SizeIndex<U> {
    fn default() -> Self {
        Self(Classes::default())
    }
}

/// The member of a ring that got its size last, given the one in the trie.
#[inline]
fn newest<U: Unit>(view: View<'_, U>, oldest: u32) -> u32 {
    view.at(oldest).older
}

impl<U: Unit> SizeIndex<U> {
    /// Adds a hole as the latest of its size.
    #[inline]
    pub(super) fn insert(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        step();
        let length = t.at(hole).length;
        let class = Class::of(length);
        t.edit(hole, |n| {
            n.child = [NIL; 2];
            n.older = hole;
            n.newer = hole;
        });
        let mut bit = class.shift;
        let mut at = self.0.head(class);
        if at == NIL {
            t.edit(hole, |n| n.parent = ROOT);
            return self.0.set_head(class, hole);
        }
        loop {
            step();
            let node = t.at(at);
            if node.length == length {
                let older = node.older;
                t.edit(at, |n| n.older = hole);
                t.edit(older, |n| n.newer = hole);
                return t.edit(hole, |n| {
                    n.parent = RING;
                    n.older = older;
                    n.newer = at;
                });
            }
            bit = bit.saturating_sub(1);
            let side = length.bit(bit);
            let next = node.child[side & 1];
            if next == NIL {
                t.edit(at, |n| n.child[side & 1] = hole);
                return t.edit(hole, |n| n.parent = at);
            }
            at = next;
        }
    }

    /// Takes a hole out.
    #[inline]
    pub(super) fn remove(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        step();
        let node = t.at(hole);
        let (length, older, newer) = (node.length, node.older, node.newer);
        let (parent, child) = (node.parent, node.child);
        if older == hole {
            let leaf = self.cut_leaf(t, hole);
            let child = t.at(hole).child;
            self.replace(t, hole, leaf, parent, child, length);
        } else {
            t.edit(older, |n| n.newer = newer);
            t.edit(newer, |n| n.older = older);
            if parent != RING {
                // The oldest leaves: the second oldest takes its place.
                self.replace(t, hole, newer, parent, child, length);
            }
        }
    }

    /// Cuts some leaf off below `top`; [`NIL`] if `top` is a leaf itself.
    fn cut_leaf(&mut self, t: &mut Tables<'_, U>, top: u32) -> u32 {
        let mut leaf = top;
        loop {
            step();
            let [left, right] = t.at(leaf).child;
            match (left, right) {
                (NIL, NIL) => break,
                (_, NIL) => leaf = left,
                _ => leaf = right,
            }
        }
        if leaf == top {
            return NIL;
        }
        let parent = t.at(leaf).parent;
        t.edit(parent, |n| n.child = n.child.map(|c| if c == leaf { NIL } else { c }));
        leaf
    }

    /// Puts `new` (or nothing) where `old` sits in the trie.
    fn replace(
        &mut self,
        t: &mut Tables<'_, U>,
        old: u32,
        new: u32,
        parent: u32,
        child: [u32; 2],
        length: U,
    ) {
        if parent == ROOT {
            self.0.set_head(Class::of(length), new);
        } else {
            t.edit(parent, |n| n.child = n.child.map(|c| if c == old { new } else { c }));
        }
        t.edit(new, |n| {
            n.parent = parent;
            n.child = child;
        });
        t.edit(child[0], |n| n.parent = new);
        t.edit(child[1], |n| n.parent = new);
    }

    /// The latest of the smallest holes of at least `length`.
    #[inline]
    pub(super) fn at_least(&self, v: View<'_, U>, length: U) -> u32 {
        let class = Class::of(length);
        let found = at_least_in(v, self.0.head(class), length, class.shift);
        if found != NIL {
            return newest(v, found);
        }
        self.0.above(class).map_or(NIL, |above| newest(v, extreme(v, self.0.head(above), 0)))
    }

    /// The latest of the largest holes of at most `length`.
    pub(super) fn at_most(&self, v: View<'_, U>, length: U) -> u32 {
        let class = Class::of(length);
        let found = at_most_in(v, self.0.head(class), length, class.shift);
        if found != NIL {
            return newest(v, found);
        }
        self.0.below(class).map_or(NIL, |below| newest(v, extreme(v, self.0.head(below), 1)))
    }

    /// The latest of the largest holes.
    #[inline]
    pub(super) fn largest(&self, v: View<'_, U>) -> u32 {
        self.0.highest().map_or(NIL, |class| newest(v, extreme(v, self.0.head(class), 1)))
    }

    /// The hole of the same size that got it just before this one; [`NIL`] if this is the oldest.
    #[inline]
    pub(super) fn older(v: View<'_, U>, hole: u32) -> u32 {
        step();
        let node = v.at(hole);
        if node.parent == RING { node.older } else { NIL }
    }

    /// Checks the masks, and gives the number of holes.
    pub(super) fn check(&self, v: View<'_, U>) -> Result<u64, Violation> {
        let limit = v.nodes.len() as u64;
        self.0.check(|class, root| {
            let alike = root == NIL || Class::of(v.at(root).length) == class;
            Violation::unless(alike, "a trie holds the sizes of its class", class.number())?;
            count_below(v, root, class.shift, limit)
        })
    }

    /// Whether a hole is reached by the path that its size leads along.
    pub(super) fn contains(&self, v: View<'_, U>, hole: u32) -> bool {
        let node = v.at(hole);
        if v.at(node.older).newer != hole || v.at(node.newer).older != hole {
            return false;
        }
        let class = Class::of(node.length);
        let (mut bit, mut at) = (class.shift, self.0.head(class));
        while at != NIL {
            let here = v.at(at);
            if here.length == node.length {
                return (at == hole) == (node.parent != RING);
            }
            if bit == 0 {
                return false;
            }
            bit -= 1;
            at = here.child[node.length.bit(bit) & 1];
        }
        false
    }
}

/// The number of holes in a subtree whose sizes still differ in the `bits` lowest bits.
fn count_below<U: Unit>(v: View<'_, U>, top: u32, bits: u32, limit: u64) -> Result<u64, Violation> {
    if top == NIL {
        return Ok(0);
    }
    let node = v.at(top);
    let (mut holes, mut ring) = (1, node.newer);
    while ring != top && holes <= limit {
        let alike = v.at(ring).length == node.length;
        Violation::unless(alike, "a ring holds one size", ring.into())?;
        holes += 1;
        ring = v.at(ring).newer;
    }
    if bits > 0 {
        for child in node.child {
            holes += count_below(v, child, bits - 1, limit)?;
        }
    }
    Ok(holes)
}

/// The smallest size of at least `length` in the trie of `length`'s own class.
///
/// Along the path that `length`'s bits lead, each right turn not taken holds only larger sizes; the deepest such
/// subtree holds the smallest of them.
#[inline]
fn at_least_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::MAX, NIL);
    let (mut at, mut bit) = (root, bits);
    while at != NIL {
        step();
        let node = v.at(at);
        // The planted fault: a hole that fits exactly is taken for too small.
        let fits = if cfg!(hectare_plant = "best_off_by_one") {
            node.length > length
        } else {
            node.length >= length
        };
        if fits && node.length <= best_length {
            best = at;
            best_length = node.length;
            if best_length == length {
                return best;
            }
        }
        if bit == 0 {
            break;
        }
        bit -= 1;
        let next = node.child[length.bit(bit) & 1];
        if node.child[1] != NIL && node.child[1] != next {
            aside = node.child[1];
        }
        at = next;
    }
    let other = extreme(v, aside, 0);
    if other != NIL && v.at(other).length <= best_length { other } else { best }
}

/// The largest size of at most `length` in the trie of `length`'s own class: the mirror image.
fn at_most_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::ZERO, NIL);
    let (mut at, mut bit) = (root, bits);
    while at != NIL {
        step();
        let node = v.at(at);
        if node.length <= length && node.length >= best_length {
            best = at;
            best_length = node.length;
        }
        if bit == 0 {
            break;
        }
        bit -= 1;
        let next = node.child[length.bit(bit) & 1];
        if node.child[0] != NIL && node.child[0] != next {
            aside = node.child[0];
        }
        at = next;
    }
    let other = extreme(v, aside, 1);
    if other != NIL && v.at(other).length >= best_length { other } else { best }
}

/// The smallest (`side` 0) or largest (1) size in a subtree: along one flank, as inner nodes are sizes too.
#[inline]
fn extreme<U: Unit>(v: View<'_, U>, top: u32, side: usize) -> u32 {
    let (mut best, mut best_length, mut at) = (top, v.at(top).length, top);
    while at != NIL {
        step();
        let node = v.at(at);
        if if side == 0 { node.length < best_length } else { node.length > best_length } {
            best = at;
            best_length = node.length;
        }
        let near = node.child[side & 1];
        at = if near == NIL { node.child[(side & 1) ^ 1] } else { near };
    }
    best
}
