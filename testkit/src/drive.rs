//! One driver for all kinds: it runs operations against a [`Model`], which pairs an allocator with its shadow.
//!
//! The shadow is stupid on purpose: a tree of what is handed out. It knows for each block where it lies and what was
//! written to it, and finds by looking that blocks overlap, leave their regions, lose contents or never come back.
//! A broken rule is an error value that names the operation, so that a shrinker can do its work and a deliberately
//! broken allocator can show that each rule is watched.

use hectare_core::{AllocError, FreeError, RegionError, Violation};
use thiserror::Error;

mod contents;
pub mod frames;
pub mod heap;
pub mod objects;
pub mod ranges;
pub mod space;
pub mod vm;

use crate::arena::Damage;
pub use frames::FrameModel;
pub use heap::{HeapModel, HeapUnderTest};
pub use objects::{CacheUnderTest, ObjectModel};
pub use ranges::RangeModel;
pub use space::Space;
pub use vm::{SpacesUnderTest, VmModel};

/// An allocator and its shadow.
pub trait Model {
    /// What can be done with it.
    type Op;

    /// Does one operation to both.
    ///
    /// # Errors
    /// The rule that the allocator broke.
    fn step(&mut self, op: Self::Op) -> Result<(), Breach>;

    /// Checks everything that can be checked between operations.
    ///
    /// # Errors
    /// The rule that the allocator broke.
    fn check(&mut self) -> Result<(), Breach>;

    /// Gives everything back, and checks that the allocator is then as empty as at the start.
    ///
    /// # Errors
    /// The rule that the allocator broke.
    fn finish(&mut self) -> Result<(), Breach>;

    /// What was done so far.
    fn counts(&self) -> Counts;
}

/// What happened: so that a test can see that it tried something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks handed out, resized ones not counted.
    pub allocated: u64,
    /// Requests refused: to allocate, to resize, to change regions.
    pub refused: u64,
    /// Blocks given back.
    pub freed: u64,
    /// Blocks resized.
    pub resized: u64,
    /// Regions added, extended, truncated and removed, or runs split.
    pub regions: u64,
}

/// A rule that an allocator broke.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Breach {
    /// A block does not begin where it was asked to.
    #[error("the block at {start:#x} is not aligned to {align:#x}")]
    Misaligned {
        /// Where it begins.
        start: u64,
        /// What was asked for.
        align: u64,
    },
    /// A block is shorter (or, where that is forbidden, longer) than asked.
    #[error("{found} units were given where {asked} were asked for")]
    Length {
        /// What was asked for.
        asked: u64,
        /// What was given.
        found: u64,
    },
    /// A block shares units with a live one.
    #[error("the block [{start:#x}, {end:#x}) overlaps the live one at {other:#x}")]
    Overlap {
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
        /// Where the other begins.
        other: u64,
    },
    /// A block lies outside every region.
    #[error("the block [{start:#x}, {end:#x}) lies outside every region")]
    Outside {
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// A byte that the block's owner wrote has changed.
    #[error("slot {slot}: byte {at} was lost")]
    Lost {
        /// The block's slot.
        slot: u32,
        /// The offset in the block.
        at: u64,
    },
    /// A block that should be zero is not.
    #[error("slot {slot}: byte {at} is not zero")]
    NotZero {
        /// The block's slot.
        slot: u32,
        /// The offset in the block.
        at: u64,
    },
    /// A good free was refused.
    #[error("slot {slot}: a good free was refused: {error}")]
    FreeRefused {
        /// The block's slot.
        slot: u32,
        /// The reason given.
        error: FreeError,
    },
    /// A bad free was taken.
    #[error("a free of [{start:#x}, {end:#x}), which nobody holds, was taken")]
    BadFreeTaken {
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// A request was refused although it could have been served, or for a reason that cannot be.
    #[error("a request for {size} units aligned to {align} was refused ({error}): {reason}")]
    Refused {
        /// How many units.
        size: u64,
        /// The alignment.
        align: u64,
        /// The reason given.
        error: AllocError,
        /// Why that is wrong.
        reason: String,
    },
    /// A region was refused although it could have been taken or spared.
    #[error("a change of regions was refused ({error}): {reason}")]
    RegionRefused {
        /// The reason given.
        error: RegionError,
        /// Why that is wrong.
        reason: &'static str,
    },
    /// Memory was given up although a block lies there.
    #[error("slot {slot}: its memory was given up while it was live")]
    Abandoned {
        /// The block's slot.
        slot: u32,
    },
    /// The allocator's own check failed.
    #[error(transparent)]
    Invariant(#[from] Violation),
    /// It did what it must not do, in words.
    #[error("{0}")]
    Behaviour(String),
    /// A write outside every region.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// Everything was given back, and the allocator is not empty.
    #[error("everything was given back, but: {0}")]
    NotEmpty(String),
}

/// A broken rule, and the operation that showed it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("operation {op}: {breach}")]
pub struct Failure {
    /// The index of the operation; the number of operations if it showed at the end.
    pub op: usize,
    /// The rule.
    pub breach: Breach,
}

/// Runs `ops`, [checks](Model::check) after every `check_every` of them (0: never) and at the end, and gives everything
/// back.
///
/// # Errors
/// The first broken rule.
pub fn drive<M: Model>(
    model: &mut M,
    ops: impl IntoIterator<Item = M::Op>,
    check_every: usize,
) -> Result<Counts, Failure> {
    let mut done = 0;
    for (op, what) in ops.into_iter().enumerate() {
        model.step(what).map_err(|breach| Failure { op, breach })?;
        done = op + 1;
        if check_every != 0 && done % check_every == 0 {
            model.check().map_err(|breach| Failure { op, breach })?;
        }
    }
    let counts = model.counts();
    model.check().and_then(|()| model.finish()).map_err(|breach| Failure { op: done, breach })?;
    Ok(counts)
}
