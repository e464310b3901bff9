//! Sizes to classes: how a heap rounds.
//!
//! ```text
//!  class   0  1   2   3  …  8   │  9   10   11  …  16  │  17   18  …  24  │ …  72
//!  bytes   8  16  32  48 …  128 │ 144  160  176 …  256 │ 288  320  …  512 │ …  32768
//!             in steps of 16    │ eight for each doubling: at most 1/9 of a block is rounding
//! ```
//! The size is rounded up to a multiple of the alignment first. Then the class is aligned as asked, because a class of size
//! s lies at multiples of s from a place that is aligned to at least s: if the alignment is at least the step between the
//! classes there, the rounded size is a class itself; if it is less, every class there is a multiple of it.
#![forbid(unsafe_code)]

use core::alloc::Layout;

/// How many classes there are.
pub const CLASSES: usize = 73;

/// The largest class in bytes. Larger blocks are runs of frames.
pub const LARGEST: usize = 1 << 15;

/// Sizes up to this are looked up in units of [`FINE`] bytes, larger ones in units of [`COARSE`]: so far apart are classes
/// at least, below and above.
const SMALL: usize = 1024;
const FINE: usize = 8;
const COARSE: usize = 128;

/// The class of each size up to [`SMALL`], by the last byte's number in units of 8 bytes.
static SMALL_CLASSES: [u8; SMALL / FINE] = table::<{ SMALL / FINE }>(FINE);

/// The class of each size up to [`LARGEST`], by the last byte's number in units of 128; right for those above [`SMALL`].
static LARGE_CLASSES: [u8; LARGEST / COARSE] = table::<{ LARGEST / COARSE }>(COARSE);

const fn table<const N: usize>(unit: usize) -> [u8; N] {
    let mut table = [0; N];
    let mut units = 0;
    while units < N {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 256 classes")]
        let class = computed((units + 1) * unit) as u8;
        table[units] = class;
        units += 1;
    }
    table
}

/// The bytes of each class.
pub static SIZES: [u16; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^15")]
        let size = size_of_class(class) as u16;
        sizes[class] = size;
        class += 1;
    }
    sizes
};

/// The bytes of class `class`, below [`CLASSES`].
#[must_use]
pub const fn size_of_class(class: usize) -> usize {
    match class {
        0 => 8,
        1..=8 => class * 16,
        _ => (9 + (class - 9) % 8) << (4 + (class - 9) / 8),
    }
}

/// The class for `size` bytes, at most [`LARGEST`], without the tables.
const fn computed(size: usize) -> usize {
    if size <= 8 {
        0
    } else if size <= 128 {
        size.div_ceil(16)
    } else {
        let below = size - 1;
        // 2^log ≤ below < 2^(log + 1): eight classes above 2^log, each a step of 2^(log − 3).
        let log = (usize::BITS - 1 - below.leading_zeros()) as usize;
        9 + (log - 7) * 8 + ((below >> (log - 3)) - 8)
    }
}

/// The bytes that a block of this layout needs: at least 1, a multiple of the alignment. Never overflows (`Layout`).
#[inline(always)]
pub(crate) const fn rounded(layout: Layout) -> usize {
    let size = if layout.size() == 0 { 1 } else { layout.size() };
    (size + (layout.align() - 1)) & !(layout.align() - 1)
}

/// The class of a layout: which cache of a heap serves it. `None` if it is served by frames of its own.
#[must_use]
#[inline(always)]
pub fn class_of_layout(layout: Layout) -> Option<usize> {
    // The last byte's number when the size is rounded up to the alignment, a power of two; size 0 is out of every table.
    let last = layout.size().wrapping_sub(1) | (layout.align() - 1);
    match SMALL_CLASSES.get(last / FINE) {
        Some(class) => Some(usize::from(*class)),
        None => large_class(layout),
    }
}

/// Out of line, so that the short way stays short.
#[cold]
#[inline(never)]
fn large_class(layout: Layout) -> Option<usize> {
    if layout.size() == 0 {
        // As one byte; an alignment is never 0.
        return class_of_layout(Layout::from_size_align(1, layout.align()).ok()?);
    }
    let last = (layout.size() - 1) | (layout.align() - 1);
    LARGE_CLASSES.get(last / COARSE).map(|class| usize::from(*class))
}

#[cfg(test)]
mod tests;
