//! All holes by exact size: one bin for each size below 64, one bitwise trie for each octave above.
//!
//! ```text
//!  small   mask 0…010110 ─► bins[1] bins[2] bins[4] …      a list for each size, the latest first
//!  large   mask 0…000101 ─► roots[0]: 64…127   roots[2]: 256…511   …
//!
//!  trie of octave k, on the k bits below the leading one:
//!                  (any size of the octave)
//!               bit k-1 = 0 │ │ bit k-1 = 1               every node is a size; the sizes below a child share
//!                 ┌─────────┘ └─────────┐                 the bits that lead to it; equal sizes form a ring
//!              (size)                (size)◄─►(same)◄─►   whose oldest member sits in the trie
//! ```
//! A trie of sizes (Knuth, *The Art of Computer Programming*, vol. 3, section 6.3, there "digital tree search"; Doug
//! Lea's malloc uses such tries for its large bins) is never deeper than the bits it branches on: no rotations, no
//! balance, and every operation within a word's length of steps.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::step;
use crate::range::{NIL, Tables, Unit, View};

/// The parent of a ring's members that do not sit in the trie.
const RING: u32 = NIL - 1;
/// The parent of a root.
const ROOT: u32 = NIL;

/// See the [module](self).
///
/// Invariants:
/// * every hole is in exactly one list or ring: that of its size;
/// * a bit of `small` or `large` is set exactly if its list or trie is not empty;
/// * below child `b` of a node at depth `d` of octave `k`, bit `k − 1 − d` of every size is `b`;
/// * from each list's head and each ring's oldest, `older` (in a ring: cyclically) leads from later to earlier sizes.
#[derive(Clone, Debug)]
pub(super) struct SizeIndex<U: Unit> {
    small: u64,
    large: u64,
    bins: [u32; 64],
    roots: U::Octaves,
}

impl<U: Unit> Default for SizeIndex<U> {
    fn default() -> Self {
        Self { small: 0, large: 0, bins: [NIL; 64], roots: U::NO_OCTAVES }
    }
}

/// The member of a node's list or ring that got its size last.
#[inline]
fn newest<U: Unit>(view: View<'_, U>, node: u32) -> u32 {
    let found = view.at(node);
    if found.length.small().is_some() { node } else { found.older }
}

impl<U: Unit> SizeIndex<U> {
    #[inline]
    fn root(&self, octave: u32) -> u32 {
        self.roots.as_ref().get(octave.wrapping_sub(6) as usize).copied().unwrap_or(NIL)
    }

    #[inline]
    fn set_root(&mut self, octave: u32, root: u32) {
        let place = octave.wrapping_sub(6);
        if let Some(slot) = self.roots.as_mut().get_mut(place as usize) {
            *slot = root;
            let bit = 1_u64 << (place & 63);
            if root == NIL { self.large &= !bit } else { self.large |= bit }
        }
    }

    #[inline]
    fn set_bin(&mut self, size: u32, first: u32) {
        if let Some(bin) = self.bins.get_mut(size as usize) {
            *bin = first;
            let bit = 1_u64 << (size & 63);
            if first == NIL { self.small &= !bit } else { self.small |= bit }
        }
    }

    #[inline]
    fn bin(&self, size: u32) -> u32 {
        self.bins.get(size as usize).copied().unwrap_or(NIL)
    }

    /// Adds a hole as the latest of its size.
    #[inline]
    pub(super) fn insert(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        step();
        let length = t.at(hole).length;
        if let Some(size) = length.small() {
            let mut first = self.bin(size);
            t.push(&mut first, hole);
            self.set_bin(size, first);
        } else {
            self.insert_large(t, hole, length);
        }
    }

