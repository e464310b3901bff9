//! The x86's segments: selectors, descriptors of every kind, tables, and the checks that the CPU makes.
//!
//! ```text
//!  selector      ┌─────────────┬──┬───┐
//!                │   index     │TI│RPL│ ──► GDT or LDT ──► descriptor ──► hidden part of the register
//!                └15─────────3─┴2─┴1─0┘                    (8 or 16 bytes)     base, last offset, rights
//!                                                                                     │
//!                                                              offset ──checked──► linear address
//! ```
//! All of it is data: it encodes, decodes and checks on any host, in `const` where that makes sense, and touches no
//! register. Bit positions are those of the Intel SDM, volume 3A, sections 3.4 and 3.5 (segments), 6.14 and 8.2 (64-bit
//! gates and task state), and of the AMD APM, volume 2, chapter 4.
#![forbid(unsafe_code)]

pub mod audit;
pub mod descriptor;
pub mod gate;
pub mod limit;
pub mod model;
pub mod selector;
pub mod system;
pub mod table;
pub mod task;

pub use audit::{Finding, Rule, audit};
pub use descriptor::{Descriptor, EncodeError, Kind, SegmentDescriptor};
pub use gate::{Gate, GateKind, LongGate};
pub use limit::Limit;
pub use model::{Exception, Loaded, TableView};
pub use selector::{Ring, Selector, SelectorTable};
pub use system::{LongSystem, LongSystemKind, SystemDescriptor};
pub use table::{DescriptorTable, TableError};
pub use task::{Tss32, Tss64};
