//! Atomics and cells: `core`'s, or loom's when a model is checked (`--cfg hectare_loom`).
//!
//! Everything concurrent in the family imports from here, so that the code under the model checker is the code that
//! ships. loom's constructors are not `const`; [`const_unless_loom!`](crate::const_unless_loom) hides the difference.

#[cfg(not(hectare_loom))]
pub use core::sync::atomic;

#[cfg(hectare_loom)]
pub use loom::{cell::UnsafeCell, hint, sync::atomic};

#[cfg(not(hectare_loom))]
pub use core::hint;

/// `core::cell::UnsafeCell` with loom's closure interface.
#[cfg(not(hectare_loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

#[cfg(not(hectare_loom))]
impl<T> UnsafeCell<T> {
    /// A cell with this value.
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

#[cfg(not(hectare_loom))]
impl<T: ?Sized> UnsafeCell<T> {
    /// Runs `f` with a pointer for reading. Who dereferences it argues that nobody writes meanwhile.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Runs `f` with a pointer for writing. Who dereferences it argues that nobody else has access meanwhile.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Declares functions that are `const`, except under loom, whose constructors cannot be.
#[macro_export]
macro_rules! const_unless_loom {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($args:tt)*) -> $ret:ty $body:block)*) => {$(
        #[cfg(not(hectare_loom))]
        $(#[$meta])*
        $vis const fn $name($($args)*) -> $ret $body
        #[cfg(hectare_loom)]
        $(#[$meta])*
        $vis fn $name($($args)*) -> $ret $body
    )*};
}
