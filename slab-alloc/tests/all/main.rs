//! The tests of the caches: examples, every state of small ones, a stupid model, regressions.

#![cfg(not(hectare_loom))]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

extern crate alloc;

mod cpu;
mod examples;
mod fronted;
mod hardened;
mod heap;
mod peers;
mod shadow;
mod small;
mod support;
