//! One segment: which offsets it has, where its bytes lie, and who may do what with them.
//!
//! ```text
//!  grows up                              grows down (a stack)
//!  offset 0        length                          first           last
//!         ├──────────┤· · · · ►               ◄ · · · ├──────────────┤
//!         │          │                                │              │
//!       base     base + length                 base + first     base + last     (sums modulo 2^64)
//! ```
//! Both directions are one comparison: an access of n bytes at offset o is within the segment iff `o − first < length`
//! and `n ≤ length − (o − first)`.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{Access, AccessKind, Permissions, Privilege, VirtAddr};
use thiserror::Error;

use crate::Cause;

/// The number by which a program names a segment: its index in the process's segment table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u32);

impl SegmentNumber {
    /// The segment with this index.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The index.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Towards which end a segment can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Growth {
    /// Legal offsets begin at 0; growing adds offsets above.
    Up,
    /// Legal offsets end at a fixed last one; growing adds offsets below. A stack.
    Down,
}

/// Why a segment that exists is not in memory.
///
/// The Burroughs B5000 told the first two apart by the address in an absent descriptor: zero meant never allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Absence {
    /// It never had memory: allocate on the first touch.
    #[error("never allocated")]
    Unallocated,
    /// Its contents are on backing store, in this slot.
    #[error("swapped out to slot {0}")]
    Swapped(u32),
    /// It is being moved: retry after the move.
    #[error("being moved")]
    Moving,
}

/// Why a segment cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// Its last byte would lie above 2^64 − 1.
    #[error("the segment's memory would wrap around the address space")]
    Wraps,
    /// It grows down and is longer than the offsets up to its last one.
    #[error("the segment is longer than the offsets up to its last one")]
    TooLong,
}

/// A segment's descriptor.
///
/// - Its bytes lie at `[start, start + length)`, which does not wrap.
/// - Its legal offsets are `[first, first + length)`, which does not wrap; `first` is 0 unless it grows down.
/// - It does *not* prove that memory is there, nor that no other segment shares it: the space that places segments does.
///
/// ```
/// use hectare_core::{Access, Permissions, VirtAddr};
/// use hectare_segmentation::{Segment, SegmentError};
///
/// // A stack of 8 KiB in 32-bit offsets: they end at 2^32 - 1, and a longer one has more offsets below.
/// let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
/// let stack = Segment::down(VirtAddr::new(0x7000), 0x2000, 0xFFFF_FFFF, rights)?;
/// assert_eq!(stack.first(), 0xFFFF_E000);
/// assert_eq!(stack.translate(0xFFFF_FFFC, 4, Access::user_write()), Some(VirtAddr::new(0x8FFC)));
/// assert_eq!(stack.translate(0xFFFF_DFFC, 4, Access::user_write()), None); // below its lowest offset
/// assert_eq!(stack.offset_of(VirtAddr::new(0x7000)), Some(0xFFFF_E000));
/// assert_eq!(Segment::down(VirtAddr::new(0), 0x2000, 0xFFF, rights), Err(SegmentError::TooLong));
/// # Ok::<(), SegmentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    first: u64,
    length: u64,
    start: u64,
    permissions: Permissions,
    growth: Growth,
    absence: Option<Absence>,
}

impl Segment {
    /// A present segment whose legal offsets are `[0, length)`, with its first byte at `start`.
    ///
    /// # Errors
    /// [`SegmentError::Wraps`] iff its last byte would lie above 2^64 − 1.
    pub const fn up(start: VirtAddr, length: u64, permissions: Permissions) -> Result<Self, SegmentError> {
        if start.value().checked_add(length.saturating_sub(1)).is_none() {
            return Err(SegmentError::Wraps);
        }
        Ok(Self { first: 0, length, start: start.value(), permissions, growth: Growth::Up, absence: None })
    }

