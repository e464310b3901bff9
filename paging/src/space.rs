//! Address spaces: which pages a program may use, and what lies behind them.
//!
//! | part | what it is |
//! |---|---|
//! | [`Area`] | pages that are alike: permissions, backing, flags |
//! | [`index`] | the areas in order, with the longest holes: a B-tree of fixed nodes |
//! | [`maps`] | the areas as text, in the format of `/proc/PID/maps` |
//! | [`replacement`] | policies that choose which page goes |
#![deny(unsafe_code)]

mod area;
pub mod index;
pub mod maps;
pub mod replacement;
pub use area::{Area, AreaFlags, Backing, ObjectId};
