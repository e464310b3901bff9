//! Frame traces: what a kernel asked of its page-frame allocator, replayed.
//!
//! ```text
//!  program    a recorded or made sequence of requests        subject   an allocator, behind one interface
//!     └──────────────┬──────────────────────────────────────────┘
//!        survey      untimed: overlap, alignment, refusals; free blocks by order over time, seen from outside
//!        replay      timed in one thread        threads   timed in several        latency   operation by operation
//! ```

mod allocators;
mod broken;
mod child;
pub(crate) mod cpu;
mod latency;
mod made;
mod nothing;
mod ours;
pub mod peers;
mod program;
mod replay;
pub mod report;
mod row;
mod run;
mod shadow;
mod shared;
mod subject;
mod survey;
mod threads;

pub use allocators::{ALLOCATORS, Allocator, select};
pub use child::work;
pub use latency::Latencies;
pub use made::{MADE, Made, geo, procs};
pub use ours::{Buddy, CachedBuddy, SharedBuddy, words};
pub use program::{Invalid, Op, Program};
pub use replay::{Pass, timed};
pub use row::Row;
pub use run::{Plan, TraceResult, measure};
pub use shadow::{Overlap, Shadow};
pub use shared::{Alone, Behind, SharedSubject};
pub use subject::{FRAME, Memory, Subject};
pub use survey::{Breach, Sample, Survey, survey};
pub use threads::threaded;
