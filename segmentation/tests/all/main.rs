//! What the crate promises, one file a promise.
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]
#![allow(clippy::cast_possible_truncation, reason = "addresses of a memory of some hundred bytes")]
mod base_limit;
mod composed;
mod exhaustive;
mod protect_machine;
mod protect_reference;
mod protect_regressions;
mod region_map;
mod registers;
mod space;
mod table;
mod x86_equality;
mod x86_model;
mod x86_reference;
mod x86_regressions;
mod x86_total;
