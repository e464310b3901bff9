//! Where abstract ranges come from: virtual address space, segments' places, guest memory. Safe: no memory is touched.
#![forbid(unsafe_code)]

use core::num::NonZero;

use crate::{AllocError, Extent, FreeError};

/// What is asked of a range source: so many consecutive units, the first a multiple of `align`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// How many units.
    pub length: NonZero<u64>,
    /// The first unit is a multiple of this; any number, not only a power of two, unless the source says otherwise.
    pub align: NonZero<u64>,
}

impl RangeRequest {
    /// `length` units at any place.
    #[must_use]
    pub const fn new(length: NonZero<u64>) -> Self {
        Self { length, align: NonZero::<u64>::MIN }
    }

    /// The same with the first unit a multiple of `align`.
    #[must_use]
    pub const fn aligned(self, align: NonZero<u64>) -> Self {
        Self { align, ..self }
    }
}

/// A source of disjoint ranges in some space of units.
pub trait RangeSource {
    /// Takes a range, at least as long as asked (exactly, unless the source rounds up and says so).
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] or [`AllocError::Fragmented`] if no such range is free. Nothing is changed.
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError>;

    /// Gives a range back, exactly as it was returned.
    ///
    /// # Errors
    /// [`FreeError`] if the range is not allocated. Nothing is changed then.
    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError>;
}

/// A range source whose user may choose the place: what compaction needs, since it moves blocks to where it wants them.
pub trait PlacedRangeSource: RangeSource {
    /// Takes exactly this range.
    ///
    /// A range that was free a moment ago, because it was just given back, can be taken again as long as nobody else
    /// takes it.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] or [`AllocError::Fragmented`] if a part of it is not free, [`AllocError::TooLarge`] if
    /// it is not within the source's space. Nothing is changed.
    fn allocate_range_at(&mut self, extent: Extent) -> Result<(), AllocError>;
}
