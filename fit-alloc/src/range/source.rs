//! The family's trait for ranges.
#![forbid(unsafe_code)]

use hectare_core::{AllocError, Extent, FreeError, PlacedRangeSource, RangeRequest, RangeSource};

use super::{RangeAllocator, RangeError, Storage, Unit};
use crate::policy::Policy;

impl<P: Policy, U: Unit, S: Storage<U>> RangeSource for RangeAllocator<P, U, S> {
    /// Exactly as long as asked, except under half fit. A request that the units cannot express is
    /// [`AllocError::TooLarge`]; a full table counts as out of memory.
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError> {
        let length = U::of(request.length.get()).ok_or(AllocError::TooLarge)?;
        // No unit but 0 is a multiple of an alignment beyond the greatest number.
        let block = match U::of(request.align.get()) {
            Some(align) => self.allocate_aligned(length, align)?,
            None => self.allocate_at(U::ZERO, length)?,
        };
        Extent::new(block.start.into(), block.length.into()).ok_or(AllocError::TooLarge)
    }

    /// O(1) expected if the storage has buckets, else linear.
    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError> {
        let start = U::of(extent.start()).ok_or(FreeError::Foreign)?;
        let length = U::of(extent.length()).ok_or(FreeError::WrongSize)?;
        match self.free_at(start, length) {
            Ok(_) => Ok(()),
            Err(RangeError::BadHandle(error)) => Err(error),
            Err(_) => Err(FreeError::NotAllocated),
        }
    }
}

impl<P: Policy, U: Unit, S: Storage<U>> PlacedRangeSource for RangeAllocator<P, U, S> {
    /// The cost of [`RangeAllocator::allocate_at`].
    fn allocate_range_at(&mut self, extent: Extent) -> Result<(), AllocError> {
        let start = U::of(extent.start()).ok_or(AllocError::TooLarge)?;
        let length = U::of(extent.length()).ok_or(AllocError::TooLarge)?;
        self.allocate_at(start, length)?;
        Ok(())
    }
}
