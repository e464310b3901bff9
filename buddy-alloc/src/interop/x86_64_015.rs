//! Frame sources for the mappers of the crate `x86_64`, version 0.15.
#![expect(unsafe_code, reason = "implements an unsafe trait and gives frames back")]

use hectare_core::{Frame, FrameRequest, FrameRun, FrameSource, Order};
use x86_64_015::PhysAddr;
use x86_64_015::structures::paging::{FrameAllocator, FrameDeallocator, PageSize, PhysFrame};

/// Any frame source as the `FrameAllocator` and `FrameDeallocator` of `x86_64` 0.15, for all its page sizes.
///
/// A shared source is one by reference: `X86Frames::new(&shared)`.
///
/// ```
/// # #![allow(unsafe_code)]
/// use hectare_buddy::{Banks, Engine, Frames, Rows64, X86Frames, words_for};
/// use hectare_core::{Frame, FrameRun};
/// use x86_64_015::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size2MiB, Size4KiB};
///
/// # let span = FrameRun::new(Frame::new(0x100), 1 << 12).unwrap();
/// # let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(span).unwrap()]);
/// # let mut banks = Banks::new(&mut table);
/// # banks.add(span).unwrap();
/// # let engine = Engine::<Rows64>::new(banks, &mut words).unwrap();
/// // SAFETY: nobody writes to these frames: they are only numbers here.
/// let mut frames = X86Frames::new(unsafe { Frames::<Rows64>::new(engine) });
/// let table: PhysFrame<Size4KiB> = frames.allocate_frame().unwrap();
/// let huge: PhysFrame<Size2MiB> = frames.allocate_frame().unwrap();
/// assert_eq!(huge.start_address().as_u64() % (2 << 20), 0);
/// // SAFETY: nothing uses the frames.
/// unsafe { frames.deallocate_frame(table) };
/// // SAFETY: as above.
/// unsafe { frames.deallocate_frame(huge) };
/// assert_eq!((frames.source().engine().free_frames(), frames.bad_frees()), (1 << 12, 0));
/// ```
#[derive(Debug)]
pub struct X86Frames<S> {
    source: S,
    bad_frees: u64,
}

impl<S: FrameSource> X86Frames<S> {
    /// This source.
    #[must_use]
    pub const fn new(source: S) -> Self {
        Self { source, bad_frees: 0 }
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How many frees the source refused: `deallocate_frame` has no way to say so.
    #[must_use]
    pub const fn bad_frees(&self) -> u64 {
        self.bad_frees
    }

    /// The order of a page size; `None` if a frame is larger.
    fn order<P: PageSize>() -> Option<Order> {
        let frames = P::SIZE / S::FRAME_SIZE.bytes();
        if frames == 0 { None } else { Order::holding(frames) }
    }
}

// SAFETY: the source promises frames that nobody else uses, aligned to their order.
unsafe impl<S: FrameSource, P: PageSize> FrameAllocator<P> for X86Frames<S> {
    fn allocate_frame(&mut self) -> Option<PhysFrame<P>> {
        let run = self.source.allocate_frames(FrameRequest::order(Self::order::<P>()?)).ok()?;
        let start = run.first().start(S::FRAME_SIZE).and_then(|start| PhysAddr::try_new(start.value()).ok());
        let frame = start.and_then(|start| PhysFrame::from_start_address(start).ok());
        if frame.is_none() {
            // SAFETY: the run was just handed out, and nobody has seen it.
            let given = unsafe { self.source.free_frames(run) };
            debug_assert!(given.is_ok(), "a source takes back what it gave");
        }
        frame
    }
}

impl<S: FrameSource, P: PageSize> FrameDeallocator<P> for X86Frames<S> {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame<P>) {
        let first = Frame::new(frame.start_address().as_u64() >> S::FRAME_SIZE.log2());
        let run = Self::order::<P>().and_then(|order| FrameRun::of_order(first, order));
        // SAFETY: the caller owns the frame, and nothing uses it any more.
        let freed = run.is_some_and(|run| unsafe { self.source.free_frames(run) }.is_ok());
        self.bad_frees += u64::from(!freed);
    }
}
