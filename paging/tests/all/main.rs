//! Tests of page-table formats, tables and address spaces.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod formats;
mod maps;
mod replacement;
mod space_index;
mod tables;
mod walkers;
