//! Why an access through a segment is refused: who asked for what, and which rule it met.
#![forbid(unsafe_code)]

use hectare_core::{Access, Permissions};
use thiserror::Error;

use crate::{Absence, SegmentNumber};

/// A refused access. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{access} of {bytes} bytes at segment {segment}, offset {offset:#x}: {cause}")]
pub struct Fault {
    /// The segment that was named.
    pub segment: SegmentNumber,
    /// The first byte of the access within the segment.
    pub offset: u64,
    /// The length of the access.
    pub bytes: u64,
    /// What was attempted.
    pub access: Access,
    /// The rule that refused it.
    pub cause: Cause,
}

/// The rule that refused an access.
///
/// Rules are tried in the order in which they stand here, and the first that refuses is named. Presence is tried after
/// the rights: an access that is forbidden anyway must not bring a segment in from the disk. The x86 orders the loading
/// of a selector in the same way (type and privilege before presence; seen on a CPU, 300 000 random descriptors).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The table has no such segment.
    #[error("no such segment")]
    NoSegment,
    /// The segment register was loaded before the segment changed: load it again.
    #[error("the segment register is stale")]
    Stale,
    /// A program touched a segment that is for the kernel alone.
    #[error("the segment is the kernel's")]
    Privilege,
    /// The segment's rights do not include the access.
    #[error("the segment permits {permissions} only")]
    Protection {
        /// What the segment permits.
        permissions: Permissions,
    },
    /// The segment is not in memory.
    #[error("the segment is not present: {0}")]
    NotPresent(Absence),
    /// The access would end past the last offset that there is, 2^64 − 1.
    #[error("the access wraps around the offset space")]
    Overflow,
    /// The access, or a part of it, lies outside the segment.
    #[error("outside the segment's {length:#x} bytes from offset {first:#x}")]
    Limit {
        /// The segment's lowest legal offset: 0 unless it grows down.
        first: u64,
        /// How many bytes are legal from there.
        length: u64,
    },
}
