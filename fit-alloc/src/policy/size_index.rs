//! All holes by exact size: a bitwise trie for each class of sizes.
//!
//! ```text
//!  classes   0…010110 ─► links: so many that most lead to holes of one size or to none
//!
//!  class that has one size, as         (hole)─►(older)─►(older)          a list, latest first
//!  those below 1024 always do
//!
//!  trie of a class that leaves k bits open and has, or had, several sizes:
//!                  (any size of the class)
//!               bit k-1 = 0 │ │ bit k-1 = 1               every node is a size; the sizes below a child share
//!                 ┌─────────┘ └─────────┐                 the bits that lead to it; the latest hole of a size
//!              (size)                (size)─►(older)      sits in the trie, the others in a list behind it
//! ```
//! A trie of sizes (Knuth, *The Art of Computer Programming*, vol. 3, section 6.3, there "digital tree search"; Doug
//! Lea's malloc uses such tries for its large bins) is never deeper than the bits it branches on: no rotations, no
//! balance, no links upwards, and every operation within a word's length of steps.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::classes::{Class, Classes};
use super::step;
use crate::range::{NIL, Node, Tables, Unit, View};

/// The second link of holes that are in a list and in no trie: behind another one of their size, or at the head of a
/// class that has one size.
const LISTED: u32 = NIL - 1;

/// See the [module](self).
///
/// Invariants:
/// * every hole is in exactly one list, that of its size, latest first, and the head of each list is in the trie of its
///   class, or, if it is [`LISTED`] itself, is the class's link;
/// * below child `b` of a node at depth `d` of a class that leaves `k` bits open, bit `k − 1 − d` of every size is `b`.
#[derive(Clone, Debug)]
pub(super) struct SizeIndex<U: Unit>(Classes<U>);

impl<U: Unit> Default for SizeIndex<U> {
    fn default() -> Self {
        Self(Classes::default())
    }
}

/// A link from above to a node of a trie: from its class, or from a side of another node.
#[derive(Clone, Copy)]
enum Above {
    Class,
    Node(u32, usize),
}

impl<U: Unit> SizeIndex<U> {
    /// Adds a hole as the latest of its size.
    #[inline]
    pub(super) fn insert(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        self.insert_into(t, hole, Class::of(t.at(hole).length));
    }

    #[inline(always)]
    fn insert_into(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class) {
        step();
        let head = self.0.head(class);
        // One branch, as either half by itself could not be predicted.
        if (head != NIL) & !class.is_exact() {
            return self.insert_below(t, hole, class, head);
        }
        self.push(t, hole, class, head);
    }

    /// Adds a hole before those of its size, which are all of its class.
    #[inline(always)]
    fn push(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class, head: u32) {
        t.edit(hole, |n| {
            n.older = head;
            n.link = [NIL, LISTED];
        });
        t.edit_any(head, |n| n.link[0] = hole);
        self.0.set_head(class, hole);
    }

    /// Adds a hole to a class that is not empty and may have several sizes.
    #[inline(never)]
    fn insert_below(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class, root: u32) {
        let length = t.at(hole).length;
        let first = t.at(root);
        if first.link[1] == LISTED {
            if first.length == length {
                return self.push(t, hole, class, root);
            }
            // A second size: from now on a trie.
            t.edit(root, |n| n.link = [NIL; 2]);
        }
        let (mut bit, mut at, mut above) = (class.shift(), root, Above::Class);
        loop {
            step();
            let node = t.at(at);
            let link = node.link;
            if node.length == length {
                // The latest takes the place of its elders.
                t.edit(hole, |n| {
                    n.older = at;
                    n.link = link;
                });
                t.edit(at, |n| n.link = [hole, LISTED]);
                return self.set_below(t, class, above, hole);
            }
            bit = bit.saturating_sub(1);
            let side = length.bit(bit) & 1;
            above = Above::Node(at, side);
            at = link[side];
            if at == NIL {
                t.edit(hole, |n| {
                    n.older = NIL;
                    n.link = [NIL; 2];
                });
                return self.set_below(t, class, above, hole);
            }
        }
    }

    #[inline]
    fn set_below(&mut self, t: &mut Tables<'_, U>, class: Class, above: Above, new: u32) {
        match above {
            Above::Class => self.0.change_head(class, new),
            Above::Node(node, side) => t.edit(node, |n| n.link[side & 1] = new),
        }
    }

    /// Takes a hole out.
    #[inline]
    pub(super) fn remove(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        self.remove_from(t, hole, Class::of(t.at(hole).length));
    }

