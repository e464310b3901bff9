//! Heap traces: replayed against byte allocators.

mod allocators;
mod broken;
mod checker;
mod child;
mod latency;
mod map;
mod nothing;
mod program;
mod replay;
mod resident;
mod row;
mod run;
mod shadow;
mod smallest;
mod survey;
pub(crate) mod threads;
mod verdict;

pub use allocators::{ALLOCATORS, Allocator, Class, select};

pub use child::work;
pub use latency::Latencies;
pub use program::{Builder, Invalid, Op, OpKind, Program};
pub use replay::{Pass, timed};

pub(crate) use broken::Broken;
pub use checker::Breach;
pub use map::Map;
pub use row::{JsonRow, Memory, Note, Quantiles, Row, Speed};
pub use run::{Plan, Progress, TraceResult, measure};
pub use shadow::{Holes, Overlap, Shadow};
pub(crate) use smallest::search;
pub use smallest::{CAP, smallest_ratio};
pub use survey::{Sample, Survey, survey};
pub use threads::{Threads, threaded};
pub(crate) use threads::{race, wait_until};
