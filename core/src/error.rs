//! What can go wrong, typed: every refusal says which rule it met, and changes nothing.
#![forbid(unsafe_code)]

use thiserror::Error;

/// Why an allocation, or the growth of a block, was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub enum AllocError {
    /// Less memory is free than was asked for.
    #[error("out of memory: less is free than was asked for")]
    OutOfMemory,
    /// Enough memory is free in total, but no hole that the search may look at holds the request.
    #[error("fragmented: enough memory is free in total, but no hole was found that holds the request")]
    Fragmented,
    /// The request exceeds what this allocator could hand out even if it were empty.
    #[error("too large: the request exceeds what this allocator can ever hand out")]
    TooLarge,
    /// The alignment is not supported by this allocator.
    #[error("unsupported alignment")]
    Alignment,
    /// The block cannot be resized where it lies.
    #[error("the block cannot be resized in place")]
    NotInPlace,
    /// The block that was to be resized is not a live block of this allocator.
    #[error("the block to be resized was refused: {0}")]
    BadBlock(#[from] FreeError),
    /// The allocator was entered again while it was busy, and its lock refuses that.
    #[error(transparent)]
    Reentered(#[from] Reentered),
}

/// Why a block was not taken back. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub enum FreeError {
    /// The block lies in no region of this allocator.
    #[error("foreign: the block lies in no region of this allocator")]
    Foreign,
    /// No block of this allocator can begin there.
    #[error("misaligned: no block can begin there")]
    Misaligned,
    /// The block, or a part of it, is free already.
    #[error("not allocated: the block or a part of it is free already")]
    NotAllocated,
    /// A block begins there, but its size is another.
    #[error("wrong size: the block was allocated with another size or alignment")]
    WrongSize,
    /// The allocator was entered again while it was busy, and its lock refuses that.
    #[error(transparent)]
    Reentered(#[from] Reentered),
}

/// Why a region was not added, extended, truncated or removed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub enum RegionError {
    /// The region cannot hold its own metadata and one block.
    #[error("the region is too small to hold its metadata and one block")]
    TooSmall,
    /// The region, or all regions together, exceed what the allocator can address.
    #[error("the region is too large for this allocator's links")]
    TooLarge,
    /// The region begins at null or wraps around the address space.
    #[error("the region begins at null or wraps around the address space")]
    BadRange,
    /// The region overlaps one that the allocator already has.
    #[error("the region overlaps another region of this allocator")]
    Overlap,
    /// The allocator's region table is full.
    #[error("the region table is full")]
    TableFull,
    /// The allocator has no such region.
    #[error("no such region")]
    Unknown,
    /// Blocks are still allocated in the memory that should go.
    #[error("blocks are still allocated in the memory that should go")]
    InUse,
    /// The allocator was entered again while it was busy, and its lock refuses that.
    #[error(transparent)]
    Reentered(#[from] Reentered),
}

/// The lock's holder tried to enter again: an allocation inside an allocation, or in an interrupt during one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[error("re-entered: the allocator was busy further up this call stack")]
pub struct Reentered;
