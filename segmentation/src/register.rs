//! A segment register: a segment's descriptor, loaded once and used many times.
#![forbid(unsafe_code)]

use hectare_core::{Access, VirtAddr};

use crate::{Cause, Fault, Segment, SegmentNumber};

/// A copy of a segment's descriptor, stamped with its generation.
///
/// Like the hidden part of an x86 segment register it goes on translating by the copy after the table changed.
/// [`Table::translate_loaded`](crate::Table::translate_loaded) asks the table first and refuses a stale one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRegister {
    segment: Segment,
    number: SegmentNumber,
    generation: u32,
}

impl SegmentRegister {
    pub(crate) const fn new(number: SegmentNumber, generation: u32, segment: Segment) -> Self {
        Self { segment, number, generation }
    }

    /// The number under which the segment was loaded.
    #[must_use]
    pub const fn number(&self) -> SegmentNumber {
        self.number
    }

    /// The descriptor as it was when it was loaded.
    #[must_use]
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Translates by the loaded copy, current or not. O(1).
    ///
    /// # Errors
    /// The [`Fault`] of the segment's rules, as they were when it was loaded.
    #[inline]
    pub fn translate(&self, offset: u64, bytes: u64, access: Access) -> Result<VirtAddr, Fault> {
        match self.segment.translate(offset, bytes, access) {
            Some(address) => Ok(address),
            None => Err(self.fault(offset, bytes, access)),
        }
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    #[cold]
    fn fault(&self, offset: u64, bytes: u64, access: Access) -> Fault {
        let cause = self.segment.refusal(offset, bytes, access).unwrap_or(Cause::Overflow);
        Fault { segment: self.number, offset, bytes, access, cause }
    }
}
