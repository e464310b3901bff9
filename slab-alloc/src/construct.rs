//! How objects come to life: once for each place in a slab, not once for each use.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

/// Makes the objects of a cache.
///
/// A constructed object stays constructed when it is given back: the next user gets it as the last one left it, without
/// another call of the constructor. It is dropped when its slab goes back to the frame source (Bonwick, "The Slab
/// Allocator", USENIX Summer 1994, section 2: object caching).
pub trait Construct<T> {
    /// Makes one object. Called when an object is handed out for the first time since its slab came.
    fn construct(&mut self) -> T;
}

impl<T, F: FnMut() -> T> Construct<T> for F {
    fn construct(&mut self) -> T {
        self()
    }
}

/// `T::default()`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByDefault;

impl<T: Default> Construct<T> for ByDefault {
    fn construct(&mut self) -> T {
        T::default()
    }
}

/// Nothing: memory for a `T`, which its user initialises and drops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl<T> Construct<MaybeUninit<T>> for Raw {
    #[inline(always)]
    fn construct(&mut self) -> MaybeUninit<T> {
        MaybeUninit::uninit()
    }
}
