//! Whole pages as a heap: what a kernel's large allocations, or a firmware's first ones, need.
//!
//! ```text
//!   Layout ──► so many frames, so aligned ──► FrameSource ──► FrameRun ──► window ──► pointer
//!   pointer ──► distance from the window's first byte ──► frame number ──► FrameSource
//! ```
#![expect(unsafe_code, reason = "implements an unsafe trait over a window")]

use core::alloc::Layout;
use core::num::NonZero;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, Fragmentation, Frame, FrameRequest, FrameRun,
    FrameSource, FreeError, Order, PhysWindow, Ratio, Usage, Violation,
};

/// Any frame source and a window onto its frames as a byte allocator: every block is a run of frames.
///
/// A block takes up its size rounded up to frames; alignments above a frame are served too. Behind
/// [`Heap`](hectare_core::Heap) it is a `GlobalAlloc` and, with core's features, an `Allocator`. It refuses blocks that
/// do not begin at a frame of the window, and what the source refuses.
///
/// ```
/// # #![allow(unsafe_code)]
/// use core::alloc::Layout;
/// use core::ptr::NonNull;
/// use hectare_buddy::{Banks, Engine, Frames, Pages, Rows64, words_for};
/// use hectare_core::{DirectMap, Frame, FrameRun, Heap, PageSize, PhysAddr, SpinLock};
///
/// # #[repr(align(16384))]
/// # struct Ram([u8; 64 << 12]);
/// # let mut ram = Box::new(Ram([0; 64 << 12]));
/// # let memory = NonNull::from(&mut ram.0).cast::<u8>();
/// // A machine with 64 frames at 1 MiB, all of which a kernel sees through its direct map at `memory`. (The map keeps
/// // alignments up to 16 KiB: both ends are multiples of it.)
/// let frames = FrameRun::new(Frame::new(0x100), 64).unwrap();
/// let mut table = [None; 1];
/// let mut banks = Banks::new(&mut table);
/// banks.add(frames)?;
/// let mut words = [0; words_for::<Rows64>(FrameRun::new(Frame::new(0x100), 64).unwrap()).unwrap()];
/// // SAFETY: the frames are this memory, which nothing else uses.
/// let source = unsafe { Frames::<Rows64>::new(Engine::new(banks, &mut words)?) };
/// // SAFETY: as above; it is 64 frames long.
/// let map = unsafe { DirectMap::new(memory, PhysAddr::new(0x10_0000), 64 << 12) }.unwrap();
/// // SAFETY: the map shows the source's frames.
/// let heap: Heap<SpinLock, _> = Heap::new(unsafe { Pages::new(source, map, frames) }.unwrap());
///
/// let layout = Layout::from_size_align(10_000, 0x4000)?;
/// let block = heap.allocate_block(layout)?;
/// assert_eq!(heap.used(), 3 << 12);
/// // SAFETY: the block is live, with its layout.
/// unsafe { heap.free_block(block, layout) }?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Invariants
/// * `base` is where the window shows the first frame of `span`, and all of `span` lies behind it in one piece
#[derive(Debug)]
pub struct Pages<S, W> {
    source: S,
    window: W,
    span: FrameRun,
    base: NonNull<u8>,
}

// SAFETY: `base` is only compared with; the memory behind the frames belongs to whoever has the source.
unsafe impl<S: Send, W: Send> Send for Pages<S, W> {}

impl<S: FrameSource, W: PhysWindow> Pages<S, W> {
    /// A heap of the frames of `source` that lie in `span`; `None` unless the window shows all of them in one piece.
    ///
    /// # Safety
    /// For every frame that the source hands out, the window shows that frame's memory.
    #[must_use]
    pub unsafe fn new(source: S, window: W, span: FrameRun) -> Option<Self> {
        let start = span.first().start(S::FRAME_SIZE)?;
        let length = span.count().checked_mul(S::FRAME_SIZE.bytes())?;
        let base = window.pointer(start, length)?;
        Some(Self { source, window, span, base })
    }

    /// The source, to read its figures.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How many frames a block of this size has.
    fn frames(size: usize) -> NonZero<u64> {
        NonZero::new((size as u64).div_ceil(S::FRAME_SIZE.bytes())).unwrap_or(NonZero::<u64>::MIN)
    }

