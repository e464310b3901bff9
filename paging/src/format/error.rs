//! Why a format cannot say what it was asked to.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, Permissions, PhysAddr};
use thiserror::Error;

use crate::MemoryType;

/// A refused encoding. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The address is not a multiple of what the entry covers.
    #[error("{address} is not a multiple of {:#x}", size.bytes())]
    Misaligned {
        /// The address.
        address: PhysAddr,
        /// What it must be a multiple of.
        size: PageSize,
    },
    /// The address does not fit into an entry.
    #[error("{address} has more than {bits} bits")]
    TooWide {
        /// The address.
        address: PhysAddr,
        /// How many bits fit.
        bits: u8,
    },
    /// This level holds no such entries: leaves where the format has none, tables at level 0.
    #[error("level {level} has no such entries")]
    Level {
        /// The level.
        level: usize,
    },
    /// The format would grant more than was asked.
    #[error("{asked:?} cannot be had without {granted:?}")]
    Permissions {
        /// What was asked.
        asked: Permissions,
        /// The least that includes it.
        granted: Permissions,
    },
    /// The format has no such memory type and none that is stricter.
    #[error("the memory type {0:?} cannot be expressed")]
    Memory(MemoryType),
    /// The format has no global bit.
    #[error("the format has no global pages")]
    Global,
    /// The software bits, or the state of an absent entry, are too many.
    #[error("software state {state:#x} has more than {bits} bits")]
    Software {
        /// What was to be kept.
        state: u64,
        /// How many bits can be.
        bits: u8,
    },
}
