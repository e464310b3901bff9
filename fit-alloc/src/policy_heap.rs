//! Byte heaps that place every block exactly as one of the classic policies says.
//!
//! ```text
//!  region   │ map │ table │ block │ hole │ block │ hole                  │
//!            one bit a granule:      a hole holds its own links:
//!            free or used            size at both ends, rings and tries
//!                   largest hole of each KiB (first, next and last fit)
//! ```
//! | heap | takes | search | tables in the region |
//! |---|---|---|---|
//! | [`FirstFitHeap`] | the lowest hole that fits | O(log region) | 1/128 and 1/240 |
//! | [`NextFitHeap`] | the first that fits from where the last search ended | O(log region) | the same |
//! | [`LastFitHeap`] | the highest hole that fits, at its upper end | O(log region) | the same |
//! | [`BestFitHeap`] | the smallest hole that fits; among equals the one that got its size last | O(word) | 1/128 |
//! | [`WorstFitHeap`] | the largest hole; among equals the one that got its size last | O(word) | 1/128 |
//! | [`HalfFitHeap`] | the newest hole of the lowest octave that surely fits; blocks are powers of two | O(1) | 1/128 |
//!
//! A block costs its size rounded up to the granule of 16 bytes (half fit: to a power of two of granules) and nothing
//! else; a hole costs nothing. Good fit is the crate's main heap, see [`heap`](crate::heap): it is several times faster.
//! These are for whoever wants a policy's very placement: to compare, to keep long-lived blocks together, to teach.
//!
//! ```
//! use core::alloc::Layout;
//! use core::ptr::NonNull;
//! use hectare_core::{ByteAllocator, RegionHeap};
//! use hectare_fit::FirstFitHeap;
//!
//! let mut memory = [0_u64; 512];
//! let region = NonNull::slice_from_raw_parts(NonNull::from(&mut memory).cast::<u8>(), 4096);
//! let mut heap = FirstFitHeap::<1>::new();
//! // SAFETY: nothing else uses the array while the heap does.
//! unsafe { heap.add_region(region) }?;
//! let layout = Layout::new::<[u8; 100]>();
//! let (low, high) = (heap.allocate(layout)?, heap.allocate(layout)?);
//! assert!(low < high);
//! // SAFETY: the block is live and of this layout.
//! unsafe { heap.deallocate(low, layout) }?;
//! assert_eq!(heap.allocate(layout)?, low); // the lowest hole that fits
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod by_address;
mod by_octave;
mod by_size;
mod bytes;
mod engine;
mod figures;
mod index;
mod map;
mod memory;
mod sections;
#[cfg(test)]
mod tests;

use hectare_core::Failures;

use crate::policy::{BestFit, FirstFit, HalfFit, LastFit, NextFit, Policy, WorstFit};
use engine::Engine;
pub(crate) use index::HoleIndex;

/// A policy that a [`PolicyHeap`] can follow. The trait is sealed, as [`Policy`] is.
pub trait Placement: Policy {
    /// How the policy keeps the holes of a region.
    #[doc(hidden)]
    type Holes: HoleIndex;
}

macro_rules! placements {
    ($($policy:ident: $holes:path, $heap:ident, $what:literal;)*) => {$(
        impl Placement for $policy {
            type Holes = $holes;
        }

        #[doc = concat!("A heap that takes ", $what, ". See the [module](self).")]
        pub type $heap<const REGIONS: usize = 1> = PolicyHeap<$policy, REGIONS>;
    )*};
}
placements! {
    BestFit: by_size::Best, BestFitHeap, "the smallest hole that fits";
    WorstFit: by_size::Worst, WorstFitHeap, "the largest hole";
    FirstFit: by_address::First, FirstFitHeap, "the lowest hole that fits";
    NextFit: by_address::Next, NextFitHeap, "the first hole that fits from where the last search ended";
    LastFit: by_address::Last, LastFitHeap, "the highest hole that fits, at its upper end";
    HalfFit: by_octave::Half, HalfFitHeap, "a hole of the next octave, for blocks that are powers of two";
}

/// A heap under an exact policy, header-less, over up to `REGIONS` regions at any distance, of at most 64 GiB each.
///
/// The policy holds over all regions together, which are kept in the order of their addresses: first fit takes the
/// lowest hole of all, best fit the smallest of all (of equals in different regions the lower region's). A refusal says
/// that no hole has a place for the request.
///
/// | operation | cost, for each region that is asked |
/// |---|---|
/// | `allocate` | the policy's search, and one step for each KiB of the block |
/// | `allocate` aligned above 16 bytes | plus one search step for each hole that is large enough but has no such place |
/// | `deallocate`, `resize_in_place` | O(log region) by address, O(word) by size, O(1) half fit; one step for each KiB |
/// | `reallocate` | as the above, and a copy if the block cannot grow where it lies |
///
/// Of bad frees it detects: foreign, misaligned, past the end, and every one of memory that is free already, wholly or
/// in part ([`FreeError::NotAllocated`](hectare_core::FreeError::NotAllocated) if the first 16 bytes are). A block that is
/// freed with a wrong size goes unnoticed if all of that size is allocated.
///
/// A write to freed memory can make the heap choose badly or refuse; it does not make it touch or hand out memory that
/// is allocated, since every link is checked against the map of free granules before it is used.
///
/// Invariants: those of the regions (M1–M4, P1–P5), checked by
/// [`CheckInvariants`](hectare_core::CheckInvariants), and that they are in the order of their addresses.
#[derive(Debug)]
pub struct PolicyHeap<P: Placement, const REGIONS: usize = 1> {
    /// The first `count` have a region.
    engines: [Engine<P>; REGIONS],
    count: usize,
    /// The slot of the region that served last, or [`NOWHERE`].
    rover: usize,
    failures: Failures,
}

/// No slot: nothing was allocated yet.
const NOWHERE: usize = usize::MAX;

impl<P: Placement, const REGIONS: usize> PolicyHeap<P, REGIONS> {
    /// A heap without memory. `const`, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(REGIONS > 0, "a heap has room for at least one region") };
        Self {
            engines: [const { Engine::EMPTY }; REGIONS],
            count: 0,
            rover: NOWHERE,
            failures: Failures::NONE,
        }
    }
}

impl<P: Placement, const REGIONS: usize> Default for PolicyHeap<P, REGIONS> {
    fn default() -> Self {
        Self::new()
    }
}
