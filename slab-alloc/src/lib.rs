#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate std;

mod back;
pub mod cache;
pub mod construct;
#[cfg(target_has_atomic = "ptr")]
pub mod cpu_cache;
#[cfg(target_has_atomic = "ptr")]
pub mod cpu_heap;
mod exchange;
#[cfg(any(all(feature = "hosted", target_os = "linux", target_pointer_width = "64"), hectare_loom))]
pub mod free;
mod front;
pub mod fronted;
pub mod geometry;
pub mod hardened;
pub mod heap;
#[cfg(all(feature = "hosted", target_os = "linux", target_pointer_width = "64", not(hectare_loom)))]
pub mod hosted;
#[cfg(any(all(feature = "hosted", target_os = "linux", target_pointer_width = "64"), hectare_loom))]
pub mod inbox;
pub mod info;
#[cfg(target_has_atomic = "ptr")]
mod magazine;
#[cfg(target_has_atomic = "ptr")]
mod mailbox;
mod memory;
pub mod object_cache;
mod owner;
mod prefetch;
pub mod raw_cache;
pub mod shared_cache;
pub mod size_class;
mod slab;
mod slabs;

pub use cache::Cache;
pub use construct::{ByDefault, Construct, Raw};
#[cfg(target_has_atomic = "ptr")]
pub use cpu_cache::CpuCache;
#[cfg(target_has_atomic = "ptr")]
pub use cpu_heap::CpuHeap;
pub use fronted::Fronted;
pub use geometry::{Geometry, GeometryError};
pub use hardened::HardenedHeap;
pub use heap::SlabHeap;
pub use info::{CacheInfo, SlabInfo, SlabTop};
pub use object_cache::ObjectCache;
pub use raw_cache::{BulkFreeError, RawCache};
pub use shared_cache::{Home, SharedCache, SlabBox};
