//! The engine as a source of memory: from here on, someone writes to the frames.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::num::NonZero;

use hectare_core::{
    AllocError, CheckInvariants, Figures, Fragmentation, FrameRequest, FrameRun, FrameSource, FreeError,
    Order, PageSize, Ratio, Usage, Violation,
};

use crate::engine::Engine;
use crate::geometry::{Geometry, Rows64};
use crate::group::Group;

/// An engine whose frames are memory of 2^`LOG2` bytes each, which belongs to it.
///
/// It takes parts of runs back, unless its geometry is exact. No safe method gives frames back: the engine itself is only
/// read. Behind [`Locked`](hectare_core::Locked) many CPUs share it.
///
/// ```
/// use core::num::NonZero;
/// use hectare_buddy::{Banks, Engine, Frames, Rows64, words_for};
/// use hectare_core::{FrameRequest, FrameRun, FrameSource, FreeError};
/// # use hectare_core::Frame;
/// # let memory = FrameRun::new(Frame::new(0x100), 64).expect("not empty");
/// # let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(memory).expect("few")]);
/// # let mut banks = Banks::new(&mut table);
/// # banks.add(memory)?;
///
/// // `banks` are from the firmware's memory map: here 64 frames.
/// let engine = Engine::new(banks, &mut words)?;
/// // SAFETY: the map says that they are memory of 4 KiB each, and nothing else uses them.
/// let mut frames: Frames = unsafe { Frames::new(engine) };
///
/// // A ring of 12 frames is 12 frames, not 16; and when it shrinks to 8, the rest goes back alone.
/// let ring = frames.allocate_frames(FrameRequest::exactly(NonZero::new(12).expect("not 0")))?;
/// assert_eq!(frames.engine().free_frames(), 64 - 12);
/// let rest = FrameRun::new(ring.first().checked_add(8).expect("inside"), 4).expect("not empty");
/// // SAFETY: taken above, and these four are not used any more.
/// unsafe { frames.free_frames(rest) }?;
/// // SAFETY: none: a mistake. Four of the twelve are free already, so nothing is freed.
/// assert_eq!(unsafe { frames.free_frames(ring) }, Err(FreeError::NotAllocated));
/// assert_eq!(frames.engine().free_frames(), 64 - 8);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Frames<'m, G: Geometry = Rows64, const LOG2: u8 = 12> {
    engine: Engine<'m, G>,
}

impl<'m, G: Geometry, const LOG2: u8> Frames<'m, G, LOG2> {
    /// Makes an engine's frames memory.
    ///
    /// # Safety
    /// Every frame of the engine's banks that is free now is memory of 2^`LOG2` bytes that nothing else uses, as long as
    /// this lives; the frames that are allocated now are given back by nobody but their owner.
    #[must_use]
    pub const unsafe fn new(engine: Engine<'m, G>) -> Self {
        Self { engine }
    }

    /// The engine, to read its figures.
    #[must_use]
    pub const fn engine(&self) -> &Engine<'m, G> {
        &self.engine
    }

    /// Takes at least 1 and at most `most` blocks that lie in one [group](Group): those that would be handed out one by
    /// one.
    ///
    /// # Errors
    /// Fails iff not one block of this order is free: as [`Engine::allocate_order`].
    pub fn allocate_group(&mut self, order: Order, most: NonZero<u32>) -> Result<Group, AllocError> {
        self.engine.allocate_group(order, most)
    }

    /// Gives all blocks of a group back, also those after one that is refused.
    ///
    /// # Safety
    /// The caller owns the blocks, obtained from this source, and nothing uses them any more.
    ///
    /// # Errors
    /// How many were refused, if any.
    pub unsafe fn free_group(&mut self, group: Group) -> Result<(), NonZero<u32>> {
        self.engine.free_group(group)
    }

    /// The engine.
    ///
    /// # Safety
    /// No frame is given back or taken offline that someone uses or a cache [remembers](crate::GroupSource); frames that
    /// come online are such as [`new`](Self::new) demands; the engine is not replaced by another.
    pub const unsafe fn engine_mut(&mut self) -> &mut Engine<'m, G> {
        &mut self.engine
    }
}

impl<G: Geometry, const LOG2: u8> Figures for Frames<'_, G, LOG2> {
    /// In frames. O(1).
    fn usage(&self) -> Usage {
        self.engine.usage()
    }

    /// In frames. O(rows).
    fn fragmentation(&self) -> Fragmentation {
        self.engine.fragmentation()
    }

    /// For a request of so many frames. O(rows).
    fn unusable(&self, units: u64) -> Ratio {
        self.engine.unusable(units)
    }
}

impl<G: Geometry, const LOG2: u8> CheckInvariants for Frames<'_, G, LOG2> {
    /// Those of the engine.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.engine.check_invariants()
    }
}

// SAFETY: (1) `new`'s caller promises that the banks are memory; (2) the engine hands out the count and the alignment
// that it is asked for; (3) it takes bits that are set and clears them, and sets them only for frames given back; (4) the
// engine is reached mutably only through `unsafe` methods; (5) it refuses frames outside its banks.
unsafe impl<G: Geometry, const LOG2: u8> FrameSource for Frames<'_, G, LOG2> {
    const FRAME_SIZE: PageSize = match PageSize::from_log2(LOG2) {
        Some(size) => size,
        None => panic!("a frame has less than 2^64 bytes"),
    };
    const TAKES_PARTS: bool = !G::EXACT;

    #[inline]
    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.engine.allocate(request.into())
    }

    #[inline]
    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.engine.free(run)
    }
}
