//! The tests of the engine: examples, regressions, a stupid model, every state of a small one.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

mod cached;
mod driven;
#[cfg(feature = "exact")]
mod exact;
mod examples;
mod pages;
mod peers;
mod shadow;
mod support;
mod zones;
