//! Traces as ranges of numbers: no memory behind them, only where blocks lie.
//!
//! ```text
//!  program    sizes of a heap trace in 16-byte units, or mappings of a process in pages
//!     └──────────────┬───────────── subject   an allocator of ranges, behind one interface
//!        replay      timed         latency   operation by operation
//!        survey      untimed: overlaps, refusals, holes over time, seen from outside
//!        smallest    the smallest space in which nothing is refused
//! ```

mod allocators;
mod occupied;
mod program;
mod replay;
pub mod report;
mod row;
mod run;
mod subject;
mod survey;

pub use allocators::{ALLOCATORS, Allocator, select};
pub use program::{Op, Program};
pub use replay::{smallest, timed};
pub use row::Row;
pub use run::{Plan, TraceResult, measure};
pub use subject::{FreeList, Offset, Ours, RangeAlloc, Subject, VmAllocator};
pub use survey::{Sample, Survey, survey};
