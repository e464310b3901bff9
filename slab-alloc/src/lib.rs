#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate std;

mod back;
pub mod construct;
mod front;
pub mod geometry;
pub mod heap;
pub mod info;
mod memory;
pub mod object_cache;
mod owner;
pub mod raw_cache;
pub mod shared_cache;
pub mod size_class;
mod slab;
mod slabs;

pub use construct::{ByDefault, Construct, Raw};
pub use geometry::{Geometry, GeometryError};
pub use heap::SlabHeap;
pub use info::{CacheInfo, SlabInfo, SlabTop};
pub use object_cache::ObjectCache;
pub use raw_cache::{BulkFreeError, RawCache};
pub use shared_cache::{Home, SharedCache, SlabBox};