    /// A present segment whose legal offsets are the `length` ones up to and with `last`, with the lowest at `start`.
    ///
    /// For a 32-bit stack segment `last` is 2^32 − 1.
    ///
    /// # Errors
    /// [`SegmentError::Wraps`] as for [`Self::up`]; [`SegmentError::TooLong`] iff `length` exceeds `last + 1`.
    pub const fn down(
        start: VirtAddr,
        length: u64,
        last: u64,
        permissions: Permissions,
    ) -> Result<Self, SegmentError> {
        match Self::up(start, length, permissions) {
            Ok(_) if length != 0 && length - 1 > last => Err(SegmentError::TooLong),
            Ok(up) => Ok(Self {
                // An empty one with last = 2^64 − 1 would begin past the offset space: any first does for it.
                first: if length == 0 { last } else { last - (length - 1) },
                growth: Growth::Down,
                ..up
            }),
            Err(error) => Err(error),
        }
    }

    /// The same segment, but not in memory.
    #[must_use]
    pub const fn absent(self, why: Absence) -> Self {
        Self { absence: Some(why), ..self }
    }

    /// The same segment, in memory with its lowest byte at `start`.
    ///
    /// # Errors
    /// [`SegmentError::Wraps`] iff its last byte would lie above 2^64 − 1.
    pub const fn placed(self, start: VirtAddr) -> Result<Self, SegmentError> {
        match Self::up(start, self.length, self.permissions) {
            Ok(_) => Ok(Self { start: start.value(), absence: None, ..self }),
            Err(error) => Err(error),
        }
    }

    /// The same segment with other rights, as another process may have it.
    #[must_use]
    pub const fn with_permissions(self, permissions: Permissions) -> Self {
        Self { permissions, ..self }
    }

    /// Where its lowest byte lies (or lay, while it is absent).
    #[must_use]
    pub const fn start(&self) -> VirtAddr {
        VirtAddr::new(self.start)
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The lowest legal offset.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// What its users may do.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// Towards which end it can grow.
    #[must_use]
    pub const fn growth(&self) -> Growth {
        self.growth
    }

    /// Why it is not in memory; `None` if it is.
    #[must_use]
    pub const fn absence(&self) -> Option<Absence> {
        self.absence
    }

    /// The linear address of `bytes` bytes at `offset`, all of them legal; `None` if any rule refuses. O(1).
    ///
    /// The quick answer: [`Self::refusal`] tells which rule it was.
    #[inline]
    #[must_use]
    pub const fn translate(&self, offset: u64, bytes: u64, access: Access) -> Option<VirtAddr> {
        let within = offset.wrapping_sub(self.first);
        if within < self.length
            && bytes <= self.length - within
            && self.permissions.contains(needed(access))
            && self.absence.is_none()
        {
            Some(VirtAddr::new(self.start.wrapping_add(within)))
        } else {
            None
        }
    }

    /// The rule that refuses such an access, in the order of [`Cause`]; `None` if it is legal. O(1).
    #[must_use]
    pub const fn refusal(&self, offset: u64, bytes: u64, access: Access) -> Option<Cause> {
        if matches!(access.privilege, Privilege::User) && !self.permissions.contains(Permissions::USER) {
            return Some(Cause::Privilege);
        }
        if !self.permissions.allow(access) {
            return Some(Cause::Protection { permissions: self.permissions });
        }
        if let Some(why) = self.absence {
            return Some(Cause::NotPresent(why));
        }
        if bytes != 0 && offset.checked_add(bytes - 1).is_none() {
            return Some(Cause::Overflow);
        }
        let within = offset.wrapping_sub(self.first);
        if within < self.length && bytes <= self.length - within {
            return None;
        }
        Some(Cause::Limit { first: self.first, length: self.length })
    }

    /// The offset of the byte at the linear `address`, if the segment is present and has that byte. O(1).
    #[must_use]
    pub const fn offset_of(&self, address: VirtAddr) -> Option<u64> {
        let within = address.value().wrapping_sub(self.start);
        if within < self.length && self.absence.is_none() {
            Some(self.first.wrapping_add(within))
        } else {
            None
        }
    }
}

/// The rights that an access needs, all of them.
#[inline]
const fn needed(access: Access) -> Permissions {
    let right = match access.kind {
        AccessKind::Read => Permissions::READ,
        AccessKind::Write => Permissions::WRITE,
        AccessKind::Execute => Permissions::EXECUTE,
    };
    match access.privilege {
        Privilege::Kernel => right,
        Privilege::User => right.union(Permissions::USER),
    }
}
