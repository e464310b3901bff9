//! Address spaces of several processes against a model without tables: the last byte chooses format and memory.
#![no_main]

#[path = "../../paging/tests/support/machine.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
mod machine;
#[path = "../../paging/tests/support/processes.rs"]
#[allow(unreachable_pub, reason = "measurements include it too")]
mod processes;
#[path = "../../paging/tests/support/vm_case.rs"]
#[allow(unreachable_pub, reason = "the tests include it too")]
mod vm_case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vm_case::case(bytes));
