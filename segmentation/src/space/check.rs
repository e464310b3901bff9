//! The invariants of [`Spaces`], checked.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, RangeSource, Violation};

use super::Spaces;
use super::objects::ObjectId;
use crate::{Absence, SegmentNumber};

impl<R: RangeSource, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize> CheckInvariants
    for Spaces<R, PROCESSES, SEGMENTS, OBJECTS>
{
    /// O(objects^2 + objects × processes × segments). `at` is an object's index.
    fn check_invariants(&self) -> Result<(), Violation> {
        for (index, object) in self.objects.iter().enumerate() {
            let Some(object) = object else { continue };
            let at = index as u64;
            let others = self.objects.iter().skip(index + 1).flatten().filter_map(|other| other.place);
            let disjoint =
                object.place.is_none_or(|place| others.into_iter().all(|other| !other.overlaps(place)));
            Violation::unless(disjoint, "the places of present objects are disjoint", at)?;
            let segment = object.segment;
            let moving = self.moving.as_ref().is_some_and(|moving| moving.object == ObjectId(index));
            Violation::unless(
                moving == (segment.absence() == Some(Absence::Moving)),
                "what is moved is absent",
                at,
            )?;
            Violation::unless(
                object.pins == 0 || segment.absence().is_none(),
                "a pinned object is present",
                at,
            )?;
            let placed = object.place.is_some_and(|place| {
                place.start() == segment.start().value() && segment.length() <= place.length()
            });
            Violation::unless(placed || segment.absence().is_some(), "a present object has a place", at)?;
            let mut users = 0;
            for process in self.processes.iter().flatten() {
                for (number, _) in
                    (0..).zip(process.objects).filter(|(_, link)| *link == Some(ObjectId(index)))
                {
                    users += 1;
                    let seen = process.table.get(SegmentNumber::new(number));
                    let same =
                        seen.is_some_and(|seen| seen.with_permissions(segment.permissions()) == segment);
                    Violation::unless(same, "each user's descriptor is the object's", at)?;
                }
            }
            Violation::unless(users == object.users, "users are counted", at)?;
        }
        Ok(())
    }
}
