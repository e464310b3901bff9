//! The steps that every change of a space consists of: nodes come and go, holes are entered and taken out.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::{NIL, RangeAllocator, Storage, Tables, Unit};
use crate::policy::{Found, Index, Policy};

/// The nodes of a space: which are linked into it, which are spare.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The lowest node of the space, and the highest.
    pub(super) lowest: u32,
    pub(super) highest: u32,
    /// The next node to be used: nodes given back are linked through `next`, the last one to the first of those that
    /// were never used. Of them, each is followed by the one beside it, and `next` is [`NIL`].
    pub(super) spare: u32,
    /// Nodes in the space, and holes among them. (Of unlike widths, so that no compiler changes both at once and then waits
    /// for the halves.)
    pub(super) nodes: usize,
    pub(super) holes: u32,
}

impl Order {
    /// One node, number 0, which is no hole yet.
    pub(super) const ONE: Self = Self { lowest: 0, highest: 0, spare: 1, nodes: 1, holes: 0 };
}

/// Everything that one change needs, borrowed at once: the table's place is looked up only here.
pub(super) struct Work<'a, U: Unit, I> {
    pub(super) t: Tables<'a, U>,
    index: &'a mut I,
    order: &'a mut Order,
    unit: PhantomData<U>,
}

impl<P: Policy, U: Unit, S: Storage<U>> RangeAllocator<P, U, S> {
    #[inline]
    pub(super) fn work(&mut self) -> Work<'_, U, P::Index<U>> {
        let Self { index, order, storage, .. } = self;
        Work { t: storage.tables(), index, order, unit: PhantomData }
    }

    /// Whether so many nodes can be taken, after growth if need be.
    #[inline]
    pub(super) fn has_nodes(&mut self, count: u32) -> bool {
        let wanted = self.order.nodes + count as usize;
        wanted <= self.storage.view().nodes.len() || self.storage.grow(wanted, P::Index::<U>::chunks)
    }
}

impl<U: Unit, I: Index<U>> Work<'_, U, I> {
    /// A node that `has_nodes` promised.
    #[inline]
    fn take_node(&mut self) -> u32 {
        self.order.nodes += 1;
        let node = self.order.spare;
        let next = self.t.at(node).next;
        self.order.spare = if next == NIL { node + 1 } else { next };
        node
    }

    /// A new node above this one.
    #[inline]
    pub(super) fn node_above(&mut self, below: u32) -> u32 {
        let new = self.take_node();
        let above = self.t.at(below).next;
        self.attach(below, new, above);
        new
    }

    /// A new node below this one.
    #[inline]
    pub(super) fn node_below(&mut self, above: u32) -> u32 {
        let new = self.take_node();
        let below = self.t.at(above).prev;
        self.attach(below, new, above);
        new
    }

    /// Takes a node out of the space and gives it back.
    #[inline]
    pub(super) fn drop_node(&mut self, index: u32) {
        self.detach(index);
        let spare = self.order.spare;
        self.t.edit(index, |node| {
            node.next = spare;
            // Whoever remembers this node finds no hole here.
            node.length = U::ZERO;
        });
        self.order.spare = index;
        self.order.nodes -= 1;
    }

    /// Links a node into the order of addresses.
    #[inline]
    pub(super) fn attach(&mut self, below: u32, index: u32, above: u32) {
        if below == NIL {
            self.order.lowest = index;
        } else {
            self.t.edit(below, |n| n.next = index);
        }
        if above == NIL {
            self.order.highest = index;
        } else {
            self.t.edit(above, |n| n.prev = index);
        }
        self.t.edit(index, |n| {
            n.prev = below;
            n.next = above;
        });
    }

    /// Takes a node out of the order of addresses.
    #[inline]
    pub(super) fn detach(&mut self, index: u32) {
        let node = self.t.at(index);
        let (below, above) = (node.prev, node.next);
        if below == NIL {
            self.order.lowest = above;
        } else {
            self.t.edit(below, |n| n.next = above);
        }
        if above == NIL {
            self.order.highest = below;
        } else {
            self.t.edit(above, |n| n.prev = below);
        }
    }

    /// Enters a node as a new hole.
    #[inline]
    pub(super) fn add_hole(&mut self, hole: u32, start: U, length: U) {
        self.order.holes += 1;
        self.t.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        self.index.insert(&mut self.t, hole);
    }

    /// Takes a hole out of the index.
    #[inline]
    pub(super) fn drop_hole(&mut self, hole: u32) {
        self.order.holes -= 1;
        self.index.remove(&mut self.t, hole);
    }

    /// Makes a node that is in no index a hole, and the holes beside it part of it.
    #[inline(always)]
    pub(super) fn absorb(&mut self, index: u32) {
        let node = self.t.at(index);
        let (mut start, mut length, mut prev, mut next) = (node.start, node.length, node.prev, node.next);
        let below = self.t.at(prev);
        if prev != NIL && below.is_hole() {
            let gone = prev;
            (start, length, prev) = (below.start, length + below.length, below.prev);
            self.absorb_one(gone);
        }
        let above = self.t.at(next);
        // The planted fault: the hole above is not joined.
        if next != NIL && above.is_hole() && !cfg!(hectare_plant = "no_coalesce") {
            let gone = next;
            (length, next) = (length + above.length, above.next);
            self.absorb_one(gone);
        }
        self.attach(prev, index, next);
        self.order.holes += 1;
        self.t.edit(index, |node| {
            node.start = start;
            node.length = length;
        });
        self.index.insert(&mut self.t, index);
    }

    #[inline(always)]
    fn absorb_one(&mut self, hole: u32) {
        self.index.remove(&mut self.t, hole);
        let spare = self.order.spare;
        self.t.edit(hole, |node| {
            node.next = spare;
            // Whoever remembers this node finds no hole here.
            node.length = U::ZERO;
        });
        self.order.spare = hole;
        self.order.nodes -= 1;
        self.order.holes -= 1;
    }

    /// Takes a hole that was just found out of the index.
    #[inline]
    pub(super) fn drop_found(&mut self, found: Found<U>) {
        self.order.holes -= 1;
        self.index.remove_found(&mut self.t, found);
    }

    /// Gives a hole that was just found another start and length.
    #[inline]
    pub(super) fn set_found(&mut self, found: Found<U>, start: U, length: U) {
        self.index.resize_found(&mut self.t, found, start, length);
    }

    /// Gives a hole another start and length.
    #[inline]
    pub(super) fn set_hole(&mut self, hole: u32, start: U, length: U) {
        self.index.resize(&mut self.t, hole, start, length);
    }
}
