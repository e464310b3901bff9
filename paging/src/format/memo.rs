//! What a token remembers, or a type without bytes where there is nothing to remember.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;

use super::sealed::Sealed;

/// A value, or nothing in its place.
pub trait Memo<T>: Sealed + Copy + fmt::Debug {
    /// Remembers the value.
    fn new(value: T) -> Self;

    /// What is remembered.
    fn get(&self) -> Option<T>;
}

/// Remembers.
#[derive(Clone, Copy, Debug)]
pub struct Kept<T>(T);

/// Forgets: no bytes.
#[derive(Clone, Copy, Debug)]
pub struct Nothing<T>(PhantomData<T>);

impl<T> Sealed for Kept<T> {}
impl<T> Sealed for Nothing<T> {}

impl<T: Copy + fmt::Debug> Memo<T> for Kept<T> {
    #[inline(always)]
    fn new(value: T) -> Self {
        Self(value)
    }

    #[inline(always)]
    fn get(&self) -> Option<T> {
        Some(self.0)
    }
}

impl<T: Copy + fmt::Debug> Memo<T> for Nothing<T> {
    #[inline(always)]
    fn new(_value: T) -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    fn get(&self) -> Option<T> {
        None
    }
}
