//! The operations that allocators are tried with: one enum for each kind, three readers each.
//!
//! An operation names a block by a *slot*, a small number. To allocate into a slot that is in use frees what is there
//! first; to free an empty slot does nothing. So every sequence of operations is valid, and stays so when a shrinker
//! or a fuzzer takes some away.
//!
//! | reader | function |
//! |---|---|
//! | proptest (feature `proptest`) | `strategy` |
//! | fuzz bytes | `decode`: one operation from the front of a byte slice, `None` when it is used up |
//! | recorded trace | `from_trace` |
#![forbid(unsafe_code)]

mod bytes;
pub mod frames;
pub mod heap;
pub mod objects;
pub mod ranges;
pub mod vm;

pub use bytes::{decode_all, noise};
pub use frames::FrameOp;
pub use heap::HeapOp;
pub use objects::ObjectOp;
pub use ranges::RangeOp;
pub use vm::VmOp;
