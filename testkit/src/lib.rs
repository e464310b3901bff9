#![deny(unsafe_code)]
#![allow(clippy::std_instead_of_alloc, clippy::std_instead_of_core, reason = "runs on hosts only")]
//! What the tests, fuzz targets and benches of Hectare share.
//!
//! * [`trace`]: readers and writers of the four recorded trace formats

pub mod trace;
