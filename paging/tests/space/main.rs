//! Tests of address spaces. Those of formats and tables are in `tests/all`.
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod corpus;
mod examples;
mod fork;
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod host;
mod index;
mod kernel_half;
mod linux;
#[path = "../support/machine.rs"]
#[allow(unreachable_pub, dead_code, clippy::std_instead_of_alloc, reason = "measurements include it too")]
mod machine;
mod maps;
mod model;
mod pressure;
#[path = "../support/processes.rs"]
#[allow(unreachable_pub, reason = "measurements include it too")]
mod processes;
mod promote;
mod replacement;
mod threads;
#[path = "../support/vm_case.rs"]
#[allow(unreachable_pub, reason = "a fuzz target includes it too")]
mod vm_case;
