#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod attributes;
pub mod entry;
pub mod format;
pub mod space;
pub mod table;

pub use attributes::{Attributes, MemoryType, Touched};
pub use entry::{AtomicEntry, Entry, LiveEntry};
pub use format::{Decoded, Edit, EntryError, Format, Kind};
pub use table::{Flush, Fresh, MapOptions, Mapping, PageFault, PageTable, TableError, TableFormat, Tlb};
