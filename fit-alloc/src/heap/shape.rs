//! The dimensions of a heap and the way it searches, as types, so that each heap is compiled for exactly one choice.
#![forbid(unsafe_code)]

use core::fmt::Debug;

/// The unsigned integer in which a heap stores links and sizes, in granules.
pub trait Word: Copy + Eq + Debug + sealed::Sealed {
    /// As a link: none.
    const ZERO: Self;
    /// The largest index that fits.
    const MAX_INDEX: usize;

    /// The low bits of `index`.
    fn from_index(index: usize) -> Self;
    /// The value.
    fn to_index(self) -> usize;
}

macro_rules! word {
    ($($type:ty)*) => {$(
        impl Word for $type {
            const ZERO: Self = 0;
            const MAX_INDEX: usize = Self::MAX as usize;

            #[inline]
            #[expect(clippy::cast_possible_truncation, reason = "documented: the low bits")]
            fn from_index(index: usize) -> Self {
                index as Self
            }
            #[inline]
            fn to_index(self) -> usize {
                self as usize
            }
        }
        impl sealed::Sealed for $type {}
    )*};
}
word!(u16 u32);

/// The dimensions of a heap.
///
/// | shape | granule = smallest block | bins | a heap has up to | control state without regions |
/// |---|---|---|---|---|
/// | [`Standard`] | 16 bytes | 512 | 64 GiB | 2.1 KiB |
/// | [`Small`] | 8 bytes | 64 | 512 KiB | under 200 bytes on 32-bit |
pub trait Shape: Copy + Debug + sealed::Sealed {
    /// Links and sizes. Four of them fit into a granule.
    type Word: Word;
    /// The array of list heads, one a bin.
    type Heads: AsRef<[Self::Word]> + AsMut<[Self::Word]> + Copy + Debug;
    /// Bit k is set iff bin k is not empty.
    type Occupied: AsRef<[usize]> + AsMut<[usize]> + Copy + Debug;

    /// All lists empty.
    const NO_HEADS: Self::Heads;
    /// No bin occupied.
    const NONE_OCCUPIED: Self::Occupied;
    /// The logarithm of the granule in bytes. A granule is the unit of every size and the smallest block.
    const LOG2_GRANULE: u32;
    /// 2^this bins for each doubling of the size; sizes below 2^(this + 1) granules have a bin each.
    const LOG2_SUB: u32;
    /// How many bins there are: a power of two.
    const BINS: usize;
    /// Whether code is to be small rather than fast: one way for every request, one for every free, and no hole outside
    /// the lists.
    const COMPACT: bool;

    /// Bytes in a granule.
    const GRANULE: usize = 1 << Self::LOG2_GRANULE;
}

/// Kernels and programs: 16-byte granules, 32-bit links, 16 bins for each doubling.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

const WORD_BITS: usize = usize::BITS as usize;

impl sealed::Sealed for Standard {}
impl Shape for Standard {
    type Word = u32;
    type Heads = [u32; 512];
    type Occupied = [usize; 512 / WORD_BITS];
    const NO_HEADS: Self::Heads = [0; 512];
    const NONE_OCCUPIED: Self::Occupied = [0; 512 / WORD_BITS];
    const LOG2_GRANULE: u32 = 4;
    const LOG2_SUB: u32 = 4;
    const BINS: usize = 512;
    const COMPACT: bool = false;
}

/// Microcontrollers: 8-byte granules, 16-bit links, 4 bins for each doubling, and less code.
#[derive(Clone, Copy, Debug)]
pub struct Small;

impl sealed::Sealed for Small {}
impl Shape for Small {
    type Word = u16;
    type Heads = [u16; 64];
    type Occupied = [usize; 64 / WORD_BITS];
    const NO_HEADS: Self::Heads = [0; 64];
    const NONE_OCCUPIED: Self::Occupied = [0; 64 / WORD_BITS];
    const LOG2_GRANULE: u32 = 3;
    const LOG2_SUB: u32 = 2;
    const BINS: usize = 64;
    const COMPACT: bool = true;
}

/// How far a heap searches, and how hard it looks at what it is told to free.
///
/// | mode | before it refuses | a bad free that it detects |
/// |---|---|---|
/// | [`Complete`] | looks at every hole that could fit: linear in the holes, only when the bounded search failed | foreign, misaligned, past the end, beginning or ending in a hole's first or last granule |
/// | [`Bounded`] | a constant number of steps, stated at `GoodFit`; may refuse what fits (`Fragmented`) | the same |
/// | [`Hardened`] | as `Complete` | every free that is not exactly of a live block and its size |
pub trait Mode: Copy + Debug + sealed::Sealed {
    /// Search every hole before refusing.
    const COMPLETE: bool;
    /// Keep a bit for each granule that begins a block, and check every free against it.
    const HARDENED: bool;
}

macro_rules! mode {
    ($($(#[$doc:meta])* $name:ident: $complete:literal, $hardened:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl sealed::Sealed for $name {}
        impl Mode for $name {
            const COMPLETE: bool = $complete;
            const HARDENED: bool = $hardened;
        }
    )*};
}
mode! {
    /// Refuses only what fits nowhere.
    Complete: true, false;
    /// Takes a bounded number of steps, always.
    Bounded: false, false;
    /// Complete, and detects every bad free. Costs one more bit a granule, and a scan of the block's bits on each free.
    Hardened: true, true;
}

mod sealed {
    pub trait Sealed {}
}
