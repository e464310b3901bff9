//! A heap that looks for misuse on every call.
//!
//! ```text
//!  a block    │ the user's bytes │ bb bb bb … to the end of the class │        red zone, at least 8 bytes
//!  free       │ 6b 6b 6b 6b 6b 6b 6b …                               │        poison, looked at before the next use
//! ```
//! The bytes are those of Linux's slabs (`include/linux/poison.h`).
#![expect(unsafe_code, reason = "implements an unsafe trait, and looks into free blocks")]

use core::alloc::Layout;
use core::num::NonZero;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, FrameSource, FreeError, PhysWindow, Violation,
};

use crate::back::Back;
use crate::size_class::{class_of_layout, rounded, size_of_class};

/// What free memory is filled with.
pub const POISON: u8 = 0x6b;
/// What lies behind a block's last byte.
pub const RED: u8 = 0xbb;
/// The least number of bytes of a red zone.
const ZONE: usize = 8;

/// The same classes as [`SlabHeap`](crate::SlabHeap), without a front: every block comes from its slab and goes there at
/// once, so that the slab's bitmap knows.
///
/// | misuse | found | what happens |
/// |---|---|---|
/// | freed twice, also much later, while the slab lives | at the second free | `NotAllocated` |
/// | freed inside a block, or misaligned | at the free | `Misaligned` |
/// | freed although never allocated here | at the free | `Foreign` |
/// | freed with another layout of the same class, or bytes written past the end | at the free, and at a change of size | `WrongSize` |
/// | freed with a layout of another class | at the free | `Foreign` |
/// | written after free | before the block is handed out again | the block is retired and [counted](Self::retired) |
/// | a slab's header overwritten | when a block of the slab is freed | `Foreign` |
/// | read after free | not found; the reader sees poison | |
/// | the next block guessed | blocks of a slab come in random order | |
///
/// A refused free changes nothing: the block stays allocated. A large block has a red zone too, and is otherwise known to
/// the source only. Free blocks hold no links that could be overwritten. Costs two passes over each block, and no front.
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::{ByteAllocator, FreeError};
/// use hectare_slab::HardenedHeap;
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
///
/// let mut heap = HardenedHeap::new(frames, window, 0x9e37_79b9); // better: a seed that nobody can guess
/// let layout = Layout::new::<[u8; 20]>();
/// let block = heap.allocate(layout)?;
/// // SAFETY: the block has 20 bytes and a red zone of at least 8: this one is the zone's first.
/// unsafe { block.add(20).write(0) };
/// // SAFETY: taken above with this layout, and not used any more.
/// let refused = unsafe { heap.deallocate(block, layout) };
/// assert_eq!(refused, Err(FreeError::WrongSize)); // written past its end; it stays allocated
///
/// // SAFETY: as above: the zone is as it was.
/// unsafe { block.add(20).write(hectare_slab::hardened::RED) };
/// // SAFETY: as above.
/// unsafe { heap.deallocate(block, layout) }?;
/// // SAFETY: none: a mistake, found at once.
/// assert_eq!(unsafe { heap.deallocate(block, layout) }, Err(FreeError::NotAllocated));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HardenedHeap<S: FrameSource, W: PhysWindow> {
    back: Back<S, W>,
    /// The state of a xorshift generator; never 0.
    random: u64,
    retired: u64,
}

/// A layout with its red zone, and the bytes that it takes.
struct Guarded {
    class: Option<usize>,
    bytes: usize,
    frames: NonZero<u64>,
}

impl<S: FrameSource, W: PhysWindow> HardenedHeap<S, W> {
    /// A heap without slabs. `seed` makes the order of blocks unpredictable: as random as the machine can.
    #[must_use]
    pub const fn new(source: S, window: W, seed: u64) -> Self {
        let mut back = Back::new(source, window);
        back.poison = Some(POISON);
        Self { back, random: seed | 1, retired: 0 }
    }

    /// Blocks that were written to while they were free; they are not handed out again.
    #[must_use]
    pub const fn retired(&self) -> u64 {
        self.retired
    }

    /// Gives every empty slab back to the source; how many frames.
    pub fn shrink(&mut self) -> u64 {
        self.back.shrink()
    }

