//! Descriptor tables that can be built at compile time.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::{
    Descriptor, LongGate, LongSystem, Ring, SegmentDescriptor, Selector, SelectorTable, SystemDescriptor,
};

/// Why a descriptor was not entered. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// The table has no room for it.
    #[error("the descriptor table has no room for the descriptor")]
    Full,
    /// The entry is not in use, or it is the null entry of a global table.
    #[error("no descriptor can be changed at this entry")]
    NoSuchEntry,
    /// The gate has no form in 64-bit mode.
    #[error("the gate has no form in 64-bit mode")]
    BadGate,
}

/// A global or local descriptor table of at most `N` entries of eight bytes, as the CPU reads it.
///
/// - In a global table entry 0 is the null descriptor and stays so.
/// - Having one does not prove that its descriptors are sensible: [`audit`](super::audit()) tells.
///
/// ```
/// use hectare_segmentation::x86::{DescriptorTable, Ring, SegmentDescriptor, Selector, TableError};
///
/// const fn build() -> Result<(DescriptorTable<3>, Selector, Selector), TableError> {
///     let mut table = DescriptorTable::global();
///     let code = match table.push(SegmentDescriptor::code64(Ring::Ring0)) {
///         Ok(selector) => selector,
///         Err(error) => return Err(error),
///     };
///     let data = match table.push(SegmentDescriptor::flat_data(Ring::Ring0)) {
///         Ok(selector) => selector,
///         Err(error) => return Err(error),
///     };
///     Ok((table, code, data))
/// }
/// const GDT: Result<(DescriptorTable<3>, Selector, Selector), TableError> = build();
///
/// let (table, code, data) = GDT?;
/// assert_eq!((code.bits(), data.bits(), table.limit()), (0x08, 0x10, 23));
/// assert_eq!(table.entries(), [0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF]);
/// # Ok::<(), TableError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct DescriptorTable<const N: usize> {
    entries: [u64; N],
    used: usize,
    local: bool,
}

impl<const N: usize> DescriptorTable<N> {
    const IN_RANGE: () = assert!(N >= 1 && N <= 8192, "a descriptor table has 1 to 8192 entries");

    /// A global table with the null descriptor.
    #[must_use]
    pub const fn global() -> Self {
        let () = Self::IN_RANGE;
        Self { entries: [0; N], used: 1, local: false }
    }

    /// An empty local table: its entry 0 is an ordinary one.
    #[must_use]
    pub const fn local() -> Self {
        let () = Self::IN_RANGE;
        Self { entries: [0; N], used: 0, local: true }
    }

    /// Appends a code or data segment; the selector requests the segment's own ring. O(1).
    ///
    /// # Errors
    /// [`TableError::Full`].
    pub const fn push(&mut self, segment: SegmentDescriptor) -> Result<Selector, TableError> {
        self.append(&[segment.encode()], segment.ring)
    }

    /// Appends a system segment of eight bytes, for a system without 64-bit mode. O(1).
    ///
    /// # Errors
    /// [`TableError::Full`].
    pub const fn push_system(&mut self, system: SystemDescriptor) -> Result<Selector, TableError> {
        self.append(&[system.encode()], Ring::Ring0)
    }

    /// Appends a system segment of 64-bit mode, two entries. O(1).
    ///
    /// # Errors
    /// [`TableError::Full`] unless both fit.
    pub const fn push_long_system(&mut self, system: LongSystem) -> Result<Selector, TableError> {
        self.append(&system.encode(), Ring::Ring0)
    }

    /// Appends a call gate of 64-bit mode, two entries. O(1).
    ///
    /// # Errors
    /// [`TableError::BadGate`] iff it cannot be encoded, [`TableError::Full`] unless both entries fit.
    pub const fn push_long_gate(&mut self, gate: LongGate) -> Result<Selector, TableError> {
        match gate.encode() {
            Some(entries) => self.append(&entries, gate.ring),
            None => Err(TableError::BadGate),
        }
    }

    /// Exchanges the descriptor at an entry in use. O(1).
    ///
    /// A descriptor of 16 bytes is two entries: to exchange one, exchange both halves. Segment registers keep what they
    /// loaded until they are loaded again.
    ///
    /// # Errors
    /// [`TableError::NoSuchEntry`] iff the entry is not in use or is the null entry of a global table.
    pub const fn set(&mut self, index: usize, descriptor: Descriptor) -> Result<Descriptor, TableError> {
        if index >= self.used || (index == 0 && !self.local) {
            return Err(TableError::NoSuchEntry);
        }
        let old = Descriptor::decode(self.entries[index]);
        self.entries[index] = descriptor.encode();
        Ok(old)
    }

    /// The entries in use, the null descriptor among them.
    #[must_use]
    pub const fn entries(&self) -> &[u64] {
        self.entries.split_at(self.used).0
    }

    /// The limit for the GDTR or for the LDT's descriptor: eight bytes an entry, less one; `None` for an empty table.
    #[must_use]
    pub const fn checked_limit(&self) -> Option<u16> {
        #[expect(clippy::cast_possible_truncation, reason = "at most 8192 entries, so at most 65535")]
        match self.used.checked_sub(1) {
            Some(last) => Some((last * 8 + 7) as u16),
            None => None,
        }
    }

    /// The limit as in [`Self::checked_limit`], 0 for an empty table.
    #[must_use]
    pub const fn limit(&self) -> u16 {
        match self.checked_limit() {
            Some(limit) => limit,
            None => 0,
        }
    }

    const fn append(&mut self, entries: &[u64], ring: Ring) -> Result<Selector, TableError> {
        if N - self.used < entries.len() {
            return Err(TableError::Full);
        }
        let table = if self.local { SelectorTable::Local } else { SelectorTable::Global };
        #[expect(clippy::cast_possible_truncation, reason = "below N, at most 8192")]
        let Some(selector) = Selector::new(self.used as u16, table, ring) else {
            return Err(TableError::Full);
        };
        let mut at = 0;
        while at < entries.len() {
            self.entries[self.used + at] = entries[at];
            at += 1;
        }
        self.used += entries.len();
        Ok(selector)
    }
}
