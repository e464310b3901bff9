//! Operations on a source of abstract ranges.

use super::bytes::{byte, scaled};
use crate::trace::heap as recorded;

/// One operation on a source of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    /// Takes a range into `slot`.
    Allocate {
        /// Where the range is kept.
        slot: u32,
        /// How many units; 0 counts as 1.
        length: u64,
        /// The first unit is a multiple of this; 0 counts as 1.
        align: u64,
    },
    /// Gives the range in `slot` back.
    Free {
        /// Where the range is kept.
        slot: u32,
    },
    /// Gives a range back that may never have been handed out: refused unless it is exactly one that was.
    FreeAny {
        /// The first unit.
        start: u64,
        /// How many units; 0 counts as 1.
        length: u64,
    },
}

impl RangeOp {
    /// Reads an operation from the front of fuzz bytes: up to 64 slots, ranges of up to 4096 units.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let code = byte(bytes)?;
        let slot = u32::from(byte(bytes)? & 63);
        Some(match code % 8 {
            0..=3 => {
                // Half of the alignments are powers of two, the others anything.
                let align = if code & 0x80 != 0 { u64::from(byte(bytes)?) } else { 1 << (code >> 4) };
                Self::Allocate { slot, length: scaled(bytes, 12)?.into(), align }
            }
            4..=6 => Self::Free { slot },
            _ => Self::FreeAny { start: (scaled(bytes, 16)? - 1).into(), length: scaled(bytes, 12)?.into() },
        })
    }

    /// The sizes of a recorded heap as ranges of bytes, 0 as 1. A resize gives the old range back and takes another.
    ///
    /// # Panics
    /// The trace was not read or made by the testkit, and breaks a rule.
    pub fn from_trace(trace: &recorded::HeapTrace) -> impl Iterator<Item = Self> {
        let mut aligns = vec![0; trace.header.slots as usize];
        trace.ops.iter().filter_map(move |op| match *op {
            recorded::HeapOp::Allocate { slot, size, align_log2, .. } => {
                aligns[slot as usize] = align_log2;
                Some(Self::Allocate { slot, length: size, align: 1 << align_log2 })
            }
            recorded::HeapOp::Free { slot } => Some(Self::Free { slot }),
            recorded::HeapOp::Reallocate { slot, size } => {
                Some(Self::Allocate { slot, length: size, align: 1 << aligns[slot as usize] })
            }
            recorded::HeapOp::Thread { .. } => None,
        })
    }
}

/// Any operation with slots below `slots`, in a space of `space` units.
#[cfg(feature = "proptest")]
pub fn strategy(slots: u32, space: u64) -> impl proptest::strategy::Strategy<Value = RangeOp> {
    use proptest::prelude::*;
    let slot = 0..slots.max(1);
    let largest = u8::try_from(space.max(1).ilog2()).unwrap_or(63);
    let length = (0..=largest, any::<u64>()).prop_map(|(log2, noise)| 1 + noise % (1 << log2));
    let align = prop_oneof![2 => Just(1), 1 => (0..=largest).prop_map(|log2| 1 << log2), 1 => 1u64..=100];
    prop_oneof![
        5 => (slot.clone(), length.clone(), align)
            .prop_map(|(slot, length, align)| RangeOp::Allocate { slot, length, align }),
        4 => slot.prop_map(|slot| RangeOp::Free { slot }),
        1 => (0..space.max(1), length).prop_map(|(start, length)| RangeOp::FreeAny { start, length }),
    ]
}