    fn insert_large(&mut self, t: &mut Tables<'_, U>, hole: u32, length: U) {
        t.edit(hole, |n| {
            n.child = [NIL; 2];
            n.older = hole;
            n.newer = hole;
        });
        let mut bit = length.log2();
        let mut at = self.root(bit);
        if at == NIL {
            t.edit(hole, |n| n.parent = ROOT);
            return self.set_root(bit, hole);
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
        if let Some(size) = length.small() {
            let mut first = self.bin(size);
            t.pull(&mut first, hole);
            return self.set_bin(size, first);
        }
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
            self.set_root(length.log2(), new);
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
        let octave = if let Some(size) = length.small() {
            let bins = self.small >> size << size;
            if bins != 0 {
                step();
                return self.bin(bins.trailing_zeros());
            }
            0
        } else {
            let octave = length.log2();
            let found = at_least_in(v, self.root(octave), length, octave);
            if found != NIL {
                return newest(v, found);
            }
            octave - 5
        };
        let above = self.large.checked_shr(octave).unwrap_or(0);
        if above == 0 {
            return NIL;
        }
        newest(v, extreme(v, self.root(octave + above.trailing_zeros() + 6), 0))
    }

    /// The latest of the largest holes of at most `length`.
    pub(super) fn at_most(&self, v: View<'_, U>, length: U) -> u32 {
        let small = if let Some(size) = length.small() {
            self.small & (u64::MAX >> (63 - size))
        } else {
            let octave = length.log2();
            let found = at_most_in(v, self.root(octave), length, octave);
            if found != NIL {
                return newest(v, found);
            }
            let below = self.large & ((1 << (octave - 6)) - 1);
            if below != 0 {
                return newest(v, extreme(v, self.root(6 + below.ilog2()), 1));
            }
            self.small
        };
        step();
        if small == 0 { NIL } else { self.bin(small.ilog2()) }
    }

    /// The latest of the largest holes.
    #[inline]
    pub(super) fn largest(&self, v: View<'_, U>) -> u32 {
        if self.large != 0 {
            newest(v, extreme(v, self.root(6 + self.large.ilog2()), 1))
        } else if self.small != 0 {
            self.bin(self.small.ilog2())
        } else {
            NIL
        }
    }

    /// The hole of the same size that got it just before this one; [`NIL`] if this is the oldest.
    #[inline]
    pub(super) fn older(v: View<'_, U>, hole: u32) -> u32 {
        step();
        let node = v.at(hole);
        if node.length.small().is_none() && node.parent != RING { NIL } else { node.older }
    }

    /// Checks the masks, and gives the number of holes.
    pub(super) fn check(&self, v: View<'_, U>) -> Result<u64, Violation> {
        let limit = v.nodes.len() as u64;
        let mut count = 0;
        for (size, &first) in self.bins.iter().enumerate() {
            let size = size as u64;
            let set = self.small >> size & 1 != 0;
            Violation::unless(set == (first != NIL), "a bit is set exactly if its list is not empty", size)?;
            let mut hole = first;
            while hole != NIL && count <= limit {
                let length: u64 = v.at(hole).length.into();
                Violation::unless(length == size, "a list holds one size", hole.into())?;
                count += 1;
                hole = v.at(hole).older;
            }
        }
        for (place, &root) in (0_u32..).zip(self.roots.as_ref()) {
            let set = self.large.checked_shr(place).unwrap_or(0) & 1 != 0;
            Violation::unless(
                set == (root != NIL),
                "a bit is set exactly if its trie is not empty",
                place.into(),
            )?;
            count += count_below(v, root, place + 6, limit)?;
        }
        Ok(count)
    }

    /// Whether a hole is reached by the path that its size leads along, or from the list of its size.
    pub(super) fn contains(&self, v: View<'_, U>, hole: u32) -> bool {
        let node = v.at(hole);
        if let Some(size) = node.length.small() {
            let newer = v.at(node.newer);
            return if node.newer == NIL { self.bin(size) == hole } else { newer.older == hole };
        }
        if v.at(node.older).newer != hole || v.at(node.newer).older != hole {
            return false;
        }
        let mut bit = node.length.log2();
        let mut at = self.root(bit);
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

/// The smallest size of at least `length` in the trie of `length`'s own octave.
///
/// Along the path that `length`'s bits lead, each right turn not taken holds only larger sizes; the deepest such
/// subtree holds the smallest of them.
#[inline]
fn at_least_in<U: Unit>(v: View<'_, U>, root: u32, length: U, octave: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::MAX, NIL);
    let (mut at, mut bit) = (root, octave);
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

/// The largest size of at most `length` in the trie of `length`'s own octave: the mirror image.
fn at_most_in<U: Unit>(v: View<'_, U>, root: u32, length: U, octave: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::ZERO, NIL);
    let (mut at, mut bit) = (root, octave);
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