    /// Xorshift; Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
    fn next_random(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits will do; on 64-bit there is no truncation"
        )]
        let bits = (self.random >> 20) as usize;
        bits
    }

    fn guarded(layout: Layout) -> Option<Guarded> {
        let size = layout.size().max(1).checked_add(ZONE)?;
        let layout = Layout::from_size_align(size, layout.align()).ok()?;
        let need = rounded(layout);
        let class = Layout::from_size_align(need, 1).ok().and_then(class_of_layout);
        let frames = NonZero::new((need as u64).div_ceil(S::FRAME_SIZE.bytes()))?;
        let bytes = match class {
            Some(class) => size_of_class(class),
            None => usize::try_from(frames.get() << S::FRAME_SIZE.log2()).ok()?,
        };
        Some(Guarded { class, bytes, frames })
    }

    /// The red zone of a block.
    ///
    /// # Safety
    /// `block` is valid for `bytes` bytes, and `size` at most that.
    unsafe fn draw_zone(block: NonNull<u8>, size: usize, bytes: usize) {
        // SAFETY: the caller's promise.
        let zone = unsafe { block.add(size) };
        // SAFETY: the caller's promise: the rest of the block.
        unsafe { zone.write_bytes(RED, bytes - size) };
    }

    /// Whether `length` bytes from `offset` in a block all are `byte`.
    ///
    /// # Safety
    /// They are initialised and valid for reads.
    unsafe fn holds(block: NonNull<u8>, offset: usize, length: usize, byte: u8) -> bool {
        (offset..offset + length).all(|at| {
            // SAFETY: the caller's promise.
            let place = unsafe { block.add(at) };
            // SAFETY: the caller's promise.
            let found = unsafe { place.read() };
            found == byte
        })
    }
}

// SAFETY: as `SlabHeap`: blocks are objects of slabs or runs of frames, each handed out once; the red zone and the poison
// lie in memory that is nobody's.
unsafe impl<S: FrameSource, W: PhysWindow> ByteAllocator for HardenedHeap<S, W> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let guarded = Self::guarded(layout).ok_or(AllocError::TooLarge)?;
        let block = loop {
            let random = self.next_random();
            let taken = match guarded.class {
                Some(class) => self.back.take_random(class, random),
                None => self.back.take_frames(guarded.frames, layout.align()),
            };
            let block = match taken {
                Ok(block) => block,
                Err(_) if self.back.shrink() > 0 => continue,
                Err(error) => return Err(error),
            };
            // SAFETY: slabs are filled with poison when they come and objects when they are freed, so all is initialised.
            if guarded.class.is_none() || unsafe { Self::holds(block, 0, guarded.bytes, POISON) } {
                break block;
            }
            // Never handed out again. The loop ends: each turn takes an object away or returns.
            self.retired = self.retired.saturating_add(1);
        };
        // SAFETY: the block is ours, and the layout's size is less than its bytes.
        unsafe { Self::draw_zone(block, layout.size(), guarded.bytes) };
        Ok(block)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let guarded = Self::guarded(layout).ok_or(FreeError::WrongSize)?;
        if let Some(class) = guarded.class {
            self.back.check_block(class, block)?;
        }
        let zone = guarded.bytes - layout.size();
        // SAFETY: an allocated block of that class (checked), or by the caller's promise a large one; the zone was drawn.
        let intact = unsafe { Self::holds(block, layout.size(), zone, RED) };
        if !intact && !cfg!(hectare_plant = "hardened_zone") {
            return Err(FreeError::WrongSize);
        }
        let Some(class) = guarded.class else {
            // SAFETY: the caller's promise: a run of so many frames.
            return unsafe { self.back.give_frames(block.addr().get(), guarded.frames) };
        };
        // SAFETY: checked above: an allocated block; nobody uses it any more (caller).
        unsafe { block.write_bytes(POISON, guarded.bytes) };
        // SAFETY: as above.
        unsafe { self.back.give(class, block) }
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let (old, new) = (Self::guarded(layout), Layout::from_size_align(new_size, layout.align()).ok());
        let (Some(old), Some(new)) = (old, new.and_then(Self::guarded)) else {
            return Err(AllocError::TooLarge);
        };
        if let Some(class) = old.class {
            self.back.check_block(class, block)?;
        }
        // SAFETY: as in `deallocate`.
        if !unsafe { Self::holds(block, layout.size(), old.bytes - layout.size(), RED) } {
            return Err(AllocError::BadBlock(FreeError::WrongSize));
        }
        if old.class != new.class || old.bytes != new.bytes {
            return Err(AllocError::NotInPlace);
        }
        // SAFETY: the block has so many bytes; the zone moves inside it.
        unsafe { Self::draw_zone(block, new_size, new.bytes) };
        Ok(())
    }
}

impl<S: FrameSource, W: PhysWindow> Drop for HardenedHeap<S, W> {
    /// Gives empty slabs back. Those with live or retired blocks, and large blocks, are leaked.
    fn drop(&mut self) {
        self.shrink();
    }
}

impl<S: FrameSource, W: PhysWindow> CheckInvariants for HardenedHeap<S, W> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.back.check()
    }
}
