//! The engine as a source of memory: from here on, someone writes to the frames.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use hectare_core::{AllocError, CpuPin, FrameRequest, FrameRun, FreeError, PageSize, SharedFrameSource};

use crate::geometry::{Geometry, Rows64};
use crate::shared::Shared;

/// A shared engine whose frames are memory of 2^`LOG2` bytes each, which belongs to it.
///
/// It takes parts of runs back. No safe method gives frames back. [`Shared`] and [`Frames`](crate::Frames) have
/// examples.
#[derive(Debug)]
pub struct SharedFrames<'m, C, G: Geometry = Rows64, const LOG2: u8 = 12> {
    engine: Shared<'m, C, G>,
}

impl<'m, C, G: Geometry, const LOG2: u8> SharedFrames<'m, C, G, LOG2> {
    /// Makes an engine's frames memory.
    ///
    /// # Safety
    /// Every frame of the engine's banks that is free now is memory of 2^`LOG2` bytes that nothing else uses, as long as
    /// this lives; the frames that are allocated now are given back by nobody but their owner; nobody else writes to the
    /// engine's words.
    #[must_use]
    pub const unsafe fn new(engine: Shared<'m, C, G>) -> Self {
        Self { engine }
    }

    /// The engine.
    ///
    /// # Safety
    /// No frame is given back that someone uses.
    pub const unsafe fn engine(&self) -> &Shared<'m, C, G> {
        &self.engine
    }
}

// SAFETY: (1) `new`'s caller promises that the banks are memory, and that the words are the engine's alone; (2) the engine
// hands out the count and the alignment that it is asked for; (3) each free frame is one bit in one word, and is taken
// by who clears it in one compare-and-swap, or by the one slot whose stock it is in; bits are set only for frames given
// back; (4) the engine is reached only through an `unsafe` method; (5) it refuses frames outside its banks.
unsafe impl<C: CpuPin, G: Geometry, const LOG2: u8> SharedFrameSource for SharedFrames<'_, C, G, LOG2> {
    const FRAME_SIZE: PageSize = match PageSize::from_log2(LOG2) {
        Some(size) => size,
        None => panic!("a frame has less than 2^64 bytes"),
    };
    const TAKES_PARTS: bool = true;

    #[inline]
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.engine.allocate(request.into())
    }

    #[inline]
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        self.engine.free(run)
    }
}
