//! All holes by exact size: a bitwise trie for each class of sizes.
//!
//! ```text
//!  classes   0…010110 ─► links: so many that most lead to holes of one size or to none
//!
//!  class that has one size, as         (hole)─►(older)─►(older)          a list, latest first
//!  those below 2048 always do
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
use super::{Found, step};
use crate::range::{NIL, Node, Nodes, Tables, Unit, View};

mod trie;

use trie::{
    at_least_in, at_most_in, class_listed, count_below, count_list, cut_leaf, extreme, is_single, listed,
};

/// See the [module](self).
///
/// Invariants:
/// * every hole is in exactly one list, that of its size, latest first, and the head of each list is in the trie of its
///   class, or, if it is [listed](listed) itself, is the class's link;
/// * below child `b` of a node at depth `d` of a class that leaves `k` bits open, bit `k − 1 − d` of every size is `b`.
#[derive(Clone, Debug)]
pub(super) struct SizeIndex<U: Unit> {
    classes: Classes<U>,
    /// What a link that leads nowhere is taken to lead to, where chance will have it whether it does: to read or change
    /// nobody costs less than a branch that cannot be predicted.
    nobody: Node<U>,
}

impl<U: Unit> Default for SizeIndex<U> {
    fn default() -> Self {
        Self { classes: Classes::default(), nobody: Node::NEW }
    }
}

/// The node with this index, or nobody. Without a branch.
#[inline(always)]
fn any<'a, U: Unit>(nobody: &'a mut Node<U>, t: &'a mut Tables<'_, U>, index: u32) -> &'a mut Node<U> {
    t.nodes.get_mut(index as usize).unwrap_or(nobody)
}

/// A link from above to a node of a trie: from its class, or from a side of another node.
#[derive(Clone, Copy)]
enum Above {
    Class,
    Node(u32, usize),
}

impl<U: Unit> SizeIndex<U> {
    /// Adds a hole as the latest of its size.
    #[inline(always)]
    pub(super) fn insert(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        let length = t.at(hole).length;
        self.insert_into(t, hole, length, Class::of(length));
    }

    #[inline(always)]
    fn insert_into(&mut self, t: &mut Tables<'_, U>, hole: u32, length: U, class: Class) {
        step();
        let link = self.classes.head_mut(class);
        let head = *link;
        // Nobody is of this size too: whether there is a head could not be predicted, and it hardly ever is of another size.
        self.nobody.length = length;
        self.nobody.link[1] = listed(class);
        let first = any(&mut self.nobody, t, head);
        if (first.length != length) | (first.link[1] != listed(class)) {
            return self.insert_below(t.nodes(), hole, class, head);
        }
        first.link[0] = hole;
        *link = hole;
        t.edit(hole, |n| {
            n.older = head;
            n.link = [NIL, listed(class)];
        });
        self.classes.occupy(class);
    }

