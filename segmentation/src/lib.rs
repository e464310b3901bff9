#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod base_limit;
pub mod composed;
pub mod fault;
pub mod protect;
pub mod region_map;
pub mod register;
pub mod segment;
pub mod space;

pub mod table;
pub mod x86;

pub use base_limit::BaseLimit;
pub use composed::{PagedSegments, Segmented, SegmentedFault, Unpaged};
pub use fault::{Cause, Fault};
pub use region_map::RegionMap;
pub use register::SegmentRegister;
pub use segment::{Absence, Growth, Segment, SegmentError, SegmentNumber};
pub use space::{Goal, Memory, NewSegment, ProcessId, SpaceError, Spaces};
pub use table::{Slot, Table};
