//! Tests of page-table formats and tables. Those of address spaces are in `tests/space`.
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod formats;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kvm;
mod peers;
mod tables;
#[path = "../support/walkers.rs"]
mod walkers;