    #[inline(always)]
    fn remove_from(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class) {
        step();
        let node = t.at(hole);
        let (older, link) = (node.older, node.link);
        if link[1] != LISTED {
            return self.remove_from_trie(t, hole, class);
        }
        t.edit_any(older, |n| n.link[0] = link[0]);
        if link[0] == NIL {
            self.0.change_head(class, older);
        } else {
            t.edit(link[0], |n| n.older = older);
        }
    }

    /// Takes the latest hole of its size out of a trie.
    #[inline(never)]
    fn remove_from_trie(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class) {
        let node = t.at(hole);
        let (older, link) = (node.older, node.link);
        let new = if older != NIL {
            t.edit(older, |n| n.link = link);
            older
        } else if link == [NIL; 2] {
            NIL
        } else {
            cut_leaf(t, hole)
        };
        if self.0.head(class) == hole {
            return self.0.change_head(class, new);
        }
        self.replace(t, hole, class, new);
    }

    /// Puts `new` (or nothing) below what leads to `hole` in the trie of its class.
    #[inline(never)]
    fn replace(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class, new: u32) {
        let above = self.above(t.view(), hole, class);
        self.set_below(t, class, above, new);
    }

    /// What leads to a hole in the trie of its class.
    fn above(&self, v: View<'_, U>, hole: u32, class: Class) -> Above {
        let length = v.at(hole).length;
        let (mut bit, mut at, mut above) = (class.shift(), self.0.head(class), Above::Class);
        while at != hole && at != NIL {
            step();
            bit = bit.saturating_sub(1);
            let side = length.bit(bit) & 1;
            above = Above::Node(at, side);
            at = v.at(at).link[side];
        }
        above
    }

    /// Gives a hole another start and size.
    #[inline]
    pub(super) fn resize(&mut self, t: &mut Tables<'_, U>, hole: u32, start: U, length: U) {
        step();
        let (before, after) = (Class::of(t.at(hole).length), Class::of(length));
        // The only hole of its class, as the large rest of a space usually is, stays where it is.
        let stays = before == after && self.is_alone(t.at(hole), hole, before);
        if !stays {
            self.remove_from(t, hole, before);
        }
        t.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        if !stays {
            self.insert_into(t, hole, after);
        }
    }

    fn is_alone(&self, node: &Node<U>, hole: u32, class: Class) -> bool {
        node.older == NIL && is_single(node) && self.0.head(class) == hole
    }

    /// The latest of the smallest holes of at least `length`.
    #[inline]
    pub(super) fn at_least(&self, v: View<'_, U>, length: U) -> u32 {
        let class = Class::of(length);
        let Some(mut found) = self.0.from(class) else { return NIL };
        let mut head = self.0.head(found);
        // Most classes have one size. The planted fault: a hole that fits exactly is taken for too small.
        let node = v.at(head);
        if is_single(node) & (node.length >= length) && !cfg!(hectare_plant = "best_off_by_one") {
            return head;
        }
        if found == class {
            let fits = at_least_in(v, head, length, class.shift());
            if fits != NIL {
                return fits;
            }
            let Some(above) = self.0.above(class) else { return NIL };
            found = above;
            head = self.0.head(found);
        }
        extreme(v, head, 0)
    }

    /// The latest of the largest holes of at most `length`.
    pub(super) fn at_most(&self, v: View<'_, U>, length: U) -> u32 {
        let class = Class::of(length);
        let head = self.0.head(class);
        let found = at_most_in(v, head, length, class.shift());
        if found != NIL {
            return found;
        }
        self.0.below(class).map_or(NIL, |below| self.extreme_of(v, below, 1))
    }

    /// The latest of the largest holes.
    #[inline]
    pub(super) fn largest(&self, v: View<'_, U>) -> u32 {
        self.0.highest().map_or(NIL, |class| self.extreme_of(v, class, 1))
    }

    #[inline]
    fn extreme_of(&self, v: View<'_, U>, class: Class, side: usize) -> u32 {
        extreme(v, self.0.head(class), side)
    }

    /// The hole of the same size that got it just before this one; [`NIL`] if this is the oldest.
    #[inline]
    pub(super) fn older(v: View<'_, U>, hole: u32) -> u32 {
        step();
        v.at(hole).older
    }

    /// Checks the masks, and gives the number of holes.
    pub(super) fn check(&self, v: View<'_, U>) -> Result<u64, Violation> {
        let limit = v.nodes.len() as u64;
        self.0.check(|class, root| {
            let alike = root == NIL || Class::of(v.at(root).length) == class;
            Violation::unless(alike, "a trie holds the sizes of its class", class.number())?;
            let listed = root != NIL && v.at(root).link[1] == LISTED;
            Violation::unless(
                listed || root == NIL || !class.is_exact(),
                "an exact class is a list",
                class.number(),
            )?;
            if listed {
                return count_list(v, root, limit);
            }
            count_below(v, root, class.shift(), limit)
        })
    }

