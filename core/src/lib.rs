#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![doc = include_str!("../README.md")]
//!
//! # Words, one meaning each
//! | word | meaning |
//! |---|---|
//! | *frame* | a physical page, by number ([`Frame`]) |
//! | *page* | a virtual page, by number ([`Page`]) |
//! | *order* k | 2^k frames ([`Order`]) |
//! | *run* | consecutive frames or pages ([`FrameRun`], [`PageRun`]) |
//! | *extent* | start and length in abstract units ([`Extent`]) |
//! | *block* | what an allocator hands out |
//! | *slab* | a run of frames cut into equal objects |
//! | *object* | one cell of a slab |
//! | *region* | a range of memory given to an allocator or described to hardware |
//! | *hole* | a maximal free range |
//! | *segment* | a logical unit with base, limit and permissions |
//! | *fault* | a refused access, typed |
//!
//! # Where to look
//! * numbers and addresses: [`addr`], [`frame`], [`extent`]
//! * rights: [`access`]
//! * the traits the crates meet through: [`byte_alloc`], [`frame_source`], [`range_source`], [`translate`],
//!   [`window`], [`cpu`], [`check`], [`figures`]
//! * what wraps an allocator for use: [`heap`] (bytes), [`locked`] (numbers), [`growing`] (more memory on demand),
//!   [`lock`] (how callers are kept apart)

pub mod access;
pub mod addr;
pub mod byte_alloc;
pub mod check;
pub mod cpu;
pub mod error;
pub mod extent;
pub mod figures;
pub mod frame;
pub mod frame_source;
pub mod growing;
pub mod heap;
mod interop;
pub mod lock;
pub mod locked;
pub mod range_source;
pub mod sync;
pub mod translate;
pub mod window;

pub use access::{Access, AccessKind, Permissions, Privilege};
pub use addr::{PhysAddr, VirtAddr};
pub use byte_alloc::{ByteAllocator, RegionHeap};
pub use check::{CheckInvariants, Violation};
pub use cpu::{CpuPin, NoCpu, SingleCpu, Slot};
pub use error::{AllocError, FreeError, Reentered, RegionError};
pub use extent::Extent;
pub use figures::{Failures, Figures, Fragmentation, Ratio, Usage};
pub use frame::{Frame, FrameRun, Order, Page, PageRun, PageSize};
pub use frame_source::{FrameRequest, FrameSource, SharedFrameSource};
pub use growing::{Growing, Source};
pub use heap::{BadFree, Heap};
#[cfg(feature = "critical-section-1")]
pub use interop::critical_section_1::CriticalSectionLock;
#[cfg(feature = "lock_api-04")]
pub use interop::lock_api_04::LockApi04;
#[cfg(feature = "lock_api-05")]
pub use interop::lock_api_05::LockApi05;
#[cfg(feature = "mutex-traits-1")]
pub use interop::mutex_traits_1::ScopedLock;
#[cfg(target_has_atomic = "8")]
pub use lock::SpinLock;
pub use lock::{NoLock, RawLock};
pub use locked::Locked;
pub use range_source::{PlacedRangeSource, RangeRequest, RangeSource};
pub use translate::{Translate, Translation};
pub use window::{DirectMap, PhysWindow};