    /// The frame at which a block begins.
    fn frame(&self, block: NonNull<u8>) -> Result<Frame, FreeError> {
        let distance =
            block.addr().get().checked_sub(self.base.addr().get()).ok_or(FreeError::Foreign)? as u64;
        if distance & S::FRAME_SIZE.offset_mask() != 0 {
            return Err(FreeError::Misaligned);
        }
        self.span.first().checked_add(distance >> S::FRAME_SIZE.log2()).ok_or(FreeError::Foreign)
    }

    /// The run of a block, if it lies in the span.
    fn run(&self, block: NonNull<u8>, size: usize) -> Result<FrameRun, FreeError> {
        let run = FrameRun::new(self.frame(block)?, Self::frames(size).get());
        run.filter(|run| self.span.contains(*run)).ok_or(FreeError::Foreign)
    }

    /// Where the window shows a run that the span contains.
    fn pointer(&self, run: FrameRun, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let length = run.count().checked_mul(S::FRAME_SIZE.bytes());
        let shown = run.first().start(S::FRAME_SIZE).zip(length);
        let pointer = shown.and_then(|(start, length)| self.window.pointer(start, length));
        let pointer = pointer.filter(|_| self.span.contains(run)).ok_or(AllocError::OutOfMemory)?;
        // A window that shows frame 0 at an odd place has no large alignments.
        if pointer.addr().get() & (layout.align() - 1) == 0 {
            Ok(pointer)
        } else {
            Err(AllocError::Alignment)
        }
    }
}

// SAFETY: (1), (3) the run is the source's, which promises unique memory, and the window shows it (`new`); (2) the pointer's
// alignment was looked at; (4) neither moves; giving back is unsafe, and the source is reached by no safe `&mut`.
unsafe impl<S: FrameSource, W: PhysWindow> ByteAllocator for Pages<S, W> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let align = Order::holding(Self::frames(layout.align()).get()).ok_or(AllocError::Alignment)?;
        let request = FrameRequest { count: Self::frames(layout.size()), align };
        let run = self.source.allocate_frames(request)?;
        self.pointer(run, layout).inspect_err(|_| {
            // SAFETY: the run was just handed out, and nobody has seen it.
            let given = unsafe { self.source.free_frames(run) };
            debug_assert!(given.is_ok(), "a source takes back what it gave");
        })
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let run = self.run(block, layout.size())?;
        // SAFETY: the caller owns the block, which is this run, and nothing uses it any more.
        unsafe { self.source.free_frames(run) }
    }

    /// Within the frames that the block has; a smaller block gives its last frames back if the source takes parts.
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let (run, count) = (self.run(block, layout.size())?, Self::frames(new_size).get());
        let Some(over) = run.count().checked_sub(count) else { return Err(AllocError::NotInPlace) };
        let kept = run.first().checked_add(count);
        let Some(tail) = kept.and_then(|first| FrameRun::new(first, over)) else { return Ok(()) };
        // SAFETY: the caller owns the block, and its last frames are beyond the new size.
        unsafe { self.source.free_frames(tail) }.map_err(|_| AllocError::NotInPlace)
    }
}

impl<S: FrameSource + Figures, W: PhysWindow> Figures for Pages<S, W> {
    /// In bytes. As the source's cost.
    fn usage(&self) -> Usage {
        let (frames, size) = (self.source.usage(), S::FRAME_SIZE.bytes());
        let mut usage = Usage::new(size, frames.capacity * size, frames.allocated * size);
        usage.peak_allocated = frames.peak_allocated * size;
        usage.failures = frames.failures;
        usage
    }

    /// In bytes. As the source's cost.
    fn fragmentation(&self) -> Fragmentation {
        let (frames, size) = (self.source.fragmentation(), S::FRAME_SIZE.bytes());
        Fragmentation::new(frames.free * size, frames.largest * size, frames.holes)
    }

    /// For a request of so many bytes. As the source's cost.
    fn unusable(&self, units: u64) -> Ratio {
        self.source.unusable(units.div_ceil(S::FRAME_SIZE.bytes()))
    }
}

impl<S: CheckInvariants, W> CheckInvariants for Pages<S, W> {
    /// Those of the source.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.source.check_invariants()
    }
}
