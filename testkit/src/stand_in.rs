//! A plain implementation of every trait of `hectare-core`, so that any crate can be built and tested before its
//! neighbours, and failure injection for all of them. Clear and slow: nothing here is for use.
//!
//! | trait | stand-in |
//! |---|---|
//! | `ByteAllocator`, `RegionHeap`, `Figures`, `CheckInvariants` | [`NaiveHeap`] |
//! | `FrameSource`, and `PhysWindow` onto the memory behind the frames | [`PlainFrames`] |
//! | `RangeSource` | [`NaiveRanges`] |
//! | `Translate` | [`FlatTranslation`] |
//! | `CpuPin` | [`ThreadSlots`] |
//! | refusals of the allocating ones | [`Failing`] |

mod cpu;
mod failing;
mod frames;
mod heap;
mod ranges;
mod translation;

pub use cpu::ThreadSlots;
pub use failing::{Failing, Schedule};
pub use frames::{ArenaWindow, PlainFrames};
pub use heap::NaiveHeap;
pub use ranges::NaiveRanges;
pub use translation::{FlatFault, FlatTranslation};