    /// Adds a hole to a class that has another size, or several.
    #[inline(never)]
    fn insert_below(&mut self, mut t: Nodes<'_, U>, hole: u32, class: Class, root: u32) {
        let length = t.at(hole).length;
        if t.at(root).link[1] == listed(class) {
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
                t.edit(at, |n| n.link = [hole, listed(class)]);
                return self.set_below(&mut t, class, above, hole);
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
                return self.set_below(&mut t, class, above, hole);
            }
        }
    }

    #[inline]
    fn set_below(&mut self, t: &mut Nodes<'_, U>, class: Class, above: Above, new: u32) {
        match above {
            Above::Class => self.classes.change_head(class, new),
            Above::Node(node, side) => t.edit(node, |n| n.link[side & 1] = new),
        }
    }

    /// Takes a hole out.
    #[inline(always)]
    pub(super) fn remove(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        step();
        let node = t.at(hole);
        let (older, newer) = (node.older, node.link[0]);
        let Some(class) = class_listed(node.link[1]) else {
            return self.remove_from_trie(t.nodes(), hole);
        };
        any(&mut self.nobody, t, older).link[0] = newer;
        self.unlink(t, class, newer, older);
    }

    /// Makes `older` what comes after `newer` in a list, or the head of the class if that is [`NIL`]. Without a branch.
    #[inline(always)]
    fn unlink(&mut self, t: &mut Tables<'_, U>, class: Class, newer: u32, older: u32) {
        let head = self.classes.head_mut(class);
        let link = match t.nodes.get_mut(newer as usize) {
            Some(node) => &mut node.older,
            None => head,
        };
        *link = older;
        self.classes.vacate_if(class, (newer == NIL) & (older == NIL));
    }

    /// Takes the latest hole of its size out of a trie.
    #[inline(never)]
    fn remove_from_trie(&mut self, mut t: Nodes<'_, U>, hole: u32) {
        let node = t.at(hole);
        let (older, link, class) = (node.older, node.link, Class::of(node.length));
        let new = if older != NIL {
            t.edit(older, |n| n.link = link);
            older
        } else if link == [NIL; 2] {
            NIL
        } else {
            cut_leaf(&mut t, hole)
        };
        if self.classes.head(class) == hole {
            return self.classes.change_head(class, new);
        }
        self.replace(t, hole, class, new);
    }

    /// Puts `new` (or nothing) below what leads to `hole` in the trie of its class.
    #[inline(never)]
    fn replace(&mut self, mut t: Nodes<'_, U>, hole: u32, class: Class, new: u32) {
        let above = self.above(&t, hole, class);
        self.set_below(&mut t, class, above, new);
    }

    /// What leads to a hole in the trie of its class.
    fn above(&self, v: &Nodes<'_, U>, hole: u32, class: Class) -> Above {
        let length = v.at(hole).length;
        let (mut bit, mut at, mut above) = (class.shift(), self.classes.head(class), Above::Class);
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
    #[inline(never)]
    pub(super) fn resize(&mut self, t: Nodes<'_, U>, hole: u32, start: U, length: U) {
        step();
        let mut t = t.tables();
        let (before, after) = (Class::of(t.at(hole).length), Class::of(length));
        // The only hole of its class, as the large rest of a space usually is, stays where it is.
        let stays = before == after && self.is_alone(t.at(hole), hole, before);
        if !stays {
            self.remove(&mut t, hole);
        }
        t.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        if !stays {
            self.insert_into(&mut t, hole, length, after);
        }
    }

    /// As [`remove`](Self::remove), for what [`at_least`](Self::at_least) just returned.
    #[inline(always)]
    pub(super) fn remove_found(&mut self, t: &mut Tables<'_, U>, found: Found<U>) {
        match Class::numbered(found.class) {
            Some(class) => self.remove_head(t, found.hole, class),
            None => self.remove(t, found.hole),
        }
    }

    /// As [`resize`](Self::resize), for what [`at_least`](Self::at_least) just returned.
    #[inline(always)]
    pub(super) fn resize_found(&mut self, t: &mut Tables<'_, U>, found: Found<U>, start: U, length: U) {
        let Some(class) = Class::numbered(found.class) else {
            return self.resize(t.nodes(), found.hole, start, length);
        };
        let after = Class::of(length);
        if after != class {
            self.remove_head(t, found.hole, class);
            t.edit(found.hole, |node| {
                node.start = start;
                node.length = length;
            });
            return self.insert_into(t, found.hole, length, after);
        }
        self.resize(t.nodes(), found.hole, start, length);
    }

    /// Takes the latest hole out of a class that has one size.
    #[inline(always)]
    fn remove_head(&mut self, t: &mut Tables<'_, U>, hole: u32, class: Class) {
        step();
        let older = t.at(hole).older;
        any(&mut self.nobody, t, older).link = [NIL, listed(class)];
        self.classes.change_head(class, older);
    }

    fn is_alone(&self, node: &Node<U>, hole: u32, class: Class) -> bool {
        node.older == NIL && is_single(node) && self.classes.head(class) == hole
    }

    /// The latest of the smallest holes of at least `length`.
    #[inline]
    pub(super) fn at_least(&self, v: View<'_, U>, length: U) -> Found<U> {
        let class = Class::of(length);
        let Some(mut found) = self.classes.from(class) else { return Found::new(NIL, length) };
        let mut head = self.classes.head(found);
        // Most classes have one size. The planted fault: a hole that fits exactly is taken for too small.
        let node = v.at(head);
        if is_single(node) & (node.length >= length) && !cfg!(hectare_plant = "best_off_by_one") {
            return Found { hole: head, length, class: found.index() };
        }
        if found == class {
            let fits = at_least_in(v, head, length, class.shift());
            if fits != NIL {
                return Found::new(fits, length);
            }
            let Some(above) = self.classes.above(class) else { return Found::new(NIL, length) };
            found = above;
            head = self.classes.head(found);
        }
        Found::new(extreme(v, head, 0), length)
    }

    /// The latest of the largest holes of at most `length`.
    pub(super) fn at_most(&self, v: View<'_, U>, length: U) -> u32 {
        let class = Class::of(length);
        let head = self.classes.head(class);
        let found = at_most_in(v, head, length, class.shift());
        if found != NIL {
            return found;
        }
        self.classes.below(class).map_or(NIL, |below| self.extreme_of(v, below, 1))
    }

    /// The latest of the largest holes.
    #[inline]
    pub(super) fn largest(&self, v: View<'_, U>) -> u32 {
        self.classes.highest().map_or(NIL, |class| self.extreme_of(v, class, 1))
    }

    #[inline]
    fn extreme_of(&self, v: View<'_, U>, class: Class, side: usize) -> u32 {
        extreme(v, self.classes.head(class), side)
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
        self.classes.check(|class, root| {
            let alike = root == NIL || Class::of(v.at(root).length) == class;
            Violation::unless(alike, "a trie holds the sizes of its class", class.number())?;
            let listed = root != NIL && v.at(root).link[1] == listed(class);
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
        let head = self.classes.head(class);
        let after = |newer| v.at(newer).older == hole && v.at(newer).length == node.length;
        if node.link[1] == listed(class) {
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
