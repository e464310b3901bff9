//! The table of blocks and holes, and the links in it.
#![forbid(unsafe_code)]

use super::Unit;
use super::unit::Sealed;

/// No node.
pub(crate) const NIL: u32 = u32::MAX;

/// The greatest number of nodes: some numbers stand for something else in a link.
pub(crate) const MOST_NODES: usize = (NIL - 0x1000) as usize;

/// The bit of a stamp that marks a block as pinned. The others count the node's uses; odd is allocated.
const PINNED: u32 = 1 << 31;

/// One entry of an allocator's table: a block or a hole. An array of these is all the memory that it needs.
///
/// ```text
///  space     [  block  |  hole  |block|block|   hole   )
///              ▲    next ► ◄ prev                      every unit in exactly one node, in order
///              │
///  stamp     pinned:1 · uses:30 · allocated:1          a handle is (index, uses·allocated): stale ones differ
///
///             older          link[0]     link[1]
///  a block    its bucket's chain         unasked       the policies use what is left of a hole's entry:
///  listed     before it      after it    LISTED        a list of holes that are alike, latest first
///  in a trie  its own list   child       child         the latest of its size, see `policy::size_index`
///  in a tree                 chunk                     see `policy::tree`
/// ```
/// With `u32` units an entry is half a cache line, and never lies across two.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Node<U: Sealed> {
    alone: [U::Half; 0],
    pub(crate) start: U,
    pub(crate) length: U,
    /// The node below in the space.
    pub(crate) prev: u32,
    /// The node above in the space; for a spare node the next spare one.
    pub(crate) next: u32,
    pub(crate) stamp: u32,
    pub(crate) older: u32,
    pub(crate) link: [u32; 2],
}

impl<U: Unit> Node<U> {
    /// An entry that is not yet used: what a fixed table is filled with.
    pub const NEW: Self = Self {
        alone: [],
        start: U::ZERO,
        length: U::ZERO,
        prev: NIL,
        next: NIL,
        stamp: 0,
        older: NIL,
        link: [NIL; 2],
    };

    /// The node after this one in a list.
    #[inline]
    pub(crate) fn newer(&self) -> u32 {
        self.link[0]
    }

    #[inline]
    pub(crate) fn end(&self) -> U {
        self.start + self.length
    }

    #[inline]
    pub(crate) fn is_hole(&self) -> bool {
        self.stamp & 1 == 0
    }

    #[inline]
    pub(crate) fn is_pinned(&self) -> bool {
        self.stamp & PINNED != 0
    }

    /// The stamp that a handle carries.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.stamp & !PINNED
    }

    /// Turns a hole into a block and back; every handle from before is stale.
    #[inline]
    pub(crate) fn flip(&mut self, pinned: bool) {
        // The planted fault: the use counter stands still, only the allocated bit changes.
        let next =
            if cfg!(hectare_plant = "generation") { self.stamp ^ 1 } else { self.stamp.wrapping_add(1) };
        self.stamp = (next & !PINNED) | if pinned { PINNED } else { 0 };
    }

    #[inline]
    pub(crate) fn set_pinned(&mut self, pinned: bool) {
        self.stamp = (self.stamp & !PINNED) | if pinned { PINNED } else { 0 };
    }
}

impl<U: Unit> Default for Node<U> {
    fn default() -> Self {
        Self::NEW
    }
}

/// Makes the compiler branch where it would select, which is faster as the branch is hardly ever taken.
#[cold]
#[inline(never)]
pub(crate) fn nowhere<T>(value: T) -> T {
    core::hint::black_box(value)
}

/// A table to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, U: Unit> {
    pub(crate) nodes: &'a [Node<U>],
    pub(crate) chunks: &'a [crate::policy::Chunk<U>],
    pub(crate) buckets: &'a [u32],
}

impl<'a, U: Unit> View<'a, U> {
    /// The node with this index; an empty one for [`NIL`].
    #[inline]
    pub(crate) fn at(self, index: u32) -> &'a Node<U> {
        match self.nodes.get(index as usize) {
            Some(node) => node,
            None => nowhere(U::NODE),
        }
    }
}

/// The nodes of a table to change, for functions that are called: what is passed to them as a whole lies in memory, and
/// what does not is kept in registers.
pub(crate) struct Nodes<'a, U: Unit>(&'a mut [Node<U>]);

impl<'a, U: Unit> Nodes<'a, U> {
    /// Tables without anything but the nodes.
    #[inline(always)]
    pub(crate) fn tables(self) -> Tables<'a, U> {
        Tables { nodes: self.0, chunks: &mut [], buckets: &mut [], nobody: Node::NEW }
    }

    /// The node with this index; an empty one for [`NIL`].
    #[inline]
    pub(crate) fn at(&self, index: u32) -> &Node<U> {
        match self.0.get(index as usize) {
            Some(node) => node,
            None => nowhere(U::NODE),
        }
    }

    /// Changes the node with this index; nothing for [`NIL`].
    #[inline]
    pub(crate) fn edit(&mut self, index: u32, change: impl FnOnce(&mut Node<U>)) {
        if let Some(node) = self.0.get_mut(index as usize) {
            change(node);
        }
    }
}

/// A table to change.
#[derive(Debug)]
pub struct Tables<'a, U: Unit> {
    pub(crate) nodes: &'a mut [Node<U>],
    pub(crate) chunks: &'a mut [crate::policy::Chunk<U>],
    pub(crate) buckets: &'a mut [u32],
    /// See [`edit_any`](Self::edit_any).
    pub(crate) nobody: Node<U>,
}

impl<U: Unit> Tables<'_, U> {
    #[inline]
    pub(crate) fn view(&self) -> View<'_, U> {
        View { nodes: self.nodes, chunks: self.chunks, buckets: self.buckets }
    }

    /// The nodes alone.
    #[inline(always)]
    pub(crate) fn nodes(&mut self) -> Nodes<'_, U> {
        Nodes(self.nodes)
    }

    /// The node with this index; an empty one for [`NIL`].
    #[inline]
    pub(crate) fn at(&self, index: u32) -> &Node<U> {
        self.view().at(index)
    }

    /// Changes the node with this index; nothing for [`NIL`].
    #[inline]
    pub(crate) fn edit(&mut self, index: u32, change: impl FnOnce(&mut Node<U>)) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            change(node);
        }
    }

    /// The same for a link that leads to a node or nowhere as chance will have it: what happens to nobody is cheaper than
    /// a branch that cannot be predicted.
    #[inline]
    pub(crate) fn edit_any(&mut self, index: u32, change: impl FnOnce(&mut Node<U>)) {
        change(self.nodes.get_mut(index as usize).unwrap_or(&mut self.nobody));
    }

    /// Puts a node before the head of a list of nodes that are alike.
    #[inline]
    pub(crate) fn push(&mut self, head: u32, index: u32) {
        self.edit_any(head, |n| n.link[0] = index);
        self.edit(index, |n| {
            n.older = head;
            n.link[0] = NIL;
        });
    }

    /// Takes a node out of its list; gives the list's new head if this was the head.
    #[inline]
    pub(crate) fn pull(&mut self, index: u32) -> Option<u32> {
        let node = self.at(index);
        let (older, newer) = (node.older, node.newer());
        self.edit_any(older, |n| n.link[0] = newer);
        if newer == NIL {
            return Some(older);
        }
        self.edit(newer, |n| n.older = older);
        None
    }
}
