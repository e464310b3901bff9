//! Operations on a heap of bytes.

use super::bytes::{byte, scaled};
use crate::trace::heap as recorded;

/// One operation on a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapOp {
    /// Takes a block into `slot`.
    Allocate {
        /// Where the block is kept.
        slot: u32,
        /// In bytes, may be 0.
        size: u64,
        /// The logarithm of the alignment.
        align_log2: u8,
        /// Whether the bytes must be zero.
        zeroed: bool,
    },
    /// Gives the block in `slot` back.
    Free {
        /// Where the block is kept.
        slot: u32,
    },
    /// Gives the block in `slot` another size; it may move.
    Reallocate {
        /// Where the block is kept.
        slot: u32,
        /// In bytes, may be 0.
        size: u64,
    },
    /// Gives the block in `slot` another size where it lies, if that is possible.
    Resize {
        /// Where the block is kept.
        slot: u32,
        /// In bytes, may be 0.
        size: u64,
    },
    /// Gives the heap another region, if those bytes of the arena are free.
    AddRegion {
        /// Offset in the arena, modulo its size.
        start: u32,
        /// In bytes; cut off at the end of the arena.
        length: u32,
    },
    /// Makes a region larger, if the bytes next to it are free.
    ExtendRegion {
        /// The number of the region, modulo how many there are.
        region: u8,
        /// So many bytes more before it; cut off at the start of the arena.
        before: u32,
        /// So many bytes more after it; cut off at the end of the arena.
        after: u32,
    },
    /// Makes a region smaller, if the heap can spare those bytes.
    TruncateRegion {
        /// The number of the region, modulo how many there are.
        region: u8,
        /// So many bytes less at its start.
        before: u32,
        /// So many bytes less at its end.
        after: u32,
    },
    /// Takes a region back, if the heap can spare it.
    RemoveRegion {
        /// The number of the region, modulo how many there are.
        region: u8,
    },
}

impl HeapOp {
    /// Reads an operation from the front of fuzz bytes: up to 64 slots, sizes up to 16 KiB, alignments up to 4 KiB.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let code = byte(bytes)?;
        // A slot and a flag from one byte: the flag makes a size 0, a block zeroed or a region operation two-sided.
        let choice = byte(bytes)?;
        let (slot, region, flag) = (u32::from(choice & 63), choice & 63, choice & 64 != 0);
        let both = |first: u32, second: u32| if flag { (first, second) } else { (0, second) };
        Some(match code % 16 {
            0..=4 => {
                let align_log2 = if code & 0x80 != 0 { byte(bytes)? % 13 } else { 3 };
                let size = if code == 64 { 0 } else { scaled(bytes, 14)?.into() };
                Self::Allocate { slot, size, align_log2, zeroed: flag }
            }
            5..=8 => Self::Free { slot },
            9 | 10 => Self::Reallocate { slot, size: scaled(bytes, 14)?.into() },
            11 => Self::Resize { slot, size: scaled(bytes, 14)?.into() },
            12 => Self::AddRegion { start: scaled(bytes, 16)? - 1, length: scaled(bytes, 16)? },
            13 => {
                let (before, after) = both(scaled(bytes, 12)?, scaled(bytes, 12)?);
                Self::ExtendRegion { region, before, after }
            }
            14 => {
                let (before, after) = both(scaled(bytes, 12)?, scaled(bytes, 12)?);
                Self::TruncateRegion { region, before, after }
            }
            _ => Self::RemoveRegion { region },
        })
    }

    /// The operations of a recorded trace, those that name a thread left out.
    pub fn from_trace(ops: &[recorded::HeapOp]) -> impl Iterator<Item = Self> {
        ops.iter().filter_map(|op| match *op {
            recorded::HeapOp::Allocate { slot, size, align_log2, zeroed } => {
                Some(Self::Allocate { slot, size, align_log2, zeroed })
            }
            recorded::HeapOp::Free { slot } => Some(Self::Free { slot }),
            recorded::HeapOp::Reallocate { slot, size } => Some(Self::Reallocate { slot, size }),
            recorded::HeapOp::Thread { .. } => None,
        })
    }
}

/// How generated operations look.
#[cfg(feature = "proptest")]
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Slots are below this.
    pub slots: u32,
    /// Sizes are at most 2^this.
    pub max_size_log2: u8,
    /// Alignments are at most 2^this.
    pub max_align_log2: u8,
    /// The arena's size, for operations on regions; 0 for none of these.
    pub arena: u32,
}

/// Any operation of a shape.
#[cfg(feature = "proptest")]
pub fn strategy(shape: Shape) -> impl proptest::strategy::Strategy<Value = HeapOp> {
    use proptest::prelude::*;
    let slot = 0..shape.slots.max(1);
    // As many small sizes as large: a power of two, and what remains of it.
    let size = (0..=shape.max_size_log2, any::<u64>()).prop_map(|(log2, noise)| {
        if log2 == 0 { noise % 2 } else { (1 << log2) - noise % (1 << (log2 - 1)) }
    });
    let align = prop_oneof![3 => Just(3.min(shape.max_align_log2)), 1 => 0..=shape.max_align_log2];
    let blocks = prop_oneof![
        5 => (slot.clone(), size.clone(), align, any::<bool>())
            .prop_map(|(slot, size, align_log2, zeroed)| HeapOp::Allocate { slot, size, align_log2, zeroed }),
        4 => slot.clone().prop_map(|slot| HeapOp::Free { slot }),
        2 => (slot.clone(), size.clone()).prop_map(|(slot, size)| HeapOp::Reallocate { slot, size }),
        1 => (slot, size).prop_map(|(slot, size)| HeapOp::Resize { slot, size }),
    ];
    let (arena, part) = (shape.arena.max(1), (shape.arena / 8).max(1));
    let (one, two) = ((any::<u8>(), 0..part, 0..part), (any::<u8>(), 0..part, 0..part));
    let regions = prop_oneof![
        2 => (0..arena, 1..=arena).prop_map(|(start, length)| HeapOp::AddRegion { start, length }),
        1 => one.prop_map(|(region, before, after)| HeapOp::ExtendRegion { region, before, after }),
        1 => two.prop_map(|(region, before, after)| HeapOp::TruncateRegion { region, before, after }),
        1 => any::<u8>().prop_map(|region| HeapOp::RemoveRegion { region }),
    ];
    prop_oneof![12 => blocks, u32::from(shape.arena > 0) => regions]
}
