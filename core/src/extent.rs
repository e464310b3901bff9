//! Ranges of abstract units: what range allocators hand out without touching any memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZero;

/// `length` consecutive units from `start`: bytes, pages, disk sectors, as its user defines.
///
/// Having an `Extent` proves that it is not empty and that its end does not exceed 2^64 − 1.
///
/// ```
/// use hectare_core::Extent;
///
/// let disk = Extent::new(0, 2048).expect("not empty");
/// let file = Extent::new(1000, 24).expect("not empty"); // sectors, here
/// assert!(disk.contains(file));
/// assert!(!file.overlaps(Extent::new(file.end(), 1).expect("not empty"))); // the end is the first one after
/// assert_eq!(Extent::new(7, 0), None);
/// assert_eq!(Extent::new(u64::MAX, 1), None);
/// ```
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
