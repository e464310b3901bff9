//! How wide a row is: 64 frames, 32, or 4 for exhaustive tests.
#![forbid(unsafe_code)]

use core::fmt::Debug;
use core::ops::{BitAnd, BitOr, Not, Shl, Shr};

/// An unsigned integer that holds one row.
pub trait Word:
    Copy
    + Eq
    + Debug
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
    + private::Sealed
{
    /// No bit.
    const ZERO: Self;
    /// The lowest bit.
    const ONE: Self;

    /// The low bits of `pattern`.
    fn truncate(pattern: u64) -> Self;
    /// As the widest of them.
    fn widen(self) -> u64;
    /// The sum, without what exceeds the type.
    fn plus(self, other: Self) -> Self;
    /// How many bits are set.
    fn ones(self) -> u32;
    /// The number of the lowest set bit; the width of the type if there is none.
    fn lowest(self) -> u32;
}

/// A row's width and the integer that holds it. Closed: the three below are all there are.
pub trait Geometry: Debug + private::Sealed {
    /// The integer that holds a row.
    type Word: Word;
    /// log2 of the bits in a row. There are as many orders on a level.
    const LOG2: u32;
    /// The order besides 0 that has a path of its own.
    const HUGE: u32;
    /// How many rows of level 0 are kept at hand, and how many of those above: at least 2, at most 128.
    const AT_HAND: usize = 128;
    /// Whether the engine keeps where blocks begin, and refuses a free of another size.
    const EXACT: bool = false;
    /// Whether a shared engine counts its atomic read-modify-writes.
    const COUNTED: bool = false;
    /// Bits in a row.
    const BITS: u32 = 1 << Self::LOG2;
}

/// Rows of 64 frames in `u64`: for 64-bit machines, and the default.
#[derive(Clone, Copy, Debug)]
pub struct Rows64;

/// Rows of 32 frames in `u32`: for 32-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Rows32;

/// Rows of 4 frames in the low bits of `u8`: 16 frames have three levels. For exhaustive tests; it wastes metadata.
#[derive(Clone, Copy, Debug)]
pub struct Rows4;

impl Geometry for Rows64 {
    type Word = u64;
    const LOG2: u32 = 6;
    const HUGE: u32 = 9;
}

impl Geometry for Rows32 {
    type Word = u32;
    const LOG2: u32 = 5;
    const HUGE: u32 = 9;
}

impl Geometry for Rows4 {
    type Word = u8;
    const LOG2: u32 = 2;
    const HUGE: u32 = 2;
    const AT_HAND: usize = 3;
}

/// A geometry whose engine also keeps where each block begins: 1 bit more a frame, 0.275 bytes in all for [`Rows64`].
///
/// What is given back must be exactly a block (or run) as it was handed out: another size or start is
/// [`FreeError::WrongSize`](hectare_core::FreeError::WrongSize). A part is given back after
/// [`split`](crate::Engine::split).
#[cfg(feature = "exact")]
#[derive(Clone, Copy, Debug)]
pub struct Exact<G>(core::marker::PhantomData<G>);

#[cfg(feature = "exact")]
impl<G: Geometry> Geometry for Exact<G> {
    type Word = G::Word;
    const LOG2: u32 = G::LOG2;
    const HUGE: u32 = G::HUGE;
    const AT_HAND: usize = G::AT_HAND;
    const EXACT: bool = true;
}

/// A geometry whose shared engine counts its atomic read-modify-writes in one place for all engines of the program: to
/// know what they cost, not to be fast.
#[cfg(feature = "counted")]
#[derive(Clone, Copy, Debug)]
pub struct Counted<G>(core::marker::PhantomData<G>);

#[cfg(feature = "counted")]
impl<G: Geometry> Geometry for Counted<G> {
    type Word = G::Word;
    const LOG2: u32 = G::LOG2;
    const HUGE: u32 = G::HUGE;
    const AT_HAND: usize = G::AT_HAND;
    const EXACT: bool = G::EXACT;
    const COUNTED: bool = true;
}

mod private {
    pub trait Sealed {}
    impl Sealed for super::Rows64 {}
    impl Sealed for super::Rows32 {}
    impl Sealed for super::Rows4 {}
    #[cfg(feature = "exact")]
    impl<G: super::Geometry> Sealed for super::Exact<G> {}
    #[cfg(feature = "counted")]
    impl<G: super::Geometry> Sealed for super::Counted<G> {}
}

macro_rules! word {
    ($($integer:ty),*) => {$(
        impl private::Sealed for $integer {}

        impl Word for $integer {
            const ZERO: Self = 0;
            const ONE: Self = 1;

            #[inline(always)]
            #[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
            #[allow(trivial_numeric_casts, reason = "u64 is one of the types")]
            fn truncate(pattern: u64) -> Self {
                pattern as Self
            }

            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn ones(self) -> u32 {
                self.count_ones()
            }

            #[inline(always)]
            fn lowest(self) -> u32 {
                self.trailing_zeros()
            }
        }
    )*};
}
word!(u8, u32, u64);
