//! Operations on a cache of equal objects.

use super::bytes::{byte, scaled};

/// One operation on a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOp {
    /// Takes an object into `slot`.
    Allocate {
        /// Where the object is kept.
        slot: u32,
    },
    /// Gives the object in `slot` back.
    Free {
        /// Where the object is kept.
        slot: u32,
    },
    /// Takes objects into `count` slots from `first` on, in one call.
    AllocateMany {
        /// The first slot.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Gives an address back that is no live object: so far from the object in `slot`, or the object freed last if that
    /// slot is empty.
    BadFree {
        /// Where the object is kept.
        slot: u32,
        /// In bytes.
        offset: u32,
    },
    /// Reserves so many objects.
    Reserve {
        /// How many.
        count: u32,
    },
    /// Takes a reserved object into `slot`.
    AllocateReserved {
        /// Where the object is kept.
        slot: u32,
    },
    /// Gives empty slabs back.
    Shrink,
}

impl ObjectOp {
    /// Reads an operation from the front of fuzz bytes: up to 256 slots.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let code = byte(bytes)?;
        let slot = u32::from(byte(bytes)?);
        Some(match code % 16 {
            0..=4 => Self::Allocate { slot },
            5..=9 => Self::Free { slot },
            10 | 11 => Self::AllocateMany { first: slot, count: scaled(bytes, 6)? },
            12 => Self::BadFree { slot, offset: scaled(bytes, 13)? - 1 },
            13 => Self::Reserve { count: scaled(bytes, 5)? - 1 },
            14 => Self::AllocateReserved { slot },
            _ => Self::Shrink,
        })
    }
}

/// Any operation with slots below `slots`.
#[cfg(feature = "proptest")]
pub fn strategy(slots: u32) -> impl proptest::strategy::Strategy<Value = ObjectOp> {
    use proptest::prelude::*;
    let slot = 0..slots.max(1);
    prop_oneof![
        10 => slot.clone().prop_map(|slot| ObjectOp::Allocate { slot }),
        10 => slot.clone().prop_map(|slot| ObjectOp::Free { slot }),
        2 => (slot.clone(), 0..40u32).prop_map(|(first, count)| ObjectOp::AllocateMany { first, count }),
        3 => (slot.clone(), 0..9000u32).prop_map(|(slot, offset)| ObjectOp::BadFree { slot, offset }),
        1 => (0..30u32).prop_map(|count| ObjectOp::Reserve { count }),
        2 => slot.prop_map(|slot| ObjectOp::AllocateReserved { slot }),
        1 => Just(ObjectOp::Shrink),
    ]
}
