//! A region that grows with the memory it protects, as a program's break does, without ever moving.
//!
//! ```text
//!  placed for the maximum   ├────────────── maximum ──────────────┤
//!  at first                 ├═══1═══╡                               rounded up to a step, or the program is stopped short
//!  later                    ├═══════════3══════════╡    ▲
//!                                                       limit: what lies above is the kernel's
//! ```
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::Extent;

use super::RegionFormat;

/// A place in which one region can have any length up to a maximum, in steps.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::Extent;
/// use hectare_segmentation::protect::{Growable, Pmsa7};
///
/// // A program begins with 1000 bytes and may grow to 4 KiB. On ARMv7-M that is a block of 4 KiB in eighths.
/// let bytes = |count| NonZero::new(count).expect("not 0");
/// let ram = Extent::new(0x2000_0000, 0x1_0000).expect("not empty");
/// let heap = Growable::new(&Pmsa7::V7, ram, bytes(4096)).expect("there is room");
/// assert_eq!((heap.place().start(), heap.step().get()), (0x2000_0000, 512));
///
/// // Above the place the kernel keeps something for this program, which comes down to 0x2000_0c00 meanwhile.
/// let region = heap.region(bytes(1000), 0x2000_0c00).expect("1024 bytes are below it");
/// assert_eq!(region.length(), 1024);
/// assert_eq!(heap.region(bytes(3000), 0x2000_0c00).map(Extent::length), Some(3072)); // it did not move
/// assert_eq!(heap.region(bytes(3073), 0x2000_0c00), None); // a step more would open what is the kernel's
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growable {
    place: Extent,
    step: NonZero<u64>,
}

impl Growable {
    /// A place within `available` for up to `maximum` bytes; `None` iff one region cannot have them. O(address bits).
    #[must_use]
    pub fn new(format: &impl RegionFormat, available: Extent, maximum: NonZero<u64>) -> Option<Self> {
        let place = format.fit(available, maximum)?;
        Some(Self { place, step: format.step(place)? })
    }

    /// Where it lies at its longest.
    #[must_use]
    pub const fn place(&self) -> Extent {
        self.place
    }

    /// By how many bytes it grows.
    #[must_use]
    pub const fn step(&self) -> NonZero<u64> {
        self.step
    }

    /// The region for the first `length` bytes, rounded up to a step; `None` iff that would reach `limit`, the first
    /// address above the place that is somebody else's, or exceed the maximum. O(1).
    #[must_use]
    pub fn region(&self, length: NonZero<u64>, limit: u64) -> Option<Extent> {
        let rounded = length.get().checked_next_multiple_of(self.step.get())?;
        let extent = Extent::new(self.place.start(), rounded)?;
        (self.place.contains(extent) && extent.end() <= limit).then_some(extent)
    }
}
