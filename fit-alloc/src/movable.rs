//! Blocks of bytes that may be moved: handles instead of pointers, pins, and compaction in small steps.
//!
//! ```text
//!  before   [ a ][ . . ][ b ][ . ][ c (pinned) ][ . ][ d ][ . . . . . ]        . . hole
//!  compact  [ a ][ b ][ . . . ][ c (pinned) ][ d ][ . . . . . . ]
//!            └── slide down in their order ──┘ a pinned block stays, and those above it stop at its end
//! ```
//! Nothing here is unsafe, and no pointer leaves: the bytes of a block are borrowed for as long as the borrow of the heap
//! lasts, which is exactly as long as nothing can move. A pin is for those who reach the memory otherwise, by its
//! offset: a device, another CPU.
//!
//! ```
//! use hectare_fit::movable::MovableHeap;
//! use hectare_fit::policy::BestFit;
//! use hectare_fit::range::Node;
//!
//! let (mut memory, mut table) = ([0; 1024], [Node::<u32>::NEW; 32]);
//! let mut heap = MovableHeap::<BestFit, _>::new(&mut memory, &mut table[..])?;
//! let (first, second) = (heap.store(b"gone soon")?, heap.store(b"still here")?);
//! heap.free(first)?;
//! assert!(heap.get(first).is_err()); // stale
//! let done = heap.compact(usize::MAX);
//! assert_eq!((done.blocks, done.complete), (1, true));
//! assert_eq!(heap.get(second)?, b"still here");
//! # Ok::<(), hectare_fit::range::RangeError>(())
//! ```
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use hectare_core::{CheckInvariants, Figures, Fragmentation, FreeError, Ratio, Usage, Violation};

use crate::compact_plan::Move;
use crate::policy::Policy;
use crate::range::{Handle, NIL, RangeAllocator, RangeError, Storage};

/// Bytes that every block is aligned to, and counted in.
pub const ALIGN: usize = 16;

/// Names a live block until it is freed, wherever it lies. A handle from before is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Movable {
    block: Handle,
    /// As asked for.
    size: usize,
}

impl Movable {
    /// The bytes of the block, as asked for.
    #[must_use]
    pub fn size(self) -> usize {
        self.size
    }
}

/// What a call of [`compact`](MovableHeap::compact) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes moved, in whole units of [`ALIGN`].
    pub bytes: usize,
    /// Blocks moved.
    pub blocks: usize,
    /// Whether every block now lies as low as pinned ones let it.
    pub complete: bool,
}

/// A heap of movable blocks in memory that is lent to it, under a placement policy. See the [module](self).
///
/// Its tables are a range allocator's: as many nodes as there will be blocks and holes, given by the caller.
///
/// | operation | cost | refused if |
/// |---|---|---|
/// | [`allocate`](Self::allocate), [`free`](Self::free) | the policy's bound | no hole holds it; the table is full; the handle is stale; the block is pinned |
/// | [`get`](Self::get), [`get_mut`](Self::get_mut), [`pin`](Self::pin) | O(1) | the handle is stale |
/// | [`compact`](Self::compact) | the bytes moved; a step for each block from where it stopped before, or from the lowest if a block below that was freed, unpinned or allocated since | never |
///
/// ```
/// use hectare_fit::movable::MovableHeap;
/// use hectare_fit::policy::FirstFit;
/// use hectare_fit::range::{RangeError, Vecs};
/// # #[repr(align(16))]
/// # struct Memory([u8; 1024]);
/// # let mut memory = Memory([0; 1024]);
/// # let memory = &mut memory.0;
///
/// // `memory` is 1 KiB. `Vecs` (feature `alloc`) are tables that grow; `Slices` are given by you.
/// let mut heap = MovableHeap::<FirstFit, _>::new(memory, Vecs::new())?;
/// let blocks = [heap.allocate(256)?, heap.store(b"a frame of video")?, heap.allocate(256)?, heap.allocate(256)?];
/// heap.free(blocks[0])?;
/// heap.free(blocks[2])?;
/// assert_eq!(heap.allocate(700), Err(RangeError::Fragmented)); // 752 bytes are free, in three holes
///
/// // A device reads the frame: it must stay where it is, and not go.
/// let place = heap.pin(blocks[1])?;
/// assert_eq!(heap.free(blocks[1]), Err(RangeError::Pinned));
/// assert_eq!(heap.compact(usize::MAX).blocks, 1); // the last block comes down to the frame
/// assert_eq!(heap.place(blocks[1])?, place);
///
/// heap.unpin(blocks[1])?;
/// assert_eq!(heap.compact(usize::MAX).bytes, 16 + 256);
/// assert_eq!(heap.get(blocks[1])?, b"a frame of video");
/// heap.allocate(700)?;
/// # Ok::<(), RangeError>(())
/// ```
///
/// Invariants: those of the range allocator; every block lies in the memory; all blocks up to the cursor's lie as low as
/// pinned ones let them.
pub struct MovableHeap<'m, P: Policy, S: Storage<u32>> {
    /// Aligned to [`ALIGN`].
    memory: &'m mut [u8],
    space: RangeAllocator<P, u32, S>,
    /// The last block of those that need not be looked at again.
    cursor: Option<Handle>,
}