    /// Whether a hole is reached by the path that its size leads along.
    pub(super) fn contains(&self, v: View<'_, U>, hole: u32) -> bool {
        let node = v.at(hole);
        let class = Class::of(node.length);
        let head = self.0.head(class);
        let after = |newer| v.at(newer).older == hole && v.at(newer).length == node.length;
        if node.link[1] == LISTED {
            return if node.newer() == NIL { head == hole } else { after(node.newer()) };
        }
        let (mut bit, mut at) = (class.shift(), head);
        while at != NIL && at != hole {
            if bit == 0 {
                return false;
            }
            bit -= 1;
            at = v.at(at).link[node.length.bit(bit) & 1];
        }
        at == hole
    }
}

/// Whether the head of a class leads to no other size.
#[inline]
fn is_single<U: Unit>(head: &Node<U>) -> bool {
    (head.link[0] == NIL) & (head.link[1] >= LISTED)
}

/// Cuts some leaf off below `top`, which is none itself, and gives it the links of `top`.
#[inline(never)]
fn cut_leaf<U: Unit>(t: &mut Tables<'_, U>, top: u32) -> u32 {
    let (mut leaf, mut above, mut from) = (top, top, 0);
    loop {
        step();
        let link = t.at(leaf).link;
        let side = usize::from(link[1] != NIL);
        if link[side] == NIL {
            break;
        }
        (above, from, leaf) = (leaf, side, link[side]);
    }
    t.edit(above, |n| n.link[from & 1] = NIL);
    let link = t.at(top).link;
    t.edit(leaf, |n| n.link = link);
    leaf
}

/// The number of holes of one size.
fn count_list<U: Unit>(v: View<'_, U>, head: u32, limit: u64) -> Result<u64, Violation> {
    let (mut holes, mut hole) = (0, head);
    while hole != NIL && holes <= limit {
        let alike = v.at(hole).length == v.at(head).length;
        Violation::unless(alike, "a list holds one size", hole.into())?;
        holes += 1;
        hole = v.at(hole).older;
    }
    Ok(holes)
}

/// The number of holes in a subtree whose sizes still differ in the `bits` lowest bits.
fn count_below<U: Unit>(v: View<'_, U>, top: u32, bits: u32, limit: u64) -> Result<u64, Violation> {
    if top == NIL {
        return Ok(0);
    }
    let mut holes = count_list(v, top, limit)?;
    if bits > 0 {
        for child in v.at(top).link {
            holes += count_below(v, child, bits - 1, limit)?;
        }
    }
    Ok(holes)
}

/// The smallest size of at least `length` in the trie of `length`'s own class.
///
/// Along the path that `length`'s bits lead, each right turn not taken holds only larger sizes; the deepest such
/// subtree holds the smallest of them.
#[inline(never)]
fn at_least_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::MAX, NIL);
    let (mut at, mut bit) = (root, bits);
    while at < LISTED {
        step();
        let node = v.at(at);
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
        let next = node.link[length.bit(bit) & 1];
        if node.link[1] < LISTED && node.link[1] != next {
            aside = node.link[1];
        }
        at = next;
    }
    if aside == NIL {
        return best;
    }
    let other = extreme(v, aside, 0);
    if v.at(other).length <= best_length { other } else { best }
}

/// The largest size of at most `length` in the trie of `length`'s own class: the mirror image.
fn at_most_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::ZERO, NIL);
    let (mut at, mut bit) = (root, bits);
    while at < LISTED {
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
        let next = node.link[length.bit(bit) & 1];
        if node.link[0] != NIL && node.link[0] != next {
            aside = node.link[0];
        }
        at = next;
    }
    if aside == NIL {
        return best;
    }
    let other = extreme(v, aside, 1);
    if v.at(other).length >= best_length { other } else { best }
}

/// The smallest (`side` 0) or largest (1) size in a subtree that is not empty: along one flank, as inner nodes are
/// sizes too.
#[inline(never)]
fn extreme<U: Unit>(v: View<'_, U>, top: u32, side: usize) -> u32 {
    let (mut best, mut at) = (top, top);
    let mut best_length = v.at(top).length;
    loop {
        step();
        let node = v.at(at);
        let better = if side == 0 { node.length < best_length } else { node.length > best_length };
        if better {
            best = at;
            best_length = node.length;
        }
        let near = node.link[side & 1];
        at = if near < LISTED { near } else { node.link[(side & 1) ^ 1] };
        if at >= LISTED {
            return best;
        }
    }
}
