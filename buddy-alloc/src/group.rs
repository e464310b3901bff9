//! Several blocks at once: what a cache takes from a shared engine and gives back to it.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use core::num::NonZero;

use hectare_core::{
    AllocError, Frame, FrameRequest, FrameRun, FreeError, Locked, Order, PageSize, RawLock, SharedFrameSource,
};

use crate::geometry::Geometry;
#[cfg(target_has_atomic = "64")]
use crate::shared_source::SharedFrames;
use crate::source::Frames;

/// Up to 64 blocks of one order that lie in one group: 64 · 2^k frames at a multiple of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The order k of each block.
    pub order: Order,
    /// The group's number: that of its first frame, divided by 64 · 2^k.
    pub number: u64,
    /// Bit i: the block that begins i · 2^k frames into the group is one of these.
    pub blocks: u64,
}

impl Group {
    /// log2 of the blocks in a group.
    pub(crate) const LOG2: u32 = u64::BITS.ilog2();

    /// One block.
    #[must_use]
    pub const fn of(first: Frame, order: Order) -> Self {
        let unit = first.number() >> order.get();
        Self { order, number: unit >> Self::LOG2, blocks: 1 << (unit & 63) }
    }

    /// The blocks, from the lowest up.
    pub fn iter(self) -> impl Iterator<Item = Frame> {
        let mut rest = self.blocks;
        core::iter::from_fn(move || {
            let position = if rest == 0 { return None } else { rest.trailing_zeros() };
            rest &= rest - 1;
            let unit = self.number << Self::LOG2 | u64::from(position);
            Some(Frame::new(unit << self.order.get()))
        })
    }
}

/// A shared source that hands out several blocks in one call. The provided methods do it block by block.
///
/// # Safety
/// As [`SharedFrameSource`], and: what [`bank`](Self::bank) returns stays managed by this source as long as a cache over
/// it remembers it (until it is drained).
pub unsafe trait GroupSource: SharedFrameSource {
    /// The frames around `frame` that this source manages, in one piece; `None` if it does not manage that frame.
    fn bank(&self, frame: Frame) -> Option<FrameRun>;

    /// Takes at least 1 and at most `most` blocks that lie in one group.
    ///
    /// By default it asks for a run of as many blocks as `most` has room for, then for half of that, down to one.
    ///
    /// # Errors
    /// Fails iff not one block of this order is free: as [`SharedFrameSource::allocate_frames`].
    fn allocate_group(&self, order: Order, most: NonZero<u32>) -> Result<Group, AllocError> {
        as_one_run(self, order, most)
    }

    /// Gives all blocks of a group back, also those after one that is refused.
    ///
    /// # Safety
    /// The caller owns the blocks, obtained from this source, and nothing uses them any more.
    ///
    /// # Errors
    /// How many were refused, if any.
    unsafe fn free_group(&self, group: Group) -> Result<(), NonZero<u32>> {
        let mut refused = 0;
        for run in group.iter().filter_map(|first| FrameRun::of_order(first, group.order)) {
            // SAFETY: the caller owns the blocks of the group, and this is one of them.
            let given = unsafe { self.free_frames(run) };
            refused += u32::from(given.is_err());
        }
        NonZero::new(refused).map_or(Ok(()), Err)
    }
}

/// See [`GroupSource::allocate_group`].
fn as_one_run<S: SharedFrameSource + ?Sized>(
    source: &S,
    order: Order,
    most: NonZero<u32>,
) -> Result<Group, AllocError> {
    let mut log2 = most.ilog2().min(Group::LOG2);
    loop {
        let whole = u32::from(order.get()) + log2;
        let found = match u8::try_from(whole).ok().and_then(Order::new) {
            Some(whole) => source.allocate_frames(FrameRequest::order(whole)),
            None => Err(AllocError::TooLarge),
        };
        match found {
            Ok(run) => {
                let first = Group::of(run.first(), order);
                let lowest = u64::MAX >> (u64::BITS - (1 << log2));
                return Ok(Group { blocks: lowest << first.blocks.trailing_zeros(), ..first });
            }
            Err(error) if log2 == 0 => return Err(error),
            Err(_) => log2 -= 1,
        }
    }
}

// SAFETY: (1) the engine knows its banks; `Frames` permits changing them only where no cache remembers them; (2) the
// blocks of a group are the engine's own, taken one by one.
unsafe impl<L: RawLock, G: Geometry, const LOG2: u8> GroupSource for Locked<L, Frames<'_, G, LOG2>> {
    fn bank(&self, frame: Frame) -> Option<FrameRun> {
        self.with(|frames| {
            frames.engine().banks().iter().find(|bank| bank.first() <= frame && frame < bank.end())
        })
        .ok()?
    }

    /// Under one lock; the blocks are those that the engine would have handed out one by one.
    fn allocate_group(&self, order: Order, most: NonZero<u32>) -> Result<Group, AllocError> {
        self.with(|frames| frames.allocate_group(order, most))?
    }

    /// Under one lock.
    unsafe fn free_group(&self, group: Group) -> Result<(), NonZero<u32>> {
        // SAFETY: the caller owns the blocks of the group.
        let freed = self.with(|frames| unsafe { frames.free_group(group) });
        freed.unwrap_or(NonZero::new(group.blocks.count_ones()).map_or(Ok(()), Err))
    }
}

// SAFETY: (1) the banks of a shared engine do not change; (2) the frames of a group are the engine's own, each taken once.
#[cfg(target_has_atomic = "64")]
unsafe impl<C: hectare_core::CpuPin, G: Geometry, const LOG2: u8> GroupSource
    for SharedFrames<'_, C, G, LOG2>
{
    fn bank(&self, frame: Frame) -> Option<FrameRun> {
        // SAFETY: the banks are only read.
        let engine = unsafe { self.engine() };
        engine.banks().iter().find(|bank| bank.first() <= frame && frame < bank.end())
    }

    /// Frames from one row, as they would be handed out one by one; larger blocks as by default.
    fn allocate_group(&self, order: Order, most: NonZero<u32>) -> Result<Group, AllocError> {
        if order != Order::ZERO {
            return as_one_run(self, order, most);
        }
        // SAFETY: nothing is given back.
        let engine = unsafe { self.engine() };
        engine.allocate_frames_of_row(most)
    }

    /// By one compare-and-swap for those of a row.
    unsafe fn free_group(&self, group: Group) -> Result<(), NonZero<u32>> {
        // SAFETY: the caller owns the blocks of the group, so nobody uses them.
        let engine = unsafe { self.engine() };
        engine.free_group(group)
    }
}

/// Any shared source over one run of frames as a [`GroupSource`], block by block.
#[derive(Debug)]
pub struct Each<S> {
    source: S,
    bank: FrameRun,
}

impl<S: SharedFrameSource> Each<S> {
    /// # Safety
    /// The source manages exactly these frames as long as this lives.
    #[must_use]
    pub const unsafe fn new(source: S, bank: FrameRun) -> Self {
        Self { source, bank }
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }
}

// SAFETY: every promise is the inner source's.
unsafe impl<S: SharedFrameSource> SharedFrameSource for Each<S> {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;

    #[inline]
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.source.allocate_frames(request)
    }

    #[inline]
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.source.free_frames(run) }
    }
}

// SAFETY: `new`'s caller promises that the source manages these frames.
unsafe impl<S: SharedFrameSource> GroupSource for Each<S> {
    fn bank(&self, frame: Frame) -> Option<FrameRun> {
        Some(self.bank).filter(|bank| bank.first() <= frame && frame < bank.end())
    }
}
