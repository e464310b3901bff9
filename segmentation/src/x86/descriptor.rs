//! Descriptors of eight bytes: code and data segments, and the sum of all kinds (SDM 3A, 3.4.5).
//!
//! ```text
//!  63      56 55 54 53 52 51   48 47 46 45 44 43   40 39      32 31            16 15             0
//! ┌──────────┬──┬──┬──┬──┬───────┬──┬─────┬──┬───────┬──────────┬────────────────┬────────────────┐
//! │base 31:24│G │DB│L │AV│ limit │P │ DPL │S │ type  │base 23:16│   base 15:0    │   limit 15:0   │
//! │          │  │  │  │L │ 19:16 │  │     │  │       │          │                │                │
//! └──────────┴──┴──┴──┴──┴───────┴──┴─────┴──┴───────┴──────────┴────────────────┴────────────────┘
//!   type with S = 1:  1 C R A  code: conforming, readable, accessed
//!                     0 E W A  data: expand-down, writable, accessed
//! ```
#![forbid(unsafe_code)]

use hectare_core::Permissions;
use thiserror::Error;

use super::{Gate, Limit, Ring, SystemDescriptor};
use crate::{Growth, Segment};

/// What an entry of eight bytes means. Every 64-bit number is exactly one of these, and encodes back to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// A code or data segment (S = 1).
    Segment(SegmentDescriptor),
    /// A system segment: task state or a local descriptor table, or a reserved type.
    System(SystemDescriptor),
    /// A gate.
    Gate(Gate),
}

impl Descriptor {
    /// What `raw` means. Total: no number is refused.
    #[must_use]
    pub const fn decode(raw: u64) -> Self {
        if raw >> 44 & 1 != 0 {
            return Self::Segment(SegmentDescriptor::from_raw(raw));
        }
        match Gate::from_raw(raw) {
            Some(gate) => Self::Gate(gate),
            None => Self::System(SystemDescriptor::from_raw(raw)),
        }
    }

    /// The eight bytes as a number, the inverse of [`Self::decode`].
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Segment(segment) => segment.encode(),
            Self::System(system) => system.encode(),
            Self::Gate(gate) => gate.encode(),
        }
    }
}

/// What a code or data segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data: always readable.
    Data {
        /// Legal offsets lie above the limit instead of up to it.
        expand_down: bool,
        /// It may be written.
        writable: bool,
    },
    /// Code: always executable, never writable.
    Code {
        /// Less privileged code may jump there and keeps its privilege.
        conforming: bool,
        /// It may be read as data.
        readable: bool,
    },
}

/// A code or data segment. Every field of the eight bytes is here, so nothing is lost by decoding.
///
/// ```
/// use hectare_core::{AccessKind, Permissions, VirtAddr};
/// use hectare_segmentation::Segment;
/// use hectare_segmentation::x86::{Descriptor, EncodeError, Ring, SegmentDescriptor};
///
/// // 20 KiB of data for a program at 0x60_0000. The limit is the last legal offset, one less than the length.
/// let rights = Permissions::READ | Permissions::WRITE;
/// let segment = Segment::up(VirtAddr::new(0x60_0000), 0x5000, rights)?;
/// let data = SegmentDescriptor::from_segment(&segment, Ring::Ring3)?;
/// assert_eq!(data.limit.last(), 0x4FFF);
/// assert_eq!(data.encode(), 0x0040_F260_0000_4FFF);
/// assert_eq!(Descriptor::decode(data.encode()), Descriptor::Segment(data));
///
/// // What the CPU does with an access through it.
/// assert_eq!(data.access(0x4FFC, 4, AccessKind::Write), Some(0x60_4FFC));
/// assert_eq!(data.access(0x4FFD, 4, AccessKind::Write), None); // #GP
///
/// // Above 1 MiB a limit counts pages. What no descriptor says exactly is refused, not rounded.
/// let odd = Segment::up(VirtAddr::new(0), 0x10_0001, rights)?;
/// assert_eq!(SegmentDescriptor::from_segment(&odd, Ring::Ring3), Err(EncodeError::Length));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentDescriptor {
    /// The linear address of the offset 0.
    pub base: u32,
    /// The last legal offset, or for expand-down data the last illegal one.
    pub limit: Limit,
    /// Code or data, with its rights.
    pub kind: Kind,
    /// The weakest privilege that may load it (for conforming code: the strongest).
    pub ring: Ring,
    /// P: loading it does not fault.
    pub present: bool,
    /// A: the CPU sets it when it loads the descriptor.
    pub accessed: bool,
    /// AVL: the system's own bit.
    pub available: bool,
    /// L: 64-bit code. Requires `big` to be clear.
    pub long: bool,
    /// D/B: 32-bit operands, stack pointer and, for expand-down data, offsets up to 2^32 − 1 instead of 2^16 − 1.
    pub big: bool,
}

/// Why a segment has no such descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A part of it lies above 2^32 − 1.
    #[error("the segment does not lie within the first 4 GiB")]
    Base,
    /// A segment that grows up has at least one byte.
    #[error("an empty segment has no limit")]
    Empty,
    /// Lengths above 1 MiB are multiples of 4 KiB.
    #[error("no limit gives exactly this length: the nearest lengths are multiples of 4 KiB")]
    Length,
    /// Offsets of an expand-down segment end at 2^16 − 1 or at 2^32 − 1.
    #[error("offsets of a segment that grows down end at 2^16 - 1 or at 2^32 - 1")]
    Last,
    /// Code cannot be written, data cannot be executed, data can always be read.
    #[error("no descriptor has the rights {0}")]
    Permissions(Permissions),
}

