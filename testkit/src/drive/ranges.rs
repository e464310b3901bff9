//! The model of a source of abstract ranges. Safe: a bad free can be tried too.
#![forbid(unsafe_code)]

use core::num::NonZero;
use std::collections::BTreeMap;

use hectare_core::{Extent, RangeRequest, RangeSource, Violation};

use super::{Breach, Counts, Model, Space};
use crate::op::RangeOp;

/// A check of the whole source: broken invariants are its errors.
type Check<S> = fn(&S) -> Result<(), Violation>;

/// A source of ranges and its shadow.
///
/// # Invariants
/// * each entry of `ranges` is a range that the source handed out; `space` has the same
#[derive(Debug)]
pub struct RangeModel<S> {
    source: S,
    ranges: BTreeMap<u32, Extent>,
    space: Space,
    exact: bool,
    complete: bool,
    check: Check<S>,
    check_empty: Check<S>,
    counts: Counts,
}

impl<S: RangeSource> RangeModel<S> {
    /// A model of a source of all of `spaces`, which gives exactly as much as is asked for.
    #[must_use]
    pub fn new(source: S, spaces: &[Extent]) -> Self {
        Self {
            source,
            ranges: BTreeMap::new(),
            space: Space::new(spaces.iter().map(|space| space.start()..space.end()).collect()),
            exact: true,
            complete: false,
            check: |_| Ok(()),
            check_empty: |_| Ok(()),
            counts: Counts::default(),
        }
    }

    /// The source may give more than is asked for.
    #[must_use]
    pub fn rounding_up(mut self) -> Self {
        self.exact = false;
        self
    }

    /// The source refuses a request only if no place would do.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    /// What to check between operations, and when everything was given back.
    #[must_use]
    pub fn checking(mut self, check: Check<S>, check_empty: Check<S>) -> Self {
        (self.check, self.check_empty) = (check, check_empty);
        self
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The ranges and the whole space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn allocate(&mut self, slot: u32, request: RangeRequest) -> Result<(), Breach> {
        self.free(slot)?;
        let extent = match self.source.allocate_range(request) {
            Ok(extent) => extent,
            Err(error) => {
                self.counts.refused += 1;
                let (length, align) = (request.length.get(), request.align.get());
                return if self.complete { self.space.refused(length, align, error) } else { Ok(()) };
            }
        };
        self.counts.allocated += 1;
        let (asked, found) = (request.length.get(), extent.length());
        if found < asked || (self.exact && found != asked) {
            return Err(Breach::Length { asked, found });
        }
        self.space.insert(extent.start(), extent.length(), request.align.get())?;
        self.ranges.insert(slot, extent);
        Ok(())
    }

    fn free(&mut self, slot: u32) -> Result<(), Breach> {
        let Some(extent) = self.ranges.remove(&slot) else { return Ok(()) };
        self.space.remove(extent.start());
        self.counts.freed += 1;
        self.source.free_range(extent).map_err(|error| Breach::FreeRefused { slot, error })?;
        // Once more: nobody holds it now, so it must be refused and change nothing.
        match self.source.free_range(extent) {
            Err(_) => Ok(()),
            Ok(()) => Err(Breach::BadFreeTaken { start: extent.start(), end: extent.end() }),
        }
    }

    fn free_any(&mut self, extent: Extent) -> Result<(), Breach> {
        if let Some((slot, _)) = self.ranges.iter().find(|(_, live)| **live == extent) {
            return self.free(*slot);
        }
        match self.source.free_range(extent) {
            Err(_) => {
                self.counts.refused += 1;
                Ok(())
            }
            Ok(()) => Err(Breach::BadFreeTaken { start: extent.start(), end: extent.end() }),
        }
    }
}

impl<S: RangeSource> Model for RangeModel<S> {
    type Op = RangeOp;

    fn step(&mut self, op: RangeOp) -> Result<(), Breach> {
        let some = |number| NonZero::new(number).unwrap_or(NonZero::<u64>::MIN);
        match op {
            RangeOp::Allocate { slot, length, align } => {
                self.allocate(slot, RangeRequest::new(some(length)).aligned(some(align)))
            }
            RangeOp::Free { slot } => self.free(slot),
            RangeOp::FreeAny { start, length } => match Extent::new(start, length.max(1)) {
                Some(extent) => self.free_any(extent),
                None => Ok(()),
            },
        }
    }

    fn check(&mut self) -> Result<(), Breach> {
        Ok((self.check)(&self.source)?)
    }

    fn finish(&mut self) -> Result<(), Breach> {
        while let Some((slot, _)) = self.ranges.first_key_value() {
            self.free(*slot)?;
        }
        self.check()?;
        (self.check_empty)(&self.source).map_err(|violation| Breach::NotEmpty(violation.to_string()))
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
