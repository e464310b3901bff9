//! Abstract ranges: disjoint pieces of some space of numbers, by an exact placement policy, with no memory touched.
//!
//! For virtual address space, GPU and DMA memory, disk extents, guest memory, register windows: whatever is divided into
//! consecutive units. All state lies in a table that the caller gives or that grows in vectors.
//!
//! ```
//! use hectare_fit::policy::BestFit;
//! use hectare_fit::range::{Node, RangeAllocator, Request};
//!
//! let mut table = [Node::<u32>::NEW; 16];
//! let mut space = RangeAllocator::<BestFit, _, _>::new(1000, &mut table[..])?;
//! let whole = space.allocate(1000)?; // a space holds a range of its own length
//! space.free(whole.handle)?;
//! assert!(space.free(whole.handle).is_err()); // stale: nothing is changed
//!
//! let page = space.allocate_with(Request::new(100).aligned(64).within(10..500))?;
//! assert_eq!((page.start, page.length), (64, 100));
//! assert_eq!(space.largest_free(), 1000 - 164);
//! # Ok::<(), hectare_fit::range::RangeError>(())
//! ```
#![forbid(unsafe_code)]

mod engine;
mod error;
mod figures;
mod iter;
mod lookup;
mod moves;
mod node;
mod request;
mod source;
mod storage;
#[cfg(test)]
mod tests;
mod unit;
mod work;

pub use error::RangeError;
pub use iter::{Blocks, Hole, Holes};
pub use node::Node;
pub use request::Request;
#[cfg(feature = "alloc")]
pub use storage::Vecs;
pub use storage::{Slices, Storage};
pub use unit::Unit;

use work::Order;

pub(crate) use node::{MOST_NODES, NIL, Nodes, Tables, View, nowhere};

use core::fmt;
use core::num::NonZero;
use core::ops::Range;

use hectare_core::{Failures, FreeError, Ratio};

use crate::policy::{Index, Policy, Search};

/// Hands out disjoint ranges of units by a [`Policy`].
///
/// ```
/// use hectare_fit::policy::BestFit;
/// use hectare_fit::range::{Node, RangeAllocator, RangeError};
///
/// // A window of 1 MiB for the registers of devices. Its table of 16 nodes holds 15 blocks.
/// let mut table = [Node::<u32>::NEW; 16];
/// let mut bus = RangeAllocator::<BestFit, _, _>::over(0xFEB0_0000..0xFEC0_0000, &mut table[..])?;
/// let firmware = bus.reserve(0xFEB8_0000, 0x1000)?; // what lies there already: pinned
/// assert_eq!(bus.allocate_at(0xFEB8_0800, 0x100), Err(RangeError::InUse));
///
/// let card = bus.allocate_aligned(0x4_0000, 0x4_0000)?; // registers lie at a multiple of their size
/// assert_eq!(card.start % 0x4_0000, 0);
/// assert_eq!(bus.allocate(0x9_0000), Err(RangeError::Fragmented)); // so much is free, but not in one piece
/// assert_eq!(bus.largest_free(), 0x8_0000);
///
/// bus.free(card.handle)?;
/// assert!(bus.free(card.handle).is_err()); // stale: nothing is changed
/// assert_eq!(bus.block(firmware.handle)?.start, 0xFEB8_0000);
/// # Ok::<(), RangeError>(())
/// ```
///
/// | operation | worst case |
/// |---|---|
/// | [`allocate`](Self::allocate), [`free`](Self::free), [`grow`](Self::grow), [`shrink`](Self::shrink) | the policy's [bound](Policy::BOUND) |
/// | [`allocate_with`](Self::allocate_with) | the same, plus one step for each hole that is long enough but has no place |
/// | [`allocate_at`](Self::allocate_at), [`reserve`](Self::reserve) | O(log holes) by address-ordered policies, else linear |
/// | [`free_at`](Self::free_at) | O(1) expected with buckets, else linear; plus that of `free` |
/// | [`largest_free`](Self::largest_free) | O(word); good and half fit: the holes of the highest class |
///
/// Invariants:
/// * the nodes from the lowest to the highest lie end to end and fill the space exactly;
/// * no two holes are neighbours;
/// * every hole is in the policy's index exactly once, and nothing else is;
/// * with buckets, every block is found by its start;
/// * `free` is the sum of the holes, and every node of the table is in the space, spare or not yet used.
///
/// A table of n nodes holds n − 1 blocks of any lengths, and n if nothing is free then.
pub struct RangeAllocator<P: Policy, U: Unit, S: Storage<U>> {
    index: P::Index<U>,
    storage: S,
    search: Search,
    order: Order,
    start: U,
    end: U,
    free: U,
    /// The most units that were allocated at one time before the space last changed.
    peak: U,
    /// The fewest that have been free since.
    least_free: U,
    /// Units in blocks that nobody asked for.
    unasked: u64,
    failures: Failures,
}

