//! Hectare's allocators beside their peers: the `compare` tool, and the parts that measure.
//!
//! | module | holds |
//! |---|---|
//! | [`clock`] | thread CPU time; a tick counter for single operations |
//! | [`arena`] | memory for arena allocators, placed alike for all |
//! | [`rounds`] | interleaved rounds, median, geometric mean |
//! | [`subject`] | what every allocator is measured through |
//! | [`family`] | the same for those that bring their own memory, through `malloc` and its kin |
//! | [`peers`], [`ours`] | the allocators |
//! | [`heap`] | heap traces: timed, checked and squeezed |
//! | [`frames`] | frame traces: timed and checked |
//! | [`objects`] | traces of kernel objects: timed, checked and squeezed |
//! | [`children`], [`workers`] | child processes, for what may crash; threads, for what is not timed |
//! | [`ranges`] | the same and mappings as abstract ranges, by every policy |
//! | [`vm`] | traces of address spaces, replayed with real page tables |
//! | [`report`] | tables, advice, JSON, HTML |
//! | [`cli`] | the command line of `compare` |
//! | [`figures`] | the claims, measured: the tool `figures` |
#![allow(
    clippy::cast_possible_truncation,
    reason = "figures for people; sizes come from traces whose values are bounded when they are read"
)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a tool for hosted systems")]

pub mod arena;
pub mod children;
pub mod cli;
pub mod clock;
pub mod family;
pub mod figures;
pub mod frames;
pub mod heap;
pub mod kind;
pub mod objects;
pub mod ours;
pub mod peers;
pub mod ranges;
pub mod report;
pub mod rounds;
pub mod subject;
pub mod traces;
pub mod vm;
pub mod workers;
