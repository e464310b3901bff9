//! What comes of a fault.
#![forbid(unsafe_code)]

use hectare_core::{Access, AllocError, Permissions, VirtAddr};
use thiserror::Error;

use super::PagerError;

/// A fault that was dealt with: the access is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The page is there now.
    Mapped {
        /// What was done.
        how: How,
        /// How many pages are there now that were not before.
        pages: u64,
        /// Whether translations were invalidated: an entry was changed that might have been cached.
        flushed: bool,
    },
    /// The page was there, with all rights that the access needs: another CPU was faster, or a stale translation was used.
    /// Translations of the page were invalidated.
    Spurious,
    /// The pager has begun to read: let the program wait, then try again.
    Pending,
}

/// How a page came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// A frame of zeros.
    Zeroed,
    /// A huge page of zeros.
    ZeroedHuge,
    /// The one frame of zeros that everybody reads; a write will replace it.
    ZeroFrame,
    /// A page of an object, for reading or for a shared mapping.
    Object,
    /// A page of an object, copied for a private mapping.
    ObjectCopied,
    /// A device's frame.
    Device,
    /// The page was shared since a fork, and this process got its own copy.
    Copied,
    /// The page was shared once, and nobody else uses it any more: it may be written to again.
    Reused,
    /// It may be written to: a shared mapping's first write.
    MadeWritable,
    /// It was swapped out.
    SwappedIn,
    /// Its rights were raised since it was mapped.
    RightsRaised,
}

/// A fault that cannot be dealt with: where, what and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{access} at {address}: {cause}")]
pub struct SpaceFault {
    /// The address.
    pub address: VirtAddr,
    /// The access.
    pub access: Access,
    /// Why it is refused.
    pub cause: Cause,
}

/// Why an access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing may be accessed there.
    #[error("no area holds the address")]
    NoArea,
    /// A stack ends above, and may not grow so far: its limit, or the guard between it and the area below.
    #[error("the stack may not grow that far")]
    StackLimit,
    /// The area does not permit such an access.
    #[error("the area permits {permissions:?} only")]
    Forbidden {
        /// What it permits.
        permissions: Permissions,
    },
    /// The pager has no such page, or could not read it.
    #[error(transparent)]
    Pager(PagerError),
    /// There is no frame for the page or a table.
    #[error("no memory: {0}")]
    Memory(AllocError),
    /// The tables hold something that no code here wrote, or cannot say what the area asks for.
    #[error("the page tables refuse the mapping")]
    Tables,
}

/// What becomes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// It used an address that it must not use: `SIGSEGV`.
    Segmentation,
    /// What lies behind its address does not exist or cannot be read: `SIGBUS`.
    Bus,
    /// It did nothing wrong, but there is no memory: reclaim some and try again, or end somebody.
    OutOfMemory,
}

impl Cause {
    /// What becomes of the program.
    #[must_use]
    pub const fn signal(self) -> Signal {
        match self {
            Self::NoArea | Self::StackLimit | Self::Forbidden { .. } | Self::Tables => Signal::Segmentation,
            Self::Pager(PagerError::NoRoom) | Self::Memory(_) => Signal::OutOfMemory,
            Self::Pager(_) => Signal::Bus,
        }
    }
}