/// Names a live block until it is freed. A handle from before is refused, also when its entry is in use again (up to
/// 2^30 uses later).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(NonZero<u64>);

impl Handle {
    pub(crate) const NONE: Self = Self(NonZero::<u64>::MAX);

    /// The index above, the generation below: odd, as the block is allocated.
    #[inline]
    pub(crate) fn new(index: u32, generation: u32) -> Self {
        Self(NonZero::<u64>::MIN | (u64::from(index) << 32 | u64::from(generation)))
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn generation(self) -> u32 {
        self.0.get() as u32
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({}, use {})", self.index(), self.generation() / 2)
    }
}

/// A range that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block<U> {
    /// For freeing it.
    pub handle: Handle,
    /// The first unit.
    pub start: U,
    /// The number of units: as asked, or more under half fit.
    pub length: U,
}

impl<P: Policy, U: Unit, S: Storage<U>> RangeAllocator<P, U, S> {
    /// A space of the units `0..length`, all free.
    ///
    /// # Errors
    /// As [`over`](Self::over).
    pub fn new(length: U, storage: S) -> Result<Self, RangeError> {
        Self::over(U::ZERO..length, storage)
    }

    /// A space of these units, all free. Linear in a fixed table.
    ///
    /// # Errors
    /// [`RangeError::Empty`] if there are none, [`RangeError::TableFull`] if the storage has no node or too few chunks
    /// for its nodes.
    pub fn over(space: Range<U>, storage: S) -> Result<Self, RangeError> {
        Self::build(space, storage)
    }

    /// How hard to look before refusing a request: [`Search::Complete`] at first.
    #[must_use]
    pub fn with_search(self, search: Search) -> Self {
        Self { search, ..self }
    }

    /// Takes `length` units anywhere.
    ///
    /// # Errors
    /// [`RangeError::Fragmented`] if no hole is long enough (see [`Search`]); [`RangeError::OutOfSpace`],
    /// [`RangeError::TooLarge`] if even together they are not; [`RangeError::Empty`] for length 0;
    /// [`RangeError::TableFull`] if the hole cannot be split for want of a node.
    #[inline]
    pub fn allocate(&mut self, length: U) -> Result<Block<U>, RangeError> {
        self.place_anywhere(length)
    }

    /// Takes `length` units, the first a multiple of `align`.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); [`RangeError::Unsound`] for alignment 0.
    pub fn allocate_aligned(&mut self, length: U, align: U) -> Result<Block<U>, RangeError> {
        self.allocate_with(Request::new(length).aligned(align))
    }

    /// Takes units as requested.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); [`RangeError::Unsound`] if the constraints contradict each other.
    pub fn allocate_with(&mut self, request: Request<U>) -> Result<Block<U>, RangeError> {
        self.place(&request)
    }

    /// Takes exactly the units from `start` on.
    ///
    /// # Errors
    /// [`RangeError::Outside`] if they are not all in the space, [`RangeError::InUse`] if they are not all free,
    /// [`RangeError::Empty`] for length 0, [`RangeError::TableFull`] if the hole cannot be split for want of nodes.
    pub fn allocate_at(&mut self, start: U, length: U) -> Result<Block<U>, RangeError> {
        self.place_at(start, length, false)
    }

    /// Takes exactly the units from `start` on and pins them: for what must never be handed out or moved.
    ///
    /// # Errors
    /// As [`allocate_at`](Self::allocate_at).
    pub fn reserve(&mut self, start: U, length: U) -> Result<Block<U>, RangeError> {
        self.place_at(start, length, true)
    }

    /// Gives a block back, pinned or not.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`], with [`FreeError::NotAllocated`] if the handle is stale, with [`FreeError::Foreign`]
    /// if it never was of this allocator (a handle of another allocator may look valid). Nothing is changed.
    #[inline]
    pub fn free(&mut self, handle: Handle) -> Result<Block<U>, RangeError> {
        let block = self.block(handle)?;
        self.release(handle.index());
        Ok(block)
    }

