//! Adapters to other crates, each behind a feature that names the version.
//!
//! ```text
//!   Allocator (allocator-api2 0.2, 0.4, nightly core)  ──►  Heap<L, A>  ──►  L: RawLock  ◄──  lock_api 0.4, 0.5
//!                     allocator.rs                                                            critical-section 1
//!                                                                                             mutex-traits 1
//! ```

#[cfg(any(feature = "allocator-api2-02", feature = "allocator-api2-04", feature = "nightly"))]
mod allocator;
#[cfg(feature = "critical-section-1")]
pub(crate) mod critical_section_1;
#[cfg(feature = "lock_api-04")]
pub(crate) mod lock_api_04;
#[cfg(feature = "lock_api-05")]
pub(crate) mod lock_api_05;
#[cfg(feature = "mutex-traits-1")]
pub(crate) mod mutex_traits_1;
