//! Operations on a source of page frames.

use super::bytes::{byte, scaled};
use crate::trace::frames as recorded;

/// One operation on a source of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOp {
    /// Takes a run into `slot`.
    Allocate {
        /// Where the run is kept.
        slot: u32,
        /// How many frames; 0 counts as 1.
        count: u64,
        /// The first frame is a multiple of 2^this.
        align: u8,
    },
    /// Gives the run in `slot` back.
    Free {
        /// Where the run is kept.
        slot: u32,
    },
    /// Cuts the run in `slot` in two, if the source takes parts of runs back and the run is that long.
    Split {
        /// Where the run is kept; its first part stays there.
        slot: u32,
        /// How many frames the first part has.
        count: u64,
        /// Where the other part is kept; what was there is freed first.
        rest: u32,
    },
}

impl FrameOp {
    /// Reads an operation from the front of fuzz bytes: up to 64 slots, runs of up to 64 frames.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let code = byte(bytes)?;
        let slot = u32::from(byte(bytes)? & 63);
        Some(match code % 8 {
            0..=1 => {
                let order = code >> 4 & 7;
                Self::Allocate { slot, count: 1 << order, align: order }
            }
            2..=3 => Self::Allocate { slot, count: scaled(bytes, 6)?.into(), align: code >> 4 & 3 },
            4..=6 => Self::Free { slot },
            _ => Self::Split { slot, count: scaled(bytes, 5)?.into(), rest: u32::from(byte(bytes)? & 63) },
        })
    }

    /// The operations of a recorded trace, those that name a CPU or a task left out.
    ///
    /// # Panics
    /// The trace was not read or made by the testkit, and breaks a rule.
    pub fn from_trace(ops: &[recorded::FrameOp]) -> impl Iterator<Item = Self> {
        let mut cut = (0, 0);
        ops.iter().filter_map(move |op| match *op {
            recorded::FrameOp::Allocate { slot, order, .. } => {
                Some(Self::Allocate { slot, count: 1 << order, align: order })
            }
            recorded::FrameOp::Free { slot } => Some(Self::Free { slot }),
            recorded::FrameOp::Split { slot, order } => {
                cut = (slot, order);
                None
            }
            recorded::FrameOp::Piece { slot: rest } => {
                // Each piece is cut off the rest that the one before left over.
                let (slot, order) = cut;
                cut = (rest, order);
                Some(Self::Split { slot, count: 1 << order, rest })
            }
            recorded::FrameOp::Cpu { .. } | recorded::FrameOp::Task { .. } => None,
        })
    }
}

/// Any operation with slots below `slots` and runs of at most `max_count` frames.
#[cfg(feature = "proptest")]
pub fn strategy(slots: u32, max_count: u64) -> impl proptest::strategy::Strategy<Value = FrameOp> {
    use proptest::prelude::*;
    let slot = 0..slots.max(1);
    let largest = u8::try_from(max_count.max(1).ilog2()).unwrap_or(63);
    prop_oneof![
        3 => (slot.clone(), 0..=largest)
            .prop_map(|(slot, order)| FrameOp::Allocate { slot, count: 1 << order, align: order }),
        2 => (slot.clone(), 1..=max_count.max(1), 0..=largest)
            .prop_map(|(slot, count, align)| FrameOp::Allocate { slot, count, align }),
        4 => slot.clone().prop_map(|slot| FrameOp::Free { slot }),
        1 => (slot.clone(), 1..=max_count.max(1), slot)
            .prop_map(|(slot, count, rest)| FrameOp::Split { slot, count, rest }),
    ]
}