impl SegmentDescriptor {
    /// Flat 32-bit code of a ring: 4 GiB from 0, execute and read.
    #[must_use]
    pub const fn flat_code32(ring: Ring) -> Self {
        Self::flat(Kind::Code { conforming: false, readable: true }, ring, false)
    }

    /// Flat 32-bit data of a ring: 4 GiB from 0, read and write. A 64-bit kernel uses the same.
    #[must_use]
    pub const fn flat_data(ring: Ring) -> Self {
        Self::flat(Kind::Data { expand_down: false, writable: true }, ring, false)
    }

    /// 64-bit code of a ring: base and limit mean nothing there.
    #[must_use]
    pub const fn code64(ring: Ring) -> Self {
        Self::flat(Kind::Code { conforming: false, readable: true }, ring, true)
    }

    /// The descriptor that gives exactly this segment to a ring: 32-bit, and absent if the segment is.
    ///
    /// # Errors
    /// [`EncodeError`], iff none does.
    pub const fn from_segment(segment: &Segment, ring: Ring) -> Result<Self, EncodeError> {
        let rights = segment.permissions().difference(Permissions::USER);
        let kind = match rights.bits() {
            bits if bits == READ => Kind::Data { expand_down: false, writable: false },
            bits if bits == READ | WRITE => Kind::Data { expand_down: false, writable: true },
            bits if bits == EXECUTE => Kind::Code { conforming: false, readable: false },
            bits if bits == READ | EXECUTE => Kind::Code { conforming: false, readable: true },
            _ => return Err(EncodeError::Permissions(rights)),
        };
        let (start, length) = (segment.start().value(), segment.length());
        if length == 0 && matches!(segment.growth(), Growth::Up) {
            return Err(EncodeError::Empty);
        }
        if start >> 32 != 0 || (start + length.saturating_sub(1)) >> 32 != 0 {
            return Err(EncodeError::Base);
        }
        let (base, last, kind, big) = match (segment.growth(), kind) {
            (Growth::Up, kind) => (start, length - 1, kind, true),
            (Growth::Down, Kind::Data { writable, .. }) => {
                let end = segment.first() + length;
                let big = match end {
                    0x1_0000 => false,
                    0x1_0000_0000 => true,
                    _ => return Err(EncodeError::Last),
                };
                // Legal offsets begin one above the limit, and a limit of −1 does not exist.
                let Some(last) = segment.first().checked_sub(1) else { return Err(EncodeError::Length) };
                // The base is what the offset 0 would have, modulo 2^32.
                (
                    start.wrapping_sub(segment.first()) & 0xFFFF_FFFF,
                    last,
                    Kind::Data { expand_down: true, writable },
                    big,
                )
            }
            (Growth::Down, Kind::Code { .. }) => return Err(EncodeError::Permissions(rights)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "both are below 2^32: checked above")]
        let (base, last) = (base as u32, last as u32);
        let Some(limit) = Limit::from_last(last) else { return Err(EncodeError::Length) };
        Ok(Self {
            base,
            limit,
            kind,
            ring,
            present: segment.absence().is_none(),
            accessed: false,
            available: false,
            long: false,
            big,
        })
    }

    /// The eight bytes as a number.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let kind = match self.kind {
            Kind::Data { expand_down, writable } => (expand_down as u64) << 2 | (writable as u64) << 1,
            Kind::Code { conforming, readable } => 8 | (conforming as u64) << 2 | (readable as u64) << 1,
        };
        base_to_raw(self.base)
            | self.limit.to_raw()
            | (kind | self.accessed as u64) << 40
            | 1 << 44
            | (self.ring.bits() as u64) << 45
            | (self.present as u64) << 47
            | (self.available as u64) << 52
            | (self.long as u64) << 53
            | (self.big as u64) << 54
    }

    const fn flat(kind: Kind, ring: Ring, long: bool) -> Self {
        Self {
            base: 0,
            limit: Limit::FLAT,
            kind,
            ring,
            present: true,
            accessed: false,
            available: false,
            long,
            big: !long,
        }
    }

    pub(super) const fn from_raw(raw: u64) -> Self {
        let (second, first) = (raw >> 42 & 1 != 0, raw >> 41 & 1 != 0);
        Self {
            base: base_from_raw(raw),
            limit: Limit::from_raw(raw),
            kind: if raw >> 43 & 1 != 0 {
                Kind::Code { conforming: second, readable: first }
            } else {
                Kind::Data { expand_down: second, writable: first }
            },
            ring: Ring::from_bits((raw >> 45 & 3) as u8),
            present: raw >> 47 & 1 != 0,
            accessed: raw >> 40 & 1 != 0,
            available: raw >> 52 & 1 != 0,
            long: raw >> 53 & 1 != 0,
            big: raw >> 54 & 1 != 0,
        }
    }
}

const READ: u8 = Permissions::READ.bits();
const WRITE: u8 = Permissions::WRITE.bits();
const EXECUTE: u8 = Permissions::EXECUTE.bits();

/// Base 23:0 at bits 39:16, base 31:24 at bits 63:56.
pub(super) const fn base_to_raw(base: u32) -> u64 {
    (base as u64 & 0xFF_FFFF) << 16 | (base as u64 >> 24) << 56
}

pub(super) const fn base_from_raw(raw: u64) -> u32 {
    (raw >> 16 & 0xFF_FFFF) as u32 | ((raw >> 56) as u32) << 24
}