impl<'m, P: Policy, S: Storage<u32>> MovableHeap<'m, P, S> {
    /// A heap in this memory. Bytes that alignment cuts off at its ends are not used, nor what is above 64 GiB.
    ///
    /// # Errors
    /// [`RangeError::Empty`] if no unit of [`ALIGN`] bytes is left; else as [`RangeAllocator::new`].
    pub fn new(memory: &'m mut [u8], storage: S) -> Result<Self, RangeError> {
        let padding = memory.as_ptr().align_offset(ALIGN);
        let memory = memory.get_mut(padding..).ok_or(RangeError::Empty)?;
        let units = u32::try_from(memory.len() / ALIGN).unwrap_or(u32::MAX);
        Ok(Self { memory, space: RangeAllocator::new(units, storage)?, cursor: None })
    }

    /// Takes a block of `size` bytes, with whatever they held before. Size 0 is served too.
    ///
    /// # Errors
    /// As [`RangeAllocator::allocate`].
    pub fn allocate(&mut self, size: usize) -> Result<Movable, RangeError> {
        let units = u32::try_from(size.max(1).div_ceil(ALIGN)).map_err(|_| RangeError::TooLarge)?;
        let block = self.space.allocate(units)?;
        self.forget_from(block.start);
        Ok(Movable { block: block.handle, size })
    }

    /// Takes a block of `size` zeros.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&mut self, size: usize) -> Result<Movable, RangeError> {
        let block = self.allocate(size)?;
        self.get_mut(block)?.fill(0);
        Ok(block)
    }

    /// Takes a block that holds these bytes.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn store(&mut self, bytes: &[u8]) -> Result<Movable, RangeError> {
        let block = self.allocate(bytes.len())?;
        self.get_mut(block)?.copy_from_slice(bytes);
        Ok(block)
    }

    /// Gives a block back.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale, [`RangeError::Pinned`]; nothing is changed.
    pub fn free(&mut self, block: Movable) -> Result<(), RangeError> {
        if self.space.is_pinned(block.block)? {
            return Err(RangeError::Pinned);
        }
        let freed = self.space.free(block.block)?;
        self.forget_from(freed.start);
        Ok(())
    }

    /// The bytes of a block.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale.
    pub fn get(&self, block: Movable) -> Result<&[u8], RangeError> {
        let range = self.range(block)?;
        self.memory.get(range).ok_or(RangeError::Outside)
    }

    /// The bytes of a block, to write.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_mut(&mut self, block: Movable) -> Result<&mut [u8], RangeError> {
        let range = self.range(block)?;
        self.memory.get_mut(range).ok_or(RangeError::Outside)
    }

    /// The bytes of two blocks, to write.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`RangeError::InUse`] if they are the same block.
    pub fn get_two(&mut self, first: Movable, second: Movable) -> Result<[&mut [u8]; 2], RangeError> {
        let (one, two) = (self.range(first)?, self.range(second)?);
        if first.block == second.block {
            return Err(RangeError::InUse);
        }
        // The lower one ends before the upper one begins.
        let swapped = two.start < one.start;
        let (low, high) = if swapped { (two, one) } else { (one, two) };
        let (below, above) = self.memory.split_at_mut_checked(high.start).ok_or(RangeError::Outside)?;
        let low = below.get_mut(low).ok_or(RangeError::Outside)?;
        let high = above.get_mut(..high.end - high.start).ok_or(RangeError::Outside)?;
        Ok(if swapped { [high, low] } else { [low, high] })
    }

    /// Where a block lies now: the offsets of its bytes, counted as [`pin`](Self::pin) does. Good until it may move.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale.
    pub fn place(&self, block: Movable) -> Result<Range<usize>, RangeError> {
        self.range(block)
    }

    /// Forbids a block to move and to be freed, and gives where it lies: the offsets of its bytes, counted from the first
    /// byte of the memory that is a multiple of [`ALIGN`]. A pin has one owner.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale, [`RangeError::Pinned`] if it is pinned already.
    pub fn pin(&mut self, block: Movable) -> Result<Range<usize>, RangeError> {
        let range = self.range(block)?;
        if self.space.is_pinned(block.block)? {
            return Err(RangeError::Pinned);
        }
        self.space.set_pinned(block.block, true)?;
        Ok(range)
    }

    /// Allows a block to move and to be freed again. Gives whether it was pinned.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale.
    pub fn unpin(&mut self, block: Movable) -> Result<bool, RangeError> {
        let pinned = self.space.is_pinned(block.block)?;
        self.space.set_pinned(block.block, false)?;
        if pinned {
            let start = self.space.block(block.block)?.start;
            self.forget_from(start);
        }
        Ok(pinned)
    }

    /// Slides blocks down in their order, the lowest first, until `budget` bytes were moved. The next call goes on.
    ///
    /// At most `budget` bytes are moved, but one block at least, however large, if there is one to move and the budget
    /// is not 0. All calls together move each block once for each time that something below it was freed or unpinned:
    /// never more than one pass of sliding would.
    pub fn compact(&mut self, budget: usize) -> Compaction {
        let mut done = Compaction::default();
        let (mut index, mut floor) = match self.cursor.and_then(|cursor| self.space.block(cursor).ok()) {
            Some(last) => (self.space.view().at(last.handle.index()).next, last.end()),
            None => (self.space.lowest(), 0),
        };
        while index != NIL {
            let node = *self.space.view().at(index);
            if !node.is_hole() {
                let handle = Handle::new(index, node.generation());
                if !node.is_pinned() && node.start != floor {
                    let bytes = node.length as usize * ALIGN;
                    let first = done.blocks == 0 && budget > 0;
                    if !first && bytes > budget.saturating_sub(done.bytes) {
                        return done;
                    }
                    let step = Move { handle, from: node.start, to: floor, length: node.length };
                    if !self.slide(&step) {
                        return done;
                    }
                    done.bytes += bytes;
                    done.blocks += 1;
                }
                floor = self.space.view().at(index).end();
                self.cursor = Some(handle);
            }
            index = self.space.view().at(index).next;
        }
        done.complete = true;
        done
    }

    /// Moves a block and its bytes.
    fn slide(&mut self, step: &Move<u32>) -> bool {
        let (from, to, length) = (step.from as usize, step.to as usize, step.length as usize);
        let source = from * ALIGN..(from + length) * ALIGN;
        if source.end > self.memory.len() || to > from || self.space.commit(*step).is_err() {
            return false;
        }
        // The planted fault: the last byte stays behind.
        let source = if cfg!(hectare_plant = "movable_byte") { source.start..source.end - 1 } else { source };
        self.memory.copy_within(source, to * ALIGN);
        true
    }

    /// Whether something from this unit on may have to be looked at again.
    fn forget_from(&mut self, start: u32) {
        let last = self.cursor.and_then(|cursor| self.space.block(cursor).ok());
        if last.is_none_or(|last| start <= last.start) {
            self.cursor = None;
        }
    }

    fn range(&self, block: Movable) -> Result<Range<usize>, RangeError> {
        let found = self.space.block(block.block)?;
        let start = found.start as usize * ALIGN;
        // Handles of another heap may look valid: their size does not reach out of the block here.
        if block.size > found.length as usize * ALIGN {
            return Err(FreeError::WrongSize.into());
        }
        Ok(start..start + block.size)
    }

    /// The bytes of the largest hole: so many can be allocated. See [`RangeAllocator::largest_free`].
    #[must_use]
    pub fn largest_free(&self) -> usize {
        self.space.largest_free() as usize * ALIGN
    }
}

