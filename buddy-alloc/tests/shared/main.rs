//! The tests of the shared engine: a stupid model, threads that run into each other, what bad frees do, how memory
//! fragments. The models that run every interleaving are in `tests/loom.rs`.
#![cfg(all(target_has_atomic = "64", not(hectare_loom)))]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

mod chosen;
mod examples;
mod fragmentation;
mod shadow;
mod stress;
#[path = "../all/support.rs"]
#[allow(dead_code, reason = "the other tests use all of it")]
mod support;
