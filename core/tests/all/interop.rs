//! Each adapter against the crate that it adapts to.

#[cfg(any(feature = "allocator-api2-02", feature = "allocator-api2-04", feature = "nightly"))]
mod allocator;
mod locks;
