//! Protection regions: the base and limit of small machines, as data for any host.
//!
//! ```text
//!  what is asked        [0x2000_0120, 0x2000_0520)  rw- for the program
//!                             │ fit: one region, least waste     │ cover: exactly these bytes, fewest regions
//!  what a machine has   PMSAv7: 2^k aligned to itself, in eighths from 256 bytes on; the highest number wins
//!                       PMSAv8: any multiple of 32 bytes; an overlap faults
//!                       PMP:    2^k aligned to itself, or from one address to the next; the lowest number wins
//! ```
//! The formats differ in the ranges that they can express and in how registers spell them. [`RegionFormat`] holds the
//! first, so that fitting and covering are written once; each format's own type holds the second.
//!
//! Protecting a range exactly is often dear, and choosing where the range lies is cheap: with freedom to place it,
//! [`RegionFormat::fit`] finds one region for almost every request.

pub mod cover;
pub mod grow;
#[cfg(any(feature = "mpu-registers", feature = "pmp-registers"))]
pub mod leaf;
mod machine;
pub mod pmp;
pub mod pmsa7;
pub mod pmsa8;
pub mod set;

use core::num::NonZero;

use hectare_core::{Extent, Permissions};

pub use cover::{Cover, Layer, cover, cover_layered};
pub use grow::Growable;
pub use pmp::{Pmp, PmpEntry, PmpMode};
pub use pmsa7::{Memory7, Pmsa7, Region7};
pub use pmsa8::{Pmsa8, Region8, Shareability};
pub use set::{Change, RegionSet};

/// Which byte ranges one region of a machine can express.
pub trait RegionFormat {
    /// Where to place `length` bytes within `available` so that one region covers them: the region with the least
    /// waste, and the lowest of those. `None` iff no single region does. O(address bits).
    fn fit(&self, available: Extent, length: NonZero<u64>) -> Option<Extent>;

    /// The region that holds the byte at `from`, does not leave `within`, and ends last. `None` iff there is none.
    /// O(address bits).
    fn reach(&self, within: Extent, from: u64) -> Option<Extent>;

    /// In which steps one region that begins where `place` does can be shortened; `None` iff `place` is no region, or
    /// cannot be shortened. O(address bits).
    fn step(&self, place: Extent) -> Option<NonZero<u64>>;
}

/// What privileged and unprivileged code may do. Only read, write and execute count here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rights {
    /// The kernel's.
    pub kernel: Permissions,
    /// The programs'.
    pub user: Permissions,
}

/// `value` up to a multiple of 2^`log2`.
const fn align_up(value: u64, log2: u32) -> Option<u64> {
    match value.checked_add((1 << log2) - 1) {
        Some(sum) => Some(sum >> log2 << log2),
        None => None,
    }
}

/// `value` down to a multiple of 2^`log2`.
const fn align_down(value: u64, log2: u32) -> u64 {
    value >> log2 << log2
}

/// The better of two placements: shorter, then lower.
fn better(best: Option<Extent>, other: Option<Extent>) -> Option<Extent> {
    match (best, other) {
        (Some(one), Some(two)) if (two.length(), two.start()) < (one.length(), one.start()) => Some(two),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

/// The one that ends later; the first of two that end together.
fn farther(best: Option<Extent>, other: Option<Extent>) -> Option<Extent> {
    match (best, other) {
        (Some(one), Some(two)) if two.end() > one.end() => Some(two),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}
