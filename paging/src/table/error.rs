//! Why an operation on a table, or an access through it, was refused.
#![forbid(unsafe_code)]

use hectare_core::{Access, AllocError, PageRun, PhysAddr, VirtAddr};
use thiserror::Error;

use crate::EntryError;

/// A refused operation. The table is as it was, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// The format cannot translate all of these pages: not canonical, too wide, or across the hole between the halves.
    #[error("{pages:?} is not in the reach of the tables")]
    Range {
        /// The pages.
        pages: PageRun,
    },
    /// Something is mapped there already.
    #[error("{address} is mapped already, to {existing}")]
    Mapped {
        /// The first address that is.
        address: VirtAddr,
        /// The memory that stands there now.
        existing: PhysAddr,
    },
    /// Software state is kept there, or the place links what no code here wrote.
    #[error("{address} holds software state or a foreign entry")]
    Occupied {
        /// The first address that does.
        address: VirtAddr,
    },
    /// Nothing is mapped there, and the operation needs that.
    #[error("nothing is mapped at {address}")]
    Absent {
        /// The first such address.
        address: VirtAddr,
    },
    /// The pages lie in the half that is shared with other tables and belongs to one of them, or a leaf of the root there,
    /// of which others have copies, would change.
    #[error(
        "{address} is in the shared half, which another table owns, or in a leaf that others have copies of"
    )]
    Shared {
        /// The first such address.
        address: VirtAddr,
    },
    /// The format cannot say this.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A table was needed and the source had no frame.
    #[error("no frame for a table: {0}")]
    Frames(#[from] AllocError),
    /// The window does not show a frame of the source, or an entry cannot hold its address.
    #[error("a table at {table} cannot be reached or linked")]
    Unreachable {
        /// The frame.
        table: PhysAddr,
    },
    /// The token came from another table.
    #[error("the token came from another table")]
    Foreign,
}

/// A refused access: where, what, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{access} at {address}: {cause}")]
pub struct PageFault {
    /// The address.
    pub address: VirtAddr,
    /// What was attempted.
    pub access: Access,
    /// Why it was refused.
    pub cause: FaultCause,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultCause {
    /// No translation: the entry of this level is absent.
    #[error("no page is present (level {level})")]
    NotPresent {
        /// The level, 0 for base pages.
        level: u8,
    },
    /// The page is there, and its rights do not permit the access.
    #[error("the page permits {}{permissions}", if permissions.contains(hectare_core::Permissions::USER) { "" } else { "the kernel " })]
    Forbidden {
        /// What it permits.
        permissions: hectare_core::Permissions,
    },
    /// The format cannot translate such an address.
    #[error("the address is not in the reach of the tables")]
    Reach,
    /// A present entry that the hardware refuses.
    #[error("a reserved entry (level {level})")]
    Reserved {
        /// The level.
        level: u8,
    },
}
