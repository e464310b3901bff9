#![deny(unsafe_code)]
#![allow(clippy::std_instead_of_alloc, clippy::std_instead_of_core, reason = "runs on hosts only")]
//! What the tests, fuzz targets and benches of Hectare share.
//!
//! ```text
//!   proptest strategy ─┐
//!   fuzz bytes ────────┼──►  op  ──►  drive  ──►  the allocator under test, in an arena
//!   recorded trace ────┘               │
//!                                      └──────►  a shadow model that knows what must be true
//! ```
//! * [`op`]: one enum of operations for each kind of allocator, and its three readers
//! * [`drive`]: runs operations against an allocator and its shadow model; a broken rule is an error value
//! * [`arena`]: raw memory between canaries
//! * [`stand_in`]: a plain implementation of every trait of `hectare-core`, and failure injection
//! * [`fuzz`]: what the fuzz targets do, and their corpus
//! * [`trace`]: readers and writers of the four recorded trace formats

pub mod arena;
pub mod drive;
pub mod fuzz;
pub mod op;
pub mod stand_in;
pub mod trace;
