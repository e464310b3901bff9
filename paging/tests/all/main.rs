//! Tests of page-table formats, tables and address spaces.
#![expect(clippy::unwrap_used, reason = "tests")]

mod formats;
mod maps;
mod replacement;
mod space_index;
