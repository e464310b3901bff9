//! Tests of page-table formats, tables and address spaces.
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod formats;
mod hostile;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kvm;
#[path = "../support/machine.rs"]
#[allow(unreachable_pub, dead_code, clippy::std_instead_of_alloc, reason = "measurements include it too")]
mod machine;
mod maps;
mod peers;
#[path = "../support/processes.rs"]
#[allow(unreachable_pub, reason = "measurements include it too")]
mod processes;
mod replacement;
mod space;
mod space_fork;
mod space_index;
mod space_model;
mod tables;
mod walkers;
