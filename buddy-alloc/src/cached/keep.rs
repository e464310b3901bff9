//! Which orders are kept, and how many blocks of each.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Frame, FrameRequest, Order};

use crate::group::Group;

/// An order that is kept for each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The order.
    pub order: Order,
    /// At most so many blocks are taken from the source at once; 1 if there are no more.
    pub batch: NonZero<u32>,
    /// When a CPU has so many blocks and is given one more, some go back.
    pub most: u32,
}

impl Keep {
    /// Frames, up to 64 at once; huge pages (2 MiB in frames of 4 KiB), one at once.
    pub const FRAMES_AND_HUGE: [Self; 2] = {
        let (Some(batch), Some(huge)) = (NonZero::new(64), Order::new(9)) else { panic!("in range") };
        [
            Self { order: Order::ZERO, batch, most: 256 },
            Self { order: huge, batch: NonZero::<u32>::MIN, most: 2 },
        ]
    };

    /// A block by its number.
    #[inline(always)]
    pub(super) fn frame(&self, block: u64) -> Frame {
        Frame::new(block << self.order.get())
    }

    /// The request for one block.
    #[inline(always)]
    pub(super) fn request(&self) -> FrameRequest {
        FrameRequest::order(self.order)
    }

    /// Which blocks of a group lie in a bank, which is given by first frame and length.
    pub(super) fn known(&self, (start, count): (u64, u64), number: u64) -> u64 {
        let order = self.order.get();
        let lowest = start.saturating_add(self.order.frames() - 1) >> order;
        let (first, end) = (number << Group::LOG2, (start + count) >> order);
        let below = |block: u64| match block.saturating_sub(first) {
            count @ 0..64 => (1 << count) - 1,
            _ => u64::MAX,
        };
        below(end) & !below(lowest)
    }

    pub(super) fn group(&self, (number, blocks): (u64, u64)) -> Group {
        Group { order: self.order, number, blocks }
    }
}
