//! What is in a class: how its holes are marked, and the walks through its trie.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::super::classes::Class;
use super::super::step;
use crate::range::{NIL, Node, Nodes, Unit, View};

/// The second link of holes that are in a list and in no trie, behind another one of their size or at the head of a
/// class that has one size, tells the class, from here down.
const LISTED: u32 = NIL - 1;

/// Links below this lead to a node.
const NODES: u32 = NIL - 0x1000;

/// The second link of a hole in a list.
#[inline]
pub(super) fn listed(class: Class) -> u32 {
    LISTED - class.index()
}

/// The class of a hole in a list, by its second link; none if it is in a trie.
#[inline]
pub(super) fn class_listed(link: u32) -> Option<Class> {
    if (NODES..NIL).contains(&link) { Class::numbered(LISTED - link) } else { None }
}

/// Whether the head of a class leads to no other size.
#[inline]
pub(super) fn is_single<U: Unit>(head: &Node<U>) -> bool {
    (head.link[0] == NIL) & (head.link[1] >= NODES)
}

/// Cuts some leaf off below `top`, which is none itself, and gives it the links of `top`.
#[inline(never)]
pub(super) fn cut_leaf<U: Unit>(t: &mut Nodes<'_, U>, top: u32) -> u32 {
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
pub(super) fn count_list<U: Unit>(v: View<'_, U>, head: u32, limit: u64) -> Result<u64, Violation> {
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
pub(super) fn count_below<U: Unit>(
    v: View<'_, U>,
    top: u32,
    bits: u32,
    limit: u64,
) -> Result<u64, Violation> {
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
pub(super) fn at_least_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::MAX, NIL);
    let (mut at, mut bit) = (root, bits);
    while at < NODES {
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
        if node.link[1] < NODES && node.link[1] != next {
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
pub(super) fn at_most_in<U: Unit>(v: View<'_, U>, root: u32, length: U, bits: u32) -> u32 {
    let (mut best, mut best_length, mut aside) = (NIL, U::ZERO, NIL);
    let (mut at, mut bit) = (root, bits);
    while at < NODES {
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
pub(super) fn extreme<U: Unit>(v: View<'_, U>, top: u32, side: usize) -> u32 {
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
        at = if near < NODES { near } else { node.link[(side & 1) ^ 1] };
        if at >= NODES {
            return best;
        }
    }
}