    /// Gives the block `[start, start + length)` back, exactly as it was handed out.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`], with [`FreeError::Foreign`] if `start` is not in the space,
    /// [`FreeError::NotAllocated`] if it is free, [`FreeError::Misaligned`] if it is inside a block,
    /// [`FreeError::WrongSize`] if the block has another length. Nothing is changed.
    pub fn free_at(&mut self, start: U, length: U) -> Result<Block<U>, RangeError> {
        let handle = self.find_block(start)?;
        let block = self.block(handle)?;
        if block.length != length {
            return Err(FreeError::WrongSize.into());
        }
        self.release(handle.index());
        Ok(block)
    }

    /// The block that a handle names.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    #[inline]
    pub fn block(&self, handle: Handle) -> Result<Block<U>, RangeError> {
        let node = self.storage.view().at(handle.index());
        // A handle's generation is odd: equal ones are of blocks.
        if node.generation() != handle.generation() {
            // A node that was never used has no generation.
            let known = node.generation() != 0;
            return Err(if known { FreeError::NotAllocated } else { FreeError::Foreign }.into());
        }
        Ok(Block { handle, start: node.start, length: node.length })
    }

    /// The handle of the block that begins at `start`. O(1) expected with buckets, else linear.
    ///
    /// # Errors
    /// As [`free_at`](Self::free_at).
    pub fn handle_at(&self, start: U) -> Result<Handle, RangeError> {
        self.find_block(start)
    }

    /// Forbids compaction to move a block, or allows it again. O(1).
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn set_pinned(&mut self, handle: Handle, pinned: bool) -> Result<(), RangeError> {
        self.block(handle)?;
        self.storage.tables().edit(handle.index(), |node| node.set_pinned(pinned));
        Ok(())
    }

    /// Whether a block is pinned.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn is_pinned(&self, handle: Handle) -> Result<bool, RangeError> {
        self.block(handle)?;
        Ok(self.storage.view().at(handle.index()).is_pinned())
    }

    /// Adds `units` free units above the space.
    ///
    /// # Errors
    /// [`RangeError::Outside`] if the space would end past the greatest number, [`RangeError::TableFull`] if the
    /// highest unit is allocated and no node is left, [`RangeError::Empty`] for 0.
    pub fn grow(&mut self, units: U) -> Result<(), RangeError> {
        self.extend(units)
    }

    /// Takes the highest `units` units out of the space.
    ///
    /// # Errors
    /// [`RangeError::InUse`] if they are not all free, [`RangeError::Outside`] if nothing would be left,
    /// [`RangeError::Empty`] for 0.
    pub fn shrink(&mut self, units: U) -> Result<(), RangeError> {
        self.truncate(units)
    }

    /// The units of the space.
    #[must_use]
    pub fn space(&self) -> Range<U> {
        self.start..self.end
    }

    /// How many units are free.
    #[must_use]
    pub fn free_units(&self) -> U {
        self.free
    }

    /// The length of the largest hole, exact: a request for it succeeds, one for more fails. 0 if nothing is free.
    #[must_use]
    pub fn largest_free(&self) -> U {
        self.index.largest(self.storage.view())
    }

    /// Internal fragmentation: of the allocated units, those that were granted beyond what was asked for. Only half fit
    /// rounds lengths up; of one block at most 2^32 − 1 units are counted. O(1).
    #[must_use]
    pub fn internal(&self) -> Ratio {
        Ratio::new(self.unasked, (self.end - self.start - self.free).into())
    }

    /// The blocks, by address.
    #[must_use]
    pub fn blocks(&self) -> Blocks<'_, U> {
        Blocks::new(self.storage.view(), self.order.lowest)
    }

    /// The holes, by address.
    #[must_use]
    pub fn holes(&self) -> Holes<'_, U> {
        Holes::new(self.storage.view(), self.order.lowest)
    }
}

impl<U: Unit> Block<U> {
    /// The first unit after the block.
    #[must_use]
    pub fn end(&self) -> U {
        self.start + self.length
    }
}

impl<P: Policy, U: Unit, S: Storage<U>> fmt::Debug for RangeAllocator<P, U, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeAllocator")
            .field("policy", &P::NAME)
            .field("space", &(self.start..self.end))
            .field("free", &self.free)
            .field("holes", &self.order.holes)
            .finish_non_exhaustive()
    }
}
