//! The figures that every allocator gives: how much is used, how badly the rest is scattered.
#![forbid(unsafe_code)]

use core::fmt;

/// An exact fraction between 0 and 1. A whole of 0 counts as 0.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
pub struct Ratio {
    /// The part.
    pub part: u64,
    /// The whole.
    pub whole: u64,
}

impl Ratio {
    /// The fraction `part / whole`.
    #[must_use]
    pub const fn new(part: u64, whole: u64) -> Self {
        Self { part, whole }
    }

    /// As a floating-point number; 0 if the whole is 0.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people: 52 bits are enough")]
    pub const fn as_f64(self) -> f64 {
        if self.whole == 0 { 0.0 } else { self.part as f64 / self.whole as f64 }
    }

    /// In thousandths, rounded down, at most 1000; 0 if the whole is 0. Needs no floating point.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "less than 1000")]
    pub const fn permille(self) -> u32 {
        if self.whole == 0 {
            0
        } else if self.part >= self.whole {
            1000
        } else {
            (self.part as u128 * 1000 / self.whole as u128) as u32
        }
    }
}

impl PartialEq for Ratio {
    /// Equality of the values: 1/3 equals 4/12, 0/0 equals 0/5.
    fn eq(&self, other: &Self) -> bool {
        match (self.whole, other.whole) {
            (0, 0) => true,
            (0, _) => other.part == 0,
            (_, 0) => self.part == 0,
            (left, right) => {
                u128::from(self.part) * u128::from(right) == u128::from(other.part) * u128::from(left)
            }
        }
    }
}

impl Failures {
    /// Nothing was refused yet.
    pub const NONE: Self = Self { out_of_memory: 0, fragmented: 0 };
}

impl fmt::Display for Ratio {
    /// In per cent with one decimal place: `33.3 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = self.permille();
        write!(f, "{}.{} %", permille / 10, permille % 10)
    }
}

/// Refused requests, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub struct Failures {
    /// Less was free than was asked for.
    pub out_of_memory: u64,
    /// Enough was free in total, but not in one piece that was found.
    pub fragmented: u64,
}

/// How much memory an allocator has and gave out, in its own units (bytes, frames, …).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub struct Usage {
    /// Bytes in a unit: 1 for heaps, the frame size for frames.
    pub unit: u64,
    /// Units that can be handed out when nothing is allocated.
    pub capacity: u64,
    /// Units handed out now, as granted (rounded up), including what internal caches hold back.
    pub allocated: u64,
    /// Units free now: `capacity − allocated`.
    pub free: u64,
    /// The highest that `allocated` has been.
    pub peak_allocated: u64,
    /// Bytes of metadata inside the managed regions, which are not part of the capacity.
    pub metadata_bytes: u64,
    /// Refused requests so far.
    pub failures: Failures,
}

/// How scattered the free memory is, in the allocator's units.
///
/// `external()` alone misranks policies: worst fit keeps one large hole and still fails first. Ask
/// [`Figures::unusable`] for the sizes that you need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[non_exhaustive]
pub struct Fragmentation {
    /// Units free in total.
    pub free: u64,
    /// Units in the largest hole, exact.
    pub largest: u64,
    /// The number of holes.
    pub holes: u64,
}

impl Fragmentation {
    /// The figures of this many free units in this many holes, of which the largest has `largest`.
    #[must_use]
    pub const fn new(free: u64, largest: u64, holes: u64) -> Self {
        Self { free, largest, holes }
    }

    /// External fragmentation: 1 − largest / free; 0 when nothing is free.
    #[must_use]
    pub const fn external(self) -> Ratio {
        Ratio::new(self.free.saturating_sub(self.largest), self.free)
    }
}

impl Usage {
    /// The figures of an allocator with this many `unit`-byte units, of which so many are allocated (at most all).
    #[must_use]
    pub const fn new(unit: u64, capacity: u64, allocated: u64) -> Self {
        Self {
            unit,
            capacity,
            allocated,
            free: capacity.saturating_sub(allocated),
            peak_allocated: allocated,
            metadata_bytes: 0,
            failures: Failures { out_of_memory: 0, fragmented: 0 },
        }
    }
}

/// An allocator that reports on itself.
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::{ByteAllocator, Figures, Ratio};
/// # use core::ptr::NonNull;
/// # use hectare_core::{AllocError, RegionHeap};
/// # let mut memory = [0_u64; 512];
/// # let region = NonNull::slice_from_raw_parts(NonNull::from(&mut memory).cast::<u8>(), 4096);
/// # let mut heap = hectare_testkit::stand_in::NaiveHeap::EMPTY;
/// # // SAFETY: nothing else uses the array while the heap does.
/// # unsafe { heap.add_region(region) }.expect("a region");
///
/// // `heap` has 4 KiB, in units of a byte. Of four blocks of 1 KiB the first and the third go.
/// let layout = Layout::new::<[u64; 128]>();
/// let blocks = [heap.allocate(layout)?, heap.allocate(layout)?, heap.allocate(layout)?, heap.allocate(layout)?];
/// for block in [blocks[0], blocks[2]] {
///     // SAFETY: live, of this layout, and not used any more.
///     unsafe { heap.deallocate(block, layout) }?;
/// }
/// let usage = heap.usage();
/// assert_eq!((usage.capacity, usage.allocated, usage.free), (4096, 2048, 2048));
///
/// let holes = heap.fragmentation();
/// assert_eq!((holes.holes, holes.largest, holes.external()), (2, 1024, Ratio::new(1, 2)));
/// // Whether that hurts depends on what will be asked for.
/// assert_eq!(heap.unusable(1000), Ratio::new(0, 1));
/// assert_eq!(heap.unusable(1500).to_string(), "100.0 %");
/// # Ok::<(), AllocError>(())
/// ```
pub trait Figures {
    /// How much is used. O(1) unless the type says otherwise.
    fn usage(&self) -> Usage;

    /// How scattered the free memory is. The type states the cost.
    fn fragmentation(&self) -> Fragmentation;

    /// The share of the free memory that lies in holes too small for a request of `units`: the unusable-free-space
    /// index of Gorman and Whitcroft, "Supporting the allocation of large contiguous regions of memory", Ottawa Linux
    /// Symposium 2007. The type states the cost.
    fn unusable(&self, units: u64) -> Ratio;
}
