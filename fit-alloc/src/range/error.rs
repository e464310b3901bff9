//! What can go wrong with ranges.
#![forbid(unsafe_code)]

use hectare_core::{AllocError, FreeError};
use thiserror::Error;

/// Why a range was not allocated, or the space not changed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// Less is free than was asked for.
    #[error("out of space: less is free than was asked for")]
    OutOfSpace,
    /// Enough is free in total, but no hole holds the request (in a bounded search: no hole that was looked at).
    #[error("fragmented: enough is free in total, but no hole holds the request")]
    Fragmented,
    /// The request is longer than the whole space.
    #[error("too large: the request is longer than the space")]
    TooLarge,
    /// A length of 0.
    #[error("empty: a range has at least one unit")]
    Empty,
    /// An alignment of 0, a window that ends before it begins, or a boundary that is not a power of two, is shorter
    /// than the length or comes with an alignment that is not a power of two.
    #[error("unsound: no place could ever fulfil the constraints")]
    Unsound,
    /// The place asked for lies, at least in part, outside the space, or the space would exceed its numbers.
    #[error("outside: not a part of the space")]
    Outside,
    /// The place asked for, or the end of the space that should go, is allocated at least in part.
    #[error("in use: allocated at least in part")]
    InUse,
    /// The table of nodes (or of chunks) is full and cannot grow.
    #[error("the allocator's table is full")]
    TableFull,
    /// The handle is not of a live block.
    #[error("the handle was refused: {0}")]
    BadHandle(#[from] FreeError),
    /// The block is pinned and stays where it is.
    #[error("the block is pinned")]
    Pinned,
}

impl From<RangeError> for AllocError {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::OutOfSpace | RangeError::TableFull => Self::OutOfMemory,
            RangeError::TooLarge => Self::TooLarge,
            RangeError::Unsound => Self::Alignment,
            RangeError::BadHandle(bad) => Self::BadBlock(bad),
            _ => Self::Fragmented,
        }
    }
}
