//! Address spaces: which pages a program may use, and what lies behind them.
//!
//! | part | what it is |
//! |---|---|
//! | [`AddressSpace`] | areas, tables and faults together: map, unmap, protect, remap, brk, advise, fork, reclaim |
//! | [`Kernel`] | what it needs around it: frames, a window, counts, a pager, translation caches |
//! | [`Area`] | pages that are alike: permissions, backing, flags |
//! | [`index`] | the areas in order, with the longest holes: a B-tree of fixed nodes |
//! | [`maps`] | the areas as text, in the format of `/proc/PID/maps` |
//! | [`replacement`] | policies that choose which page goes |
//! | [`reclaim`] | the loop around them: harvest, choose, evict, until enough frames are free |
#![deny(unsafe_code)]

mod address_space;
mod area;
mod error;
mod fault;
pub mod index;
mod kernel;
pub mod maps;
mod memory;
mod pager;
pub mod reclaim;
#[cfg(target_has_atomic = "32")]
mod ref_table;
mod refs;
pub mod replacement;

pub use address_space::{
    AddressSpace, Advice, AreaUsage, Counts, HugePages, MapRequest, Maps, Move, Place, Promoted, Scan,
    Settings, Smaps, Visit,
};
pub use area::{Area, AreaFlags, Backing, ObjectId};
pub use error::SpaceError;
pub use fault::{Cause, Handled, How, Signal, SpaceFault};
pub use kernel::Kernel;
pub use pager::{NoPager, Pager, PagerError, SwapSlot};
#[cfg(target_has_atomic = "32")]
pub use ref_table::RefTable;
pub use refs::{FrameRefs, TooManyUsers};
