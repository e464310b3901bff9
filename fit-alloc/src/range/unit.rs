//! The numbers that ranges are counted in: `u32` or `u64`.
#![forbid(unsafe_code)]

use core::fmt::{Debug, LowerHex};
use core::ops::{Add, Sub};

use super::Node;
use crate::policy::Chunk;

/// A number of units, or the place of one: `u32` (smaller tables, faster) or `u64`.
pub trait Unit:
    Copy
    + Ord
    + Default
    + Debug
    + LowerHex
    + Add<Output = Self>
    + Sub<Output = Self>
    + Send
    + Sync
    + 'static
    + Sealed
{
}

impl Unit for u32 {}
impl Unit for u64 {}

/// What the engine needs of its numbers. No operation panics in a release build.
pub trait Sealed: Sized + Into<u64> + 'static {
    const ZERO: Self;
    const ONE: Self;
    const MAX: Self;
    const BITS: u32;
    /// Aligned as the entries of a table of such units are: half a cache line if they are that long.
    type Half: Copy + Debug + Send + Sync;
    /// What a link to nowhere leads to.
    const NODE: &'static Node<Self>;
    const CHUNK: &'static Chunk<Self>;
    /// One link for each class, in rows: 2048 of small sizes and 32 for each further octave, see `policy::classes`.
    type Heads: AsRef<[[u32; 64]]> + AsMut<[[u32; 64]]> + Clone + core::fmt::Debug;
    const NO_HEADS: Self::Heads;

    /// ⌊log2⌋; 0 for 0.
    fn log2(self) -> u32;
    /// Bit `place < BITS` as 0 or 1.
    fn bit(self, place: u32) -> usize;
    /// The bits from `place < BITS` up, 32 of them.
    fn above(self, place: u32) -> u32;
    /// Any 64-bit number, if it can be represented.
    fn of(value: u64) -> Option<Self>;
    fn plus(self, other: Self) -> Option<Self>;
    /// The least multiple of `align` at or above.
    fn up(self, align: Self) -> Option<Self>;
    /// The greatest multiple of `align` at or below.
    fn down(self, align: Self) -> Self;
    /// The least power of two at or above.
    fn power(self) -> Option<Self>;
}

/// The alignment of entries with `u32` units: two make a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub struct HalfLine;

macro_rules! unit {
    ($unit:ty, $half:ty) => {
        impl Sealed for $unit {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MAX: Self = <$unit>::MAX;
            const BITS: u32 = <$unit>::BITS;
            const NODE: &'static Node<Self> = &Node::<Self>::NEW;
            const CHUNK: &'static Chunk<Self> = &Chunk::<Self>::NEW;
            type Half = $half;
            type Heads = [[u32; 64]; 32 + (<$unit>::BITS as usize - 11).div_ceil(2)];
            const NO_HEADS: Self::Heads = [[super::NIL; 64]; 32 + (<$unit>::BITS as usize - 11).div_ceil(2)];

            #[inline]
            fn log2(self) -> u32 {
                (self | 1).ilog2()
            }
            #[inline]
            fn bit(self, place: u32) -> usize {
                (self.wrapping_shr(place) & 1) as usize
            }
            #[inline]
            #[allow(
                clippy::cast_possible_truncation,
                trivial_numeric_casts,
                reason = "documented: 32 of them"
            )]
            fn above(self, place: u32) -> u32 {
                self.wrapping_shr(place) as u32
            }
            #[inline]
            fn of(value: u64) -> Option<Self> {
                <$unit>::try_from(value).ok()
            }
            #[inline]
            fn plus(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
            #[inline]
            fn up(self, align: Self) -> Option<Self> {
                if align.is_power_of_two() {
                    Some(self.checked_add(align - 1)? & !(align - 1))
                } else {
                    self.checked_next_multiple_of(align)
                }
            }
            #[inline]
            fn down(self, align: Self) -> Self {
                if align.is_power_of_two() {
                    self & !(align - 1)
                } else {
                    self - self.checked_rem(align).unwrap_or(0)
                }
            }
            #[inline]
            fn power(self) -> Option<Self> {
                self.checked_next_power_of_two()
            }
        }
    };
}
unit!(u32, HalfLine);
unit!(u64, ());
