//! Compaction: segments slide down until what is free is one hole, in steps of a byte budget.
//!
//! ```text
//!  before   ┌──A──┐░░░░┌─B (pinned)─┐░░░░░░┌──C──┐░░┌─D─┐░░░
//!  after    ┌──A──┐░░░░┌─B (pinned)─┐┌──C──┐┌─D─┐░░░░░░░░░░░
//! ```
//! One move: the old place is given back and everything from the new start to the old end is taken, so that nobody else
//! gets a part of it while bytes are on their way. The segment is absent meanwhile ([`Absence::Moving`]). At the end it is
//! given back again and the new place taken, and all users' descriptors change at once.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Extent, PlacedRangeSource, RangeRequest, VirtAddr};

use super::objects::{Object, ObjectId};
use super::{Memory, SpaceError, Spaces};
use crate::Absence;

/// When compaction has reached its aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// No segment can slide further: one hole, if nothing is pinned.
    OneHole,
    /// This can be allocated.
    Fit(RangeRequest),
}

/// What a call of [`Spaces::compact`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Compaction {
    /// How many bytes were copied, at most the budget.
    pub moved: u64,
    /// Whether the goal is reached, or nothing can slide any further. If not, call again.
    pub finished: bool,
}

/// A move that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) object: ObjectId,
    from: u64,
    to: u64,
    length: NonZero<u64>,
    done: u64,
}

impl<R: PlacedRangeSource, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize>
    Spaces<R, PROCESSES, SEGMENTS, OBJECTS>
{
    /// Slides segments towards `lowest`, the lowest address of the source, copying at most `budget` bytes.
    ///
    /// Segments move in ascending order, each at most once until the space changes, so no more bytes are copied than
    /// those of the segments that lie above the lowest hole. Pinned segments stay, and so does a segment whose way is
    /// taken by a range that is not a segment's. Cost beside the copying: O(objects) to find each segment, and
    /// O(processes × segments) for each that moves.
    ///
    /// # Errors
    /// [`SpaceError::Source`] or [`SpaceError::Place`] iff the source breaks its contract.
    pub fn compact(
        &mut self,
        lowest: u64,
        goal: Goal,
        budget: u64,
        memory: &mut impl Memory,
    ) -> Result<Compaction, SpaceError> {
        let mut left = budget;
        let mut floor = lowest;
        loop {
            if let Some(moving) = self.moving {
                let step = left.min(moving.length.get() - moving.done);
                if step > 0 {
                    memory.copy(moving.from + moving.done, moving.to + moving.done, step);
                }
                left -= step;
                let done = moving.done + step;
                self.moving = Some(Move { done, ..moving });
                if done < moving.length.get() {
                    return Ok(Compaction { moved: budget - left, finished: false });
                }
                floor = self.arrive(moving)?;
            }
            if let Goal::Fit(request) = goal {
                if let Ok(place) = self.source.allocate_range(request) {
                    self.source.free_range(place)?;
                    return Ok(Compaction { moved: budget - left, finished: true });
                }
            }
            match self.next(floor) {
                None => return Ok(Compaction { moved: budget - left, finished: true }),
                Some((id, target)) if left > 0 => floor = self.depart(id, target)?,
                Some(_) => return Ok(Compaction { moved: budget - left, finished: false }),
            }
        }
    }

    /// The lowest segment above `floor` that can slide down, and how far: at least to its end of the one before.
    fn next(&self, mut floor: u64) -> Option<(ObjectId, u64)> {
        loop {
            let at_or_above = |object: &Object| object.place.filter(|place| place.start() >= floor);
            let all = self.objects.iter().enumerate();
            let lowest =
                all.filter_map(|(at, object)| Some((at_or_above(object.as_ref()?)?.start(), at))).min();
            let (start, at) = lowest?;
            let object = self.objects.get(at)?.as_ref()?;
            let target = floor.checked_next_multiple_of(object.align.get());
            match target
                .filter(|&target| target < start && object.pins == 0 && object.segment.absence().is_none())
            {
                Some(target) => return Some((ObjectId(at), target)),
                None => floor = object.place?.end(),
            }
        }
    }

    /// Begins a move. Returns where the search goes on if the way is taken.
    fn depart(&mut self, id: ObjectId, to: u64) -> Result<u64, SpaceError> {
        let object = *self.object(id)?;
        let (Some(place), Some(length)) = (object.place, NonZero::new(object.segment.length())) else {
            return Ok(to);
        };
        let Some(way) = Extent::new(to, place.end() - to) else { return Ok(place.end()) };
        self.source.free_range(place)?;
        if self.source.allocate_range_at(way).is_err() {
            self.source.allocate_range_at(place)?;
            return Ok(place.end());
        }
        let object = self.object_mut(id)?;
        (object.segment, object.place) = (object.segment.absent(Absence::Moving), Some(way));
        self.moving = Some(Move { object: id, from: place.start(), to, length, done: 0 });
        self.publish(id)?;
        Ok(to)
    }

    /// Ends a move: the segment is present at its new place. Returns its end.
    fn arrive(&mut self, moving: Move) -> Result<u64, SpaceError> {
        self.moving = None;
        let object = *self.object(moving.object)?;
        let (Some(way), Some(place)) = (object.place, Extent::new(moving.to, moving.length.get())) else {
            return Ok(moving.to);
        };
        self.source.free_range(way)?;
        self.source.allocate_range_at(place)?;
        let segment = object.segment.placed(VirtAddr::new(moving.to))?;
        let object = self.object_mut(moving.object)?;
        (object.segment, object.place) = (segment, Some(place));
        if cfg!(not(hectare_plant = "segment_base_kept")) {
            self.publish(moving.object)?;
        }
        Ok(place.end())
    }
}
