#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod banks;
pub mod cached;
pub mod census;
pub mod engine;
pub mod geometry;
pub mod group;
mod interop;
mod layout;
pub mod memory_map;
pub mod pages;
pub mod region;
pub mod request;
mod row;
#[cfg(target_has_atomic = "64")]
pub mod shared;
#[cfg(target_has_atomic = "64")]
mod shared_source;
pub mod source;
pub mod zero;
pub mod zones;

pub use banks::{Bank, Banks};
pub use cached::{Cached, Keep};
pub use census::Census;
pub use engine::Engine;
#[cfg(feature = "counted")]
pub use geometry::Counted;
#[cfg(feature = "exact")]
pub use geometry::Exact;
pub use geometry::{Geometry, Rows4, Rows32, Rows64, Word};
pub use group::{Each, Group, GroupSource};
#[cfg(feature = "x86_64-015")]
pub use interop::x86_64_015::X86Frames;
pub use layout::words_for;
pub use memory_map::{DMA_LIMIT, DMA32_LIMIT, MapEntry};
pub use pages::Pages;
pub use region::{Heap, RegionPages};
pub use request::Request;
#[cfg(target_has_atomic = "64")]
pub use shared::Shared;
#[cfg(target_has_atomic = "64")]
pub use shared_source::SharedFrames;
pub use source::Frames;
pub use zero::zero_frames;
pub use zones::{Urgency, Watermarks, Zone, Zones};
