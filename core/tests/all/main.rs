//! All integration tests that need neither a global allocator nor loom, in one binary.
#![cfg(not(hectare_loom))]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![expect(unreachable_pub, reason = "shared with other test binaries")]

#[path = "../support/arena.rs"]
mod arena;
#[path = "../support/naive.rs"]
mod naive;

mod growing;
mod heap;
mod interop;
mod locked;
mod numbers;
mod window;
