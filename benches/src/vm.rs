//! Traces of address spaces, replayed record by record: real areas, real page tables, real faults.
//!
//! ```text
//!   record ──► AddressSpace of that process ──► frames of a buddy system, an object cache, a swap area
//!   fault  ──► walk the tables as the hardware does; what it cannot do is a fault, and then it must succeed
//!   end    ──► the areas must be those that the kernel listed; at last every frame must be back
//! ```

#[path = "../../paging/tests/support/machine.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    missing_docs,
    reason = "the tests' own machine"
)]
pub mod machine;

#[path = "../../paging/tests/support/processes.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    missing_debug_implementations,
    reason = "the tests' own processes"
)]
pub mod processes;

mod choices;
pub mod policies;
mod replay;
pub mod report;
mod row;
mod run;

pub use choices::{CHOICES, Choice, select};
pub use replay::{Buddy, Checked, F, Memory, check, with_machine};
pub use row::Row;
pub use run::{Plan, TraceResult, measure};
