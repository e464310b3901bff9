//! From a size to the offset of its bin: one load.
#![forbid(unsafe_code)]

use super::map::BIN;
use crate::size_class::{CLASSES, LARGEST};

/// Sizes up to this are looked up in steps of 16, larger ones in steps of 128: above 1024 classes are multiples of it.
pub(super) const SMALL: usize = 1024;

/// The offset of the bin for each size in units of `1 << unit_log2`, rounded up, at least 16 bytes.
const fn offsets<const N: usize>(unit_log2: u32) -> [u16; N] {
    let mut offsets = [0; N];
    let (mut unit, mut class) = (0, 1);
    while unit < N {
        while class + 1 < CLASSES && crate::size_class::size_of_class(class) < unit << unit_log2 {
            class += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "73 × 16")]
        let offset = (class * BIN) as u16;
        offsets[unit] = offset;
        unit += 1;
    }
    offsets
}

/// Where the bin of each size is.
#[derive(Debug)]
pub(super) struct Sizes {
    /// For sizes up to [`SMALL`], by their units of 16 bytes.
    pub(super) by_16: [u16; SMALL / 16 + 1],
    /// For sizes up to the largest class, by their units of 128 bytes.
    pub(super) by_128: [u16; LARGEST / 128 + 1],
}

impl Sizes {
    pub(super) const ALL: Self = Self { by_16: offsets(4), by_128: offsets(7) };
}
