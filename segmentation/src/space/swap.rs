//! Swapping: a segment's bytes go to backing store and come back, to any place.
#![forbid(unsafe_code)]

use hectare_core::{Extent, RangeSource};
use thiserror::Error;

use super::{ProcessId, SpaceError, Spaces};
use crate::{Absence, SegmentNumber};

/// Why a segment was not swapped. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SwapError<E> {
    /// The operation is not possible.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The backing store failed.
    #[error("the backing store failed: {0}")]
    Store(E),
}

impl<R: RangeSource, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize>
    Spaces<R, PROCESSES, SEGMENTS, OBJECTS>
{
    /// Saves a segment with `save`, then gives its memory back. All its users fault with [`Absence::Swapped`] from then
    /// on. O(processes × segments), one free, and the saving.
    ///
    /// # Errors
    /// [`SwapError`]: no such segment, not present, [`SpaceError::Pinned`], or what `save` said.
    pub fn swap_out<E>(
        &mut self,
        process: ProcessId,
        number: SegmentNumber,
        slot: u32,
        save: impl FnOnce(Extent) -> Result<(), E>,
    ) -> Result<(), SwapError<E>> {
        let id = self.object_of(process, number)?;
        let object = *self.object(id)?;
        if object.pins > 0 {
            return Err(SpaceError::Pinned.into());
        }
        let bytes = Extent::new(object.segment.start().value(), object.segment.length());
        let (None, Some(place), Some(bytes)) = (object.segment.absence(), object.place, bytes) else {
            return Err(
                SpaceError::NotPresent(object.segment.absence().unwrap_or(Absence::Unallocated)).into()
            );
        };
        save(bytes).map_err(SwapError::Store)?;
        let object = self.object_mut(id)?;
        (object.segment, object.place) = (object.segment.absent(Absence::Swapped(slot)), None);
        self.publish(id)?;
        self.source.free_range(place).map_err(SpaceError::Source)?;
        Ok(())
    }

    /// Brings a segment back to any place, its bytes read with `load` from the slot where they are. O(processes ×
    /// segments), one allocation, and the loading.
    ///
    /// # Errors
    /// [`SwapError`]: no such segment, [`SpaceError::Present`], no place, or what `load` said; then it stays swapped.
    pub fn swap_in<E>(
        &mut self,
        process: ProcessId,
        number: SegmentNumber,
        load: impl FnOnce(u32, Extent) -> Result<(), E>,
    ) -> Result<(), SwapError<E>> {
        let id = self.object_of(process, number)?;
        let before = *self.object(id)?;
        let slot = match before.segment.absence() {
            Some(Absence::Swapped(slot)) => slot,
            Some(why) => return Err(SpaceError::NotPresent(why).into()),
            None => return Err(SpaceError::Present.into()),
        };
        let place = self.bring(id)?;
        let bytes = Extent::new(place.start(), before.segment.length()).unwrap_or(place);
        if let Err(error) = load(slot, bytes) {
            *self.object_mut(id)? = before;
            self.publish(id)?;
            self.source.free_range(place).map_err(SpaceError::Source)?;
            return Err(SwapError::Store(error));
        }
        Ok(())
    }
}
