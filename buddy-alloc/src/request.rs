//! What is asked of the engine.
#![forbid(unsafe_code)]

use core::num::NonZero;
use core::ops::Range;

use hectare_core::{Frame, FrameRequest, Order};

/// A request for consecutive frames: how many, how aligned, where.
///
/// ```
/// use core::num::NonZero;
/// use hectare_buddy::Request;
/// use hectare_core::{Frame, Order};
///
/// // Five frames below 4 GiB at a multiple of 64 KiB, for a device that sees no more.
/// let ring = Request::exactly(NonZero::new(5).unwrap()).aligned(Order::new(4).unwrap()).below(Frame::new(1 << 20));
/// assert_eq!(ring.count.get(), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many consecutive frames, exactly.
    pub count: NonZero<u64>,
    /// The first frame's number is a multiple of `align.frames()`.
    pub align: Order,
    /// No frame below this one.
    pub from: Frame,
    /// No frame from this one on.
    pub limit: Frame,
}

impl Request {
    /// 2^k frames, naturally aligned.
    #[must_use]
    pub const fn order(order: Order) -> Self {
        let FrameRequest { count, align } = FrameRequest::order(order);
        Self { align, ..Self::exactly(count) }
    }

    /// Exactly `count` frames at any place.
    #[must_use]
    pub const fn exactly(count: NonZero<u64>) -> Self {
        Self { count, align: Order::ZERO, from: Frame::new(0), limit: Frame::new(u64::MAX) }
    }

    /// At a multiple of 2^k, also if that is more than the count.
    #[must_use]
    pub const fn aligned(self, align: Order) -> Self {
        Self { align, ..self }
    }

    /// Wholly below `limit`: what a device with few address lines can reach.
    #[must_use]
    pub const fn below(self, limit: Frame) -> Self {
        Self { limit, ..self }
    }

    /// Wholly inside `frames`.
    #[must_use]
    pub const fn within(self, frames: Range<Frame>) -> Self {
        Self { from: frames.start, limit: frames.end, ..self }
    }

    /// Whether any place will do.
    pub(crate) fn is_anywhere(&self) -> bool {
        self.from == Frame::new(0) && self.limit == Frame::new(u64::MAX)
    }
}

impl From<FrameRequest> for Request {
    fn from(request: FrameRequest) -> Self {
        Self::exactly(request.count).aligned(request.align)
    }
}
