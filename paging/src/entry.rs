//! The words that tables are made of: `u32` or `u64` whatever the host, and their atomic counterparts.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{BitAnd, BitOr, BitXor, Not};
use core::sync::atomic::Ordering;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// A table entry as a number: `u32` or `u64`.
pub trait Entry:
    sealed::Sealed
    + Copy
    + Eq
    + Ord
    + Default
    + fmt::Debug
    + fmt::LowerHex
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Send
    + Sync
    + 'static
{
    /// All bits zero: absent, without software state, in every format.
    const ZERO: Self;
    /// The size in bytes, 4 or 8.
    const BYTES: usize;

    /// The low bits of `value`.
    #[must_use]
    fn truncate(value: u64) -> Self;

    /// The value, zero-extended.
    #[must_use]
    fn widen(self) -> u64;

    /// The sum modulo the word: how the entries of a run are counted up.
    #[must_use]
    fn plus(self, stride: Self) -> Self;

    /// The product modulo the word: `stride` times an index.
    #[must_use]
    fn times(self, count: u64) -> Self;
}

/// An entry that this machine can change while a translation unit reads it: it has atomics of this width.
///
/// Every machine with tables of a width has them; the trait keeps the rest of the crate compiling elsewhere.
pub trait LiveEntry: Entry {
    /// The atomic of the same size and alignment as the entry in a table.
    type Atomic: AtomicEntry<Value = Self>;
}

/// `AtomicU32` or `AtomicU64`.
pub trait AtomicEntry: fmt::Debug + Send + Sync + 'static {
    /// What it holds.
    type Value: Entry;

    /// Reads.
    #[must_use]
    fn load(&self, order: Ordering) -> Self::Value;

    /// Writes: whatever the hardware set since the last read is lost.
    fn store(&self, value: Self::Value, order: Ordering);

    /// Writes and returns what was there.
    fn swap(&self, value: Self::Value, order: Ordering) -> Self::Value;

    /// Writes `new` if the value is `current`.
    ///
    /// # Errors
    /// What was there instead.
    fn compare_exchange(
        &self,
        current: Self::Value,
        new: Self::Value,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Self::Value, Self::Value>;

    /// Clears the bits that `mask` lacks and returns what was there.
    fn fetch_and(&self, mask: Self::Value, order: Ordering) -> Self::Value;

    /// Sets the bits of `mask` and returns what was there.
    fn fetch_or(&self, mask: Self::Value, order: Ordering) -> Self::Value;

    /// Adds modulo the word and returns what was there.
    fn fetch_add(&self, value: Self::Value, order: Ordering) -> Self::Value;
}

macro_rules! entry {
    ($word:ident, $atomic:ident, $bits:literal) => {
        impl Entry for $word {
            const ZERO: Self = 0;
            const BYTES: usize = size_of::<$word>();

            #[inline(always)]
            #[allow(
                clippy::cast_possible_truncation,
                reason = "it is what the function is for; no cast where the word is u64"
            )]
            fn truncate(value: u64) -> Self {
                value as Self
            }

            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn plus(self, stride: Self) -> Self {
                self.wrapping_add(stride)
            }

            #[inline(always)]
            fn times(self, count: u64) -> Self {
                self.wrapping_mul(Self::truncate(count))
            }
        }

        #[cfg(target_has_atomic = $bits)]
        impl LiveEntry for $word {
            type Atomic = hectare_core::sync::atomic::$atomic;
        }

        #[cfg(target_has_atomic = $bits)]
        impl AtomicEntry for hectare_core::sync::atomic::$atomic {
            type Value = $word;

            #[inline(always)]
            fn load(&self, order: Ordering) -> $word {
                self.load(order)
            }

            #[inline(always)]
            fn store(&self, value: $word, order: Ordering) {
                self.store(value, order);
            }

            #[inline(always)]
            fn swap(&self, value: $word, order: Ordering) -> $word {
                self.swap(value, order)
            }

            #[inline(always)]
            fn compare_exchange(
                &self,
                current: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                self.compare_exchange(current, new, success, failure)
            }

            #[inline(always)]
            fn fetch_and(&self, mask: $word, order: Ordering) -> $word {
                self.fetch_and(mask, order)
            }

            #[inline(always)]
            fn fetch_or(&self, mask: $word, order: Ordering) -> $word {
                self.fetch_or(mask, order)
            }

            #[inline(always)]
            fn fetch_add(&self, value: $word, order: Ordering) -> $word {
                self.fetch_add(value, order)
            }
        }
    };
}
entry!(u32, AtomicU32, "32");
entry!(u64, AtomicU64, "64");
