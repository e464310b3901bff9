//! Adapters to other crates, each behind a feature that names the version.

#[cfg(feature = "x86_64-015")]
pub(crate) mod x86_64_015;
