//! Where an allocator keeps its tables: slices given by the caller, or vectors that grow.
#![forbid(unsafe_code)]

use super::{NIL, Node, Tables, Unit, View};
use crate::policy::Chunk;

/// The tables of a [`RangeAllocator`](super::RangeAllocator).
///
/// | storage | for | grows |
/// |---|---|---|
/// | `&mut [Node<U>]` | best, worst, good, half fit | no |
/// | [`Slices`] | every policy; freeing by range in O(1) if it has buckets | no |
/// | `Vecs` (feature `alloc`) | every policy; freeing by range in O(1) if asked for | yes |
///
/// The trait is sealed.
pub trait Storage<U: Unit>: sealed::Sealed<U> {}

impl<U: Unit> Storage<U> for &mut [Node<U>] {}
impl<U: Unit, const N: usize> Storage<U> for [Node<U>; N] {}
impl<U: Unit> Storage<U> for Slices<'_, U> {}
#[cfg(feature = "alloc")]
impl<U: Unit> Storage<U> for Vecs<U> {}

pub(crate) mod sealed {
    use super::{Tables, Unit, View};

    pub trait Sealed<U: Unit> {
        fn view(&self) -> View<'_, U>;
        fn tables(&mut self) -> Tables<'_, U>;

        /// Makes room for at least `nodes` nodes, and as many chunks as those need, if it can.
        fn grow(&mut self, nodes: usize, chunks: fn(usize) -> usize) -> bool {
            let _ = (nodes, chunks);
            false
        }
    }
}

impl<U: Unit> sealed::Sealed<U> for &mut [Node<U>] {
    #[inline]
    fn view(&self) -> View<'_, U> {
        View { nodes: self, chunks: &[], buckets: &[] }
    }

    #[inline]
    fn tables(&mut self) -> Tables<'_, U> {
        Tables { nodes: self, chunks: &mut [], buckets: &mut [], nobody: Node::NEW }
    }
}

impl<U: Unit, const N: usize> sealed::Sealed<U> for [Node<U>; N] {
    #[inline]
    fn view(&self) -> View<'_, U> {
        View { nodes: self, chunks: &[], buckets: &[] }
    }

    #[inline]
    fn tables(&mut self) -> Tables<'_, U> {
        Tables { nodes: self, chunks: &mut [], buckets: &mut [], nobody: Node::NEW }
    }
}

/// Tables given by the caller: no allocation, ever.
#[derive(Debug, Default)]
pub struct Slices<'a, U: Unit> {
    nodes: &'a mut [Node<U>],
    chunks: &'a mut [Chunk<U>],
    buckets: &'a mut [u32],
}

impl<'a, U: Unit> Slices<'a, U> {
    /// These nodes.
    #[must_use]
    pub fn new(nodes: &'a mut [Node<U>]) -> Self {
        Self { nodes, chunks: &mut [], buckets: &mut [] }
    }

    /// With the chunks that first, next and last fit need:
    /// [`chunks_for`](crate::policy::chunks_for)`(nodes.len())` of them.
    #[must_use]
    pub fn with_chunks(self, chunks: &'a mut [Chunk<U>]) -> Self {
        Self { chunks, ..self }
    }

    /// With buckets, so that a block is found by its start in O(1) expected time. As many as nodes are enough.
    #[must_use]
    pub fn with_buckets(self, buckets: &'a mut [u32]) -> Self {
        buckets.fill(NIL);
        Self { buckets, ..self }
    }
}

impl<U: Unit> sealed::Sealed<U> for Slices<'_, U> {
    #[inline]
    fn view(&self) -> View<'_, U> {
        View { nodes: self.nodes, chunks: self.chunks, buckets: self.buckets }
    }

    #[inline]
    fn tables(&mut self) -> Tables<'_, U> {
        Tables { nodes: self.nodes, chunks: self.chunks, buckets: self.buckets, nobody: Node::NEW }
    }
}

#[cfg(feature = "alloc")]
pub use vecs::Vecs;

#[cfg(feature = "alloc")]
mod vecs {
    extern crate alloc;

    use alloc::vec::Vec;

    use super::{NIL, Node, Tables, Unit, View, sealed};
    use crate::policy::Chunk;
    use crate::range::MOST_NODES;

    /// Tables that grow: memory comes from the global allocator, and its refusal is a typed error.
    #[derive(Clone, Debug, Default)]
    pub struct Vecs<U: Unit> {
        nodes: Vec<Node<U>>,
        chunks: Vec<Chunk<U>>,
        buckets: Vec<u32>,
        by_start: bool,
    }

    impl<U: Unit> Vecs<U> {
        /// Empty tables.
        #[must_use]
        pub const fn new() -> Self {
            Self { nodes: Vec::new(), chunks: Vec::new(), buckets: Vec::new(), by_start: false }
        }

        /// Empty tables with buckets, so that a block is found by its start in O(1) expected time.
        #[must_use]
        pub const fn by_start() -> Self {
            Self { nodes: Vec::new(), chunks: Vec::new(), buckets: Vec::new(), by_start: true }
        }
    }

    impl<U: Unit> sealed::Sealed<U> for Vecs<U> {
        #[inline]
        fn view(&self) -> View<'_, U> {
            View { nodes: &self.nodes, chunks: &self.chunks, buckets: &self.buckets }
        }

        #[inline]
        fn tables(&mut self) -> Tables<'_, U> {
            Tables {
                nodes: &mut self.nodes,
                chunks: &mut self.chunks,
                buckets: &mut self.buckets,
                nobody: Node::NEW,
            }
        }

        #[cold]
        fn grow(&mut self, nodes: usize, chunks: fn(usize) -> usize) -> bool {
            // Doubling keeps the cost of copying and of filling the buckets anew constant for each node.
            let nodes = nodes.max(self.nodes.len().saturating_mul(2)).max(16);
            if nodes > MOST_NODES {
                return false;
            }
            // The chunks first: without them, the nodes stay as few as they are.
            if !fill(&mut self.chunks, chunks(nodes), Chunk::NEW) || !fill(&mut self.nodes, nodes, Node::NEW)
            {
                return false;
            }
            if self.by_start && self.buckets.len() < self.nodes.len() {
                let length = self.nodes.len();
                if fill(&mut self.buckets, length, NIL) {
                    self.tables().fill_buckets();
                }
            }
            true
        }
    }

    fn fill<T: Clone>(vec: &mut Vec<T>, length: usize, with: T) -> bool {
        let more = length.saturating_sub(vec.len());
        if vec.try_reserve_exact(more).is_err() {
            return false;
        }
        vec.resize(vec.len() + more, with);
        true
    }
}
