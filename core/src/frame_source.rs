//! Where physical memory comes from: slabs, heaps and page tables take frames here, a buddy system gives them.
#![expect(unsafe_code, reason = "declares unsafe traits")]

use core::num::NonZero;

use crate::{AllocError, FrameRun, FreeError, Order, PageSize};

/// What is asked of a frame source: so many consecutive frames, the first a multiple of 2^k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// How many consecutive frames.
    pub count: NonZero<u64>,
    /// The first frame's number is a multiple of `align.frames()`.
    pub align: Order,
}

impl FrameRequest {
    /// 2^k frames, naturally aligned: what a buddy system serves best.
    #[must_use]
    pub const fn order(order: Order) -> Self {
        let count = match NonZero::new(order.frames()) {
            Some(count) => count,
            None => NonZero::<u64>::MIN,
        };
        Self { count, align: order }
    }

    /// Exactly `count` frames at any place.
    #[must_use]
    pub const fn exactly(count: NonZero<u64>) -> Self {
        Self { count, align: Order::ZERO }
    }
}

/// A single owner's source of page frames.
///
/// # Safety
/// The memory behind the frames will be written through some window. The implementer promises that every run it
/// returns (1) is real memory of [`FRAME_SIZE`](Self::FRAME_SIZE) bytes a frame, (2) holds exactly `request.count`
/// frames and is aligned as asked, and (3) overlaps no other run that it returned and that was not given back. They hold
/// whatever safe code does with `&mut` access: (4) a method that takes frames back is `unsafe`, so that an engine whose
/// safe methods do so is wrapped in a type without them; and (5) a run of frames that the source does not manage is
/// refused by [`free_frames`](Self::free_frames), because two sources of a type can be swapped.
pub unsafe trait FrameSource {
    /// The size of every frame of this source. A constant, so that its users can reject at compile time what cannot
    /// work.
    const FRAME_SIZE: PageSize;

    /// Whether [`free_frames`](Self::free_frames) takes any part of a run back, at any time. Then users take many frames at
    /// once and give them back as they become free.
    const TAKES_PARTS: bool = false;

    /// Takes a run of frames. Their contents are unspecified.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] or [`AllocError::Fragmented`] if no such run is free, [`AllocError::TooLarge`] if it
    /// never can be. Nothing is changed.
    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError>;

    /// Gives frames back: a whole run, or a part of one if the source [takes parts](Self::TAKES_PARTS).
    ///
    /// # Safety
    /// The caller owns the frames, obtained from this source, and nothing uses them any more.
    ///
    /// # Errors
    /// What the source's metadata can tell about a bad free. Nothing is changed then.
    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError>;
}

/// A source of page frames that many callers share.
///
/// # Safety
/// As [`FrameSource`], with the calls made concurrently from any number of CPUs.
pub unsafe trait SharedFrameSource {
    /// The size of every frame of this source. A constant, so that its users can reject at compile time what cannot
    /// work.
    const FRAME_SIZE: PageSize;

    /// As [`FrameSource::TAKES_PARTS`].
    const TAKES_PARTS: bool = false;

    /// As [`FrameSource::allocate_frames`].
    ///
    /// # Errors
    /// As [`FrameSource::allocate_frames`].
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError>;

    /// As [`FrameSource::free_frames`].
    ///
    /// # Safety
    /// As [`FrameSource::free_frames`].
    ///
    /// # Errors
    /// As [`FrameSource::free_frames`].
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError>;
}

// SAFETY: the shared source keeps the five promises, and a reference to it adds nothing.
unsafe impl<S: SharedFrameSource + ?Sized> FrameSource for &S {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;
    const TAKES_PARTS: bool = S::TAKES_PARTS;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        (**self).allocate_frames(request)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { (**self).free_frames(run) }
    }
}
