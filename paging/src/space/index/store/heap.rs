//! Nodes in memory of a byte allocator: blocks that double in size and never move.
#![expect(unsafe_code, reason = "owns raw memory")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator};

use super::NodeStore;
use crate::space::index::node::Node;

/// Nodes of the first block, as a power of two: 4 KiB.
const FIRST_LOG2: u32 = 3;
/// Blocks: together more than a billion nodes.
const BLOCKS: usize = 27;

/// A store that takes its memory from a byte allocator: 4 KiB at first, then as much again each time. It gives all of it
/// back when it is dropped.
///
/// # Invariants
/// * the first `blocks` entries of `block` are live blocks of `allocator`, of the layout for their number
/// * every node in them is initialised; `capacity` is their number
#[derive(Debug)]
pub struct HeapNodes<A: ByteAllocator> {
    allocator: A,
    block: [NonNull<Node>; BLOCKS],
    blocks: usize,
    capacity: u32,
}

/// Nodes of block number `block`.
const fn nodes_of(block: usize) -> usize {
    1 << (FIRST_LOG2 as usize + block.saturating_sub(1))
}

/// Nodes in the first `blocks` blocks together: 0, 8, 16, 32, …
const fn nodes_in(blocks: usize) -> usize {
    if blocks == 0 { 0 } else { 1 << (FIRST_LOG2 as usize + blocks - 1) }
}

fn layout_of(block: usize) -> Result<Layout, AllocError> {
    Layout::array::<Node>(nodes_of(block)).map_err(|_| AllocError::TooLarge)
}

impl<A: ByteAllocator> HeapNodes<A> {
    /// A store without nodes.
    #[must_use]
    pub const fn new(allocator: A) -> Self {
        Self { allocator, block: [NonNull::dangling(); BLOCKS], blocks: 0, capacity: 0 }
    }

    /// The allocator.
    pub const fn allocator(&self) -> &A {
        &self.allocator
    }

    /// The place of a node.
    #[inline]
    fn place(&self, number: u32) -> NonNull<Node> {
        assert!(number < self.capacity, "a node of the store");
        let block = (u32::BITS - (number >> FIRST_LOG2).leading_zeros()) as usize;
        let offset = number as usize - nodes_in(block);
        // SAFETY: (1) number is below the capacity, so block is below `blocks` and live; (2) the blocks before hold
        // `nodes_in(block)` nodes, so offset is below `nodes_of(block)`.
        unsafe { self.block[block].add(offset) }
    }
}

impl<A: ByteAllocator> NodeStore for HeapNodes<A> {
    #[inline]
    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn grow(&mut self, count: u32) -> Result<(), AllocError> {
        while self.capacity < count {
            if self.blocks == BLOCKS {
                return Err(AllocError::TooLarge);
            }
            let block: NonNull<Node> = self.allocator.allocate(layout_of(self.blocks)?)?.cast();
            for nth in 0..nodes_of(self.blocks) {
                // SAFETY: nth is below the number of nodes that the block was allocated for.
                let node = unsafe { block.add(nth) };
                // SAFETY: the allocator promises that the block is valid for writes of its layout, and aligned.
                unsafe { node.write(Node::EMPTY) };
            }
            self.block[self.blocks] = block;
            self.blocks += 1;
            self.capacity = u32::try_from(nodes_in(self.blocks)).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    #[inline]
    fn node(&self, number: u32) -> &Node {
        // SAFETY: (1) the place is that of an initialised node in a live block; (2) only `node_mut` gives a way to
        // write to it, and it borrows the whole store.
        unsafe { self.place(number).as_ref() }
    }

    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        // SAFETY: as above, with the whole store borrowed exclusively.
        unsafe { self.place(number).as_mut() }
    }
}

impl<A: ByteAllocator> Drop for HeapNodes<A> {
    fn drop(&mut self) {
        for block in 0..self.blocks {
            let Ok(layout) = layout_of(block) else { continue };
            // SAFETY: first invariant; the store ends here. A refusal has no remedy.
            let _ = unsafe { self.allocator.deallocate(self.block[block].cast(), layout) };
        }
    }
}

// SAFETY: the store owns its blocks; a reference to a node borrows it.
unsafe impl<A: ByteAllocator + Send> Send for HeapNodes<A> {}
// SAFETY: with `&self` nodes are only read.
unsafe impl<A: ByteAllocator + Sync> Sync for HeapNodes<A> {}
