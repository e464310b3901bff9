//! What the CPU does with a selector and with an access, in protected mode with 32-bit addresses (SDM 3A, 5.2 to 5.8).
//!
//! ```text
//!  load:    null ─► index within the table ─► type ─► privilege ─► present     in this order: the first that fails faults
//!  access:  not null ─► right ─► limit
//! ```
//! The order on loading and the limit checks were compared with a CPU: the tests do it again where they can.
#![forbid(unsafe_code)]

use hectare_core::AccessKind;
use thiserror::Error;

use super::{Descriptor, Kind, Ring, SegmentDescriptor, Selector, SelectorTable};

/// An exception with its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Exception {
    /// Vector 11.
    #[error("#NP({0:#x})")]
    NotPresent(u16),
    /// Vector 12.
    #[error("#SS({0:#x})")]
    Stack(u16),
    /// Vector 13.
    #[error("#GP({0:#x})")]
    Protection(u16),
}

impl Exception {
    /// The vector and the error code.
    #[must_use]
    pub const fn vector(self) -> (u8, u16) {
        match self {
            Self::NotPresent(code) => (11, code),
            Self::Stack(code) => (12, code),
            Self::Protection(code) => (13, code),
        }
    }
}

/// The two tables as a CPU has them: entries of eight bytes.
#[derive(Clone, Copy, Debug)]
pub struct TableView<'a> {
    /// The global table, the null entry first.
    pub global: &'a [u64],
    /// The local table; empty if there is none.
    pub local: &'a [u64],
}

/// What a segment register is after loading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The null selector: every access faults.
    Null,
    /// The hidden part.
    Segment(SegmentDescriptor),
}

impl TableView<'_> {
    /// Loads DS, ES, FS or GS. O(1).
    ///
    /// # Errors
    /// The exception that the CPU would raise.
    pub fn load_data(&self, selector: Selector, current: Ring) -> Result<Loaded, Exception> {
        if selector.is_null() {
            return Ok(Loaded::Null);
        }
        let refused = Exception::Protection(selector.error_code());
        let segment = self.segment(selector).ok_or(refused)?;
        if cfg!(hectare_plant = "present_before_type") && !segment.present {
            return Err(Exception::NotPresent(selector.error_code()));
        }
        let checks_privilege = match segment.kind {
            Kind::Code { readable: false, .. } => return Err(refused),
            Kind::Code { conforming, .. } => !conforming,
            Kind::Data { .. } => true,
        };
        if checks_privilege && current.max(selector.requested()) > segment.ring {
            return Err(refused);
        }
        if !segment.present {
            return Err(Exception::NotPresent(selector.error_code()));
        }
        Ok(Loaded::Segment(segment))
    }

    /// Loads SS. O(1).
    ///
    /// # Errors
    /// The exception that the CPU would raise.
    pub fn load_stack(&self, selector: Selector, current: Ring) -> Result<SegmentDescriptor, Exception> {
        let refused = Exception::Protection(selector.error_code());
        if selector.is_null() {
            return Err(Exception::Protection(0));
        }
        let segment = self.segment(selector).ok_or(refused)?;
        let writable = matches!(segment.kind, Kind::Data { writable: true, .. });
        if !writable || selector.requested() != current || segment.ring != current {
            return Err(refused);
        }
        if !segment.present {
            return Err(Exception::Stack(selector.error_code()));
        }
        Ok(segment)
    }

    /// Loads CS by a far jump to code, not through a gate. O(1).
    ///
    /// # Errors
    /// The exception that the CPU would raise.
    pub fn load_code(&self, selector: Selector, current: Ring) -> Result<SegmentDescriptor, Exception> {
        if selector.is_null() {
            return Err(Exception::Protection(0));
        }
        let refused = Exception::Protection(selector.error_code());
        let segment = self.segment(selector).ok_or(refused)?;
        let permitted = match segment.kind {
            Kind::Code { conforming: true, .. } => segment.ring <= current,
            Kind::Code { conforming: false, .. } => {
                selector.requested() <= current && segment.ring == current
            }
            Kind::Data { .. } => false,
        };
        if !permitted {
            return Err(refused);
        }
        if !segment.present {
            return Err(Exception::NotPresent(selector.error_code()));
        }
        Ok(segment)
    }

    fn segment(&self, selector: Selector) -> Option<SegmentDescriptor> {
        let table = match selector.table() {
            SelectorTable::Global => self.global,
            SelectorTable::Local => self.local,
        };
        match Descriptor::decode(*table.get(usize::from(selector.index()))?) {
            Descriptor::Segment(segment) => Some(segment),
            Descriptor::System(_) | Descriptor::Gate(_) => None,
        }
    }
}

impl Loaded {
    /// The linear address of an access of `bytes` bytes at `offset`, through a register other than SS. O(1).
    ///
    /// An access that wraps around 2^32 is left open by the manual; it faults here, as it did on the CPU that was asked.
    ///
    /// # Errors
    /// The exception that the CPU would raise.
    pub fn access(&self, offset: u32, bytes: u32, kind: AccessKind) -> Result<u32, Exception> {
        match self {
            Self::Segment(segment) => segment.access(offset, bytes, kind).ok_or(Exception::Protection(0)),
            Self::Null => Err(Exception::Protection(0)),
        }
    }
}

impl SegmentDescriptor {
    /// The linear address of an access of `bytes` bytes at `offset`, `None` if the CPU refuses it. O(1).
    ///
    /// Addresses wrap at 2^32 as the CPU's do. Privilege was checked when the segment was loaded.
    #[must_use]
    pub fn access(&self, offset: u32, bytes: u32, kind: AccessKind) -> Option<u32> {
        let permitted = match (kind, self.kind) {
            (AccessKind::Read, Kind::Data { .. }) => true,
            (AccessKind::Read, Kind::Code { readable, .. }) => readable,
            (AccessKind::Write, Kind::Data { writable, .. }) => writable,
            (AccessKind::Write, Kind::Code { .. }) | (AccessKind::Execute, Kind::Data { .. }) => false,
            (AccessKind::Execute, Kind::Code { .. }) => true,
        };
        let last = offset.checked_add(bytes.saturating_sub(1))?;
        let limit = self.limit.last();
        let within = if matches!(self.kind, Kind::Data { expand_down: true, .. }) {
            (offset > limit || cfg!(hectare_plant = "expand_down") && offset == limit)
                && last <= if self.big { u32::MAX } else { 0xFFFF }
        } else {
            last <= limit
        };
        (permitted && within).then_some(self.base.wrapping_add(offset))
    }
}
