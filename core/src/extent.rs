//! Ranges of abstract units: what range allocators hand out without touching any memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZero;

/// `length` consecutive units from `start`: bytes, pages, disk sectors, as its user defines.
///
/// Having an `Extent` proves that it is not empty and that its end does not exceed 2^64 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    start: u64,
    length: NonZero<u64>,
}

impl Extent {
    /// The extent `[start, start + length)`; `None` if it is empty or its end exceeds 2^64 − 1.
    #[must_use]
    pub const fn new(start: u64, length: u64) -> Option<Self> {
        match (NonZero::new(length), start.checked_add(length)) {
            (Some(length), Some(_)) => Some(Self { start, length }),
            _ => None,
        }
    }

    /// The first unit.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The number of units, at least 1.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length.get()
    }

    /// The first unit after the extent.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start + self.length.get()
    }

    /// Whether the two share a unit.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// Whether every unit of `other` is in this extent.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start, self.end())
    }
}