impl<P: Policy, S: Storage<u32>> fmt::Debug for MovableHeap<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MovableHeap").field("space", &self.space).finish_non_exhaustive()
    }
}

/// In bytes; costs as the range allocator's.
impl<P: Policy, S: Storage<u32>> Figures for MovableHeap<'_, P, S> {
    fn usage(&self) -> Usage {
        let units = self.space.usage();
        let mut usage = Usage::new(1, units.capacity * ALIGN as u64, units.allocated * ALIGN as u64);
        usage.peak_allocated = units.peak_allocated * ALIGN as u64;
        usage.failures = units.failures;
        usage
    }

    fn fragmentation(&self) -> Fragmentation {
        let units = self.space.fragmentation();
        Fragmentation::new(units.free * ALIGN as u64, units.largest * ALIGN as u64, units.holes)
    }

    fn unusable(&self, bytes: u64) -> Ratio {
        self.space.unusable(bytes.div_ceil(ALIGN as u64))
    }
}

impl<P: Policy, S: Storage<u32>> CheckInvariants for MovableHeap<'_, P, S> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.space.check_invariants()?;
        let end = self.space.space().end;
        let inside = end as usize * ALIGN <= self.memory.len();
        Violation::unless(inside, "every block lies in the memory", end.into())?;
        let Some(last) = self.cursor.and_then(|cursor| self.space.block(cursor).ok()) else { return Ok(()) };
        let mut floor = 0;
        for block in self.space.blocks().take_while(|block| block.start <= last.start) {
            let low = block.start == floor || self.space.is_pinned(block.handle) == Ok(true);
            Violation::unless(low, "blocks up to the cursor's lie as low as they can", block.start.into())?;
            floor = block.end();
        }
        Ok(())
    }
}
