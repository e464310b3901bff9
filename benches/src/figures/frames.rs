//! The figures of page frames.
//!
//! | rows | module |
//! |---|---|
//! | pairs of one order, and mixed orders, in a fresh and an aged memory | [`pairs`] |
//! | what of the free memory stays usable as 2 MiB | [`shares`] |
//! | recorded traces | [`recorded`] |
//! | sizes: tables, the time to begin | [`sizes`] |
//! | several CPUs | [`cpus`] |

pub mod cpus;
pub mod pairs;
pub mod recorded;
pub mod shares;
pub mod sizes;
