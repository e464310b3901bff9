//! System segments: task state and local descriptor tables, of 8 bytes and, in 64-bit mode, of 16 (SDM 3A, 3.5, 8.2.3).
//!
//! ```text
//!  8 bytes: as a segment's, S = 0         16 bytes: a second number above
//!                                         127      109 108  104 103    96 95              64
//!   type 1 TSS 16-bit     3 … busy       ┌────────────┬────────┬─────────┬──────────────────┐
//!        2 LDT                           │  reserved  │ must 0 │reserved │    base 63:32    │
//!        9 TSS 32/64-bit  B … busy       └────────────┴────────┴─────────┴──────────────────┘
//! ```
#![forbid(unsafe_code)]

use super::descriptor::{base_from_raw, base_to_raw};
use super::{Limit, Ring};

/// A system segment of eight bytes. Reserved types and bits are kept, so that nothing is lost by decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemDescriptor {
    /// The linear address of its first byte.
    pub base: u32,
    /// Its last offset.
    pub limit: Limit,
    /// The four type bits: 1 and 3 a 16-bit task state, free and busy; 2 a local descriptor table; 9 and 11 a 32-bit
    /// task state, free and busy; others are gates or reserved.
    pub kind: u8,
    /// The weakest privilege that may name it in a task switch.
    pub ring: Ring,
    /// P.
    pub present: bool,
    /// AVL: the system's own bit.
    pub available: bool,
    /// Bits 53 and 54, which mean nothing here.
    pub reserved: u8,
}

impl SystemDescriptor {
    /// A local descriptor table of `entries` × 8 bytes; `None` unless 1 to 8192 entries.
    #[must_use]
    pub const fn ldt(base: u32, entries: u32) -> Option<Self> {
        if entries == 0 || entries > 8192 {
            return None;
        }
        Self::new(base, entries * 8 - 1, 2)
    }

    /// A 32-bit task state that is not busy. Its last offset is at least 103; an I/O permission map makes it larger.
    #[must_use]
    pub const fn tss32(base: u32, last: u32) -> Option<Self> {
        if last < 103 { None } else { Self::new(base, last, 9) }
    }

    const fn new(base: u32, last: u32, kind: u8) -> Option<Self> {
        match Limit::from_last(last) {
            Some(limit) => Some(Self {
                base,
                limit,
                kind,
                ring: Ring::Ring0,
                present: true,
                available: false,
                reserved: 0,
            }),
            None => None,
        }
    }

    /// The eight bytes as a number.
    #[must_use]
    pub const fn encode(self) -> u64 {
        base_to_raw(self.base)
            | self.limit.to_raw()
            | (self.kind as u64 & 0xF) << 40
            | (self.ring.bits() as u64) << 45
            | (self.present as u64) << 47
            | (self.available as u64) << 52
            | (self.reserved as u64 & 3) << 53
    }

    pub(super) const fn from_raw(raw: u64) -> Self {
        Self {
            base: base_from_raw(raw),
            limit: Limit::from_raw(raw),
            kind: (raw >> 40 & 0xF) as u8,
            ring: Ring::from_bits((raw >> 45 & 3) as u8),
            present: raw >> 47 & 1 != 0,
            available: raw >> 52 & 1 != 0,
            reserved: (raw >> 53 & 3) as u8,
        }
    }
}

/// What a system segment of 16 bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LongSystemKind {
    /// A local descriptor table.
    Ldt,
    /// A 64-bit task state.
    Tss {
        /// A CPU's task register holds it.
        busy: bool,
    },
}

/// A system segment of 64-bit mode: two entries of the global table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LongSystem {
    /// The linear address of its first byte.
    pub base: u64,
    /// Its last offset.
    pub limit: Limit,
    /// Local descriptor table or task state.
    pub kind: LongSystemKind,
    /// The weakest privilege that may name it.
    pub ring: Ring,
    /// P.
    pub present: bool,
    /// AVL: the system's own bit.
    pub available: bool,
}

impl LongSystem {
    /// A 64-bit task state that is not busy. Its last offset is at least 103; an I/O permission map makes it larger.
    #[must_use]
    pub const fn tss(base: u64, last: u32) -> Option<Self> {
        match Limit::from_last(last) {
            Some(limit) if last >= 103 => Some(Self {
                base,
                limit,
                kind: LongSystemKind::Tss { busy: false },
                ring: Ring::Ring0,
                present: true,
                available: false,
            }),
            _ => None,
        }
    }

    /// The two entries, the lower one first.
    #[must_use]
    pub const fn encode(self) -> [u64; 2] {
        let kind = match self.kind {
            LongSystemKind::Ldt => 2,
            LongSystemKind::Tss { busy: false } => 9,
            LongSystemKind::Tss { busy: true } => 11,
        };
        #[expect(clippy::cast_possible_truncation, reason = "the upper half goes to the second entry")]
        let base = self.base as u32;
        let low = SystemDescriptor {
            base,
            limit: self.limit,
            kind,
            ring: self.ring,
            present: self.present,
            available: self.available,
            reserved: 0,
        };
        [low.encode(), self.base >> 32]
    }

    /// What the two entries mean; `None` iff the type is no system segment of 64-bit mode or bits 104 to 108, which
    /// the CPU checks, are set. Other reserved bits are ignored, as by the CPU.
    #[must_use]
    pub const fn decode([low, high]: [u64; 2]) -> Option<Self> {
        if low >> 44 & 1 != 0 || high >> 40 & 0x1F != 0 {
            return None;
        }
        let system = SystemDescriptor::from_raw(low);
        let kind = match system.kind {
            2 => LongSystemKind::Ldt,
            9 => LongSystemKind::Tss { busy: false },
            11 => LongSystemKind::Tss { busy: true },
            _ => return None,
        };
        Some(Self {
            base: high << 32 | system.base as u64,
            limit: system.limit,
            kind,
            ring: system.ring,
            present: system.present,
            available: system.available,
        })
    }
}
