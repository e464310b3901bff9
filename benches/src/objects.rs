//! Object traces: what a kernel asked of its object caches and of `kmalloc`, replayed.
//!
//! ```text
//!  program    a recorded sequence of requests        subject   caches, behind one interface
//!     └──────────────┬─────────────────────────────────┘
//!        survey      untimed: overlap, alignment, contents, refusals, what comes back
//!        replay      timed in one thread, as a whole and operation by operation; the smallest heap
//! ```

mod allocators;
mod child;
mod ours;
mod program;
mod replay;
pub mod report;
mod row;
mod run;
mod slabmalloc;
mod subject;
mod survey;

pub use allocators::{ALLOCATORS, Allocator, select};
pub(crate) use child::slabmalloc_pairs;
pub use child::{timed_apart, work};
pub(crate) use ours::{Fronts, Machine, SharedFrames};
pub use program::{Op, OpKind, Program, Shape, TooLarge};
pub use row::{JsonRow, Row};
pub use run::{Plan, TraceResult, measure};
pub use survey::{Breach, Survey};
