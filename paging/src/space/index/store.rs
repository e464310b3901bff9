//! Where the nodes lie: an array of the caller's, or memory of a byte allocator.
#![deny(unsafe_code)]

mod heap;

use hectare_core::AllocError;

pub use self::heap::HeapNodes;
use super::node::{Body, Inner, Leaf, Node};

/// A row of nodes that can grow. A node stays what was written to it.
pub trait NodeStore {
    /// How many nodes there are; they are numbered from 0.
    fn capacity(&self) -> u32;

    /// Makes the row at least so long. By default refused.
    ///
    /// # Errors
    /// There is no memory for it. Nothing is changed.
    fn grow(&mut self, count: u32) -> Result<(), AllocError> {
        if count <= self.capacity() { Ok(()) } else { Err(AllocError::OutOfMemory) }
    }

    /// The node of a number below the capacity.
    fn node(&self, number: u32) -> &Node;

    /// The same to be written to.
    fn node_mut(&mut self, number: u32) -> &mut Node;
}

impl NodeStore for &mut [Node] {
    fn capacity(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    #[inline]
    fn node(&self, number: u32) -> &Node {
        &self[number as usize]
    }

    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        &mut self[number as usize]
    }
}

impl<const N: usize> NodeStore for [Node; N] {
    fn capacity(&self) -> u32 {
        u32::try_from(N).unwrap_or(u32::MAX)
    }

    #[inline]
    fn node(&self, number: u32) -> &Node {
        &self[number as usize]
    }

    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        &mut self[number as usize]
    }
}

/// A store and which of its nodes are free.
///
/// # Invariants
/// * nodes from `fresh` on were never used
/// * `free` begins a list of `spare` nodes below `fresh`
#[derive(Debug)]
pub(super) struct Nodes<N> {
    store: N,
    fresh: u32,
    free: u32,
    pub(super) spare: u32,
}

impl<N: NodeStore> Nodes<N> {
    pub(super) fn new(store: N) -> Self {
        Self { store, fresh: 0, free: u32::MAX, spare: 0 }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &Node {
        self.store.node(number)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Node {
        self.store.node_mut(number)
    }

    /// How many nodes are in the tree.
    pub(super) fn used(&self) -> u32 {
        self.fresh - self.spare
    }

    /// Makes sure that so many can be taken.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        let count = u32::try_from(count).map_err(|_| AllocError::TooLarge)?;
        let Some(more) = count.checked_sub(self.spare) else { return Ok(()) };
        self.store.grow(self.fresh.checked_add(more).ok_or(AllocError::TooLarge)?)
    }

    /// Takes one that was reserved.
    fn take(&mut self, body: Body) -> u32 {
        let number = self.free;
        if number == u32::MAX {
            self.fresh += 1;
            *self.get_mut(self.fresh - 1) = Node(body);
            return self.fresh - 1;
        }
        let node = self.get_mut(number);
        let next = if let Body::Free(next) = node.0 { next } else { u32::MAX };
        *node = Node(body);
        self.free = next;
        self.spare -= 1;
        number
    }

    pub(super) fn take_leaf(&mut self, leaf: Leaf) -> u32 {
        self.take(Body::Leaf(leaf))
    }

    pub(super) fn take_inner(&mut self, inner: Inner) -> u32 {
        self.take(Body::Inner(inner))
    }

    pub(super) fn give(&mut self, number: u32) {
        let next = self.free;
        *self.get_mut(number) = Node(Body::Free(next));
        self.free = number;
        self.spare += 1;
    }

    /// How many nodes the list of free ones has, at most one more than it should.
    pub(super) fn listed(&self) -> u32 {
        let (mut number, mut count) = (self.free, 0);
        while number < self.fresh && count <= self.spare {
            count += 1;
            number = if let Body::Free(next) = self.get(number).0 { next } else { break };
        }
        count
    }
}
