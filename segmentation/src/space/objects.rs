//! Objects: the memory behind segments, with whoever uses it.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Extent, RangeRequest, RangeSource, VirtAddr};

use super::{SpaceError, Spaces};
use crate::table::TableError;
use crate::{ProcessId, Segment, SegmentNumber};

/// An index into the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectId(pub(super) usize);

#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    /// Place, length, direction and presence for all users.
    pub(super) segment: Segment,
    /// What the source gave: at least as long as the segment. While the object is being moved: old and new place and
    /// what lies between.
    pub(super) place: Option<Extent>,
    pub(super) align: NonZero<u64>,
    pub(super) users: u32,
    pub(super) pins: u32,
}

impl Object {
    pub(super) const fn new(segment: Segment, place: Option<Extent>, align: NonZero<u64>) -> Self {
        Self { segment, place, align, users: 1, pins: 0 }
    }
}

impl<R: RangeSource, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize>
    Spaces<R, PROCESSES, SEGMENTS, OBJECTS>
{
    pub(super) fn object(&self, id: ObjectId) -> Result<&Object, SpaceError> {
        self.objects.get(id.0).and_then(Option::as_ref).ok_or(SpaceError::Table(TableError::Empty))
    }

    pub(super) fn object_mut(&mut self, id: ObjectId) -> Result<&mut Object, SpaceError> {
        self.objects.get_mut(id.0).and_then(Option::as_mut).ok_or(SpaceError::Table(TableError::Empty))
    }

    pub(super) fn object_of(
        &self,
        process: ProcessId,
        number: SegmentNumber,
    ) -> Result<ObjectId, SpaceError> {
        let process = self.processes.get(process.0).and_then(Option::as_ref).ok_or(SpaceError::NoProcess)?;
        let at = usize::try_from(number.value()).map_err(|_| TableError::NoSuchPlace)?;
        Ok(process.objects.get(at).ok_or(TableError::NoSuchPlace)?.ok_or(TableError::Empty)?)
    }

    pub(super) fn free_object(&self) -> Result<ObjectId, SpaceError> {
        self.objects.iter().position(Option::is_none).map(ObjectId).ok_or(SpaceError::TooManySegments)
    }

    pub(super) fn put_object(&mut self, id: ObjectId, object: Object) {
        if let Some(place) = self.objects.get_mut(id.0) {
            *place = Some(object);
        }
    }

    /// The number that the process's next segment gets.
    pub(super) fn room(&self, process: ProcessId) -> Result<SegmentNumber, SpaceError> {
        let process = self.processes.get(process.0).and_then(Option::as_ref).ok_or(SpaceError::NoProcess)?;
        let at = process.objects.iter().position(Option::is_none).and_then(|at| u32::try_from(at).ok());
        Ok(SegmentNumber::new(at.ok_or(TableError::Full)?))
    }

    /// Enters a segment at a number that [`Self::room`] found.
    pub(super) fn enter(
        &mut self,
        process: ProcessId,
        number: SegmentNumber,
        id: ObjectId,
        segment: Segment,
    ) -> Result<(), SpaceError> {
        let process =
            self.processes.get_mut(process.0).and_then(Option::as_mut).ok_or(SpaceError::NoProcess)?;
        process.table.insert_at(number, segment)?;
        let at = usize::try_from(number.value()).map_err(|_| TableError::NoSuchPlace)?;
        *process.objects.get_mut(at).ok_or(TableError::NoSuchPlace)? = Some(id);
        Ok(())
    }

    /// One user less; the last one gives the memory back.
    pub(super) fn release(&mut self, id: ObjectId) -> Result<(), SpaceError> {
        let object = self.object_mut(id)?;
        object.users -= 1;
        if object.users > 0 {
            return Ok(());
        }
        let place = object.place;
        if let Some(slot) = self.objects.get_mut(id.0) {
            *slot = None;
        }
        if self.moving.as_ref().is_some_and(|moving| moving.object == id) {
            self.moving = None;
        }
        if let Some(place) = place {
            self.source.free_range(place)?;
        }
        Ok(())
    }

    /// A place for an object that has none, and its users told.
    pub(super) fn bring(&mut self, id: ObjectId) -> Result<Extent, SpaceError> {
        let Object { segment, align, .. } = *self.object(id)?;
        let length = NonZero::new(segment.length()).unwrap_or(NonZero::<u64>::MIN);
        let place = self.source.allocate_range(RangeRequest { length, align })?;
        let segment = segment.placed(VirtAddr::new(place.start()))?;
        let object = self.object_mut(id)?;
        (object.segment, object.place) = (segment, Some(place));
        self.publish(id)?;
        Ok(place)
    }

    /// Writes the object's segment into the tables of all its users, each with its own rights.
    pub(super) fn publish(&mut self, id: ObjectId) -> Result<(), SpaceError> {
        let segment = self.object(id)?.segment;
        for process in self.processes.iter_mut().flatten() {
            for (at, link) in (0..).zip(process.objects) {
                if link == Some(id) {
                    let number = SegmentNumber::new(at);
                    let rights = process.table.get(number).ok_or(TableError::Empty)?.permissions();
                    process.table.replace(number, segment.with_permissions(rights))?;
                }
            }
        }
        Ok(())
    }
}
