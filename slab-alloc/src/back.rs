//! The back of a heap: slabs of every class over one source, and large blocks as runs of frames.
//!
//! ```text
//!  class      0   1   2  …                       each a cache of its own
//!  slabs      ●   ●   ●
//!  frames     └───┴───┴── source ── large blocks: their own frames, no header
//! ```
//! A class whose size is nearly a multiple of the frame has no slabs: its blocks are runs of frames, for a header would cost
//! a frame.
#![expect(unsafe_code, reason = "takes blocks back")]

use core::num::NonZero;
use core::ptr::NonNull;

use hectare_core::{AllocError, FrameRequest, FrameSource, FreeError, Order, PhysWindow, Violation};

use crate::geometry::Geometry;
use crate::info::CacheInfo;
use crate::memory::Memory;
use crate::size_class::{CLASSES, size_of_class};
use crate::slabs::Slabs;

mod kind;

pub(crate) use kind::{Kind, kinds};

/// The slabs of all classes.
///
/// Invariants:
/// * B1: those of each class's slabs;
/// * B2: the frames taken from the source are those of the slabs, of the classes without slabs, and of the large blocks;
/// * B3: `whole[c]` blocks of class c are handed out if it has no slabs, else 0.
#[derive(Debug)]
pub(crate) struct Back<S, W> {
    pub(crate) memory: Memory<S, W>,
    classes: [Slabs; CLASSES],
    /// Frames of blocks that are runs of frames.
    whole: u64,
    /// The source's frames are zero when they come.
    pub(crate) zeroed: bool,
    /// Blocks that turned out not to be ours when they were flushed.
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    /// Why a refill was refused last.
    pub(crate) refusal: AllocError,
    /// New slabs are filled with this.
    pub(crate) poison: Option<u8>,
}

// SAFETY: the slabs' headers are reached only through the heap, and belong to it.
unsafe impl<S: Send, W: Send> Send for Back<S, W> {}

impl<S: FrameSource, W: PhysWindow> Back<S, W> {
    const KINDS: [Kind; CLASSES] = kinds(S::FRAME_SIZE);

    pub(crate) const fn new(source: S, window: W) -> Self {
        Self {
            memory: Memory::new(source, window),
            classes: [const { Slabs::NONE }; CLASSES],
            whole: 0,
            zeroed: false,
            rejected: 0,
            refused: 0,
            refusal: AllocError::OutOfMemory,
            poison: None,
        }
    }

    #[inline(always)]
    pub(crate) fn kind(class: usize) -> Option<&'static Kind> {
        const { &Self::KINDS }.get(class)
    }

    /// Bytes that a block of a class takes.
    pub(crate) fn footprint(class: usize) -> u64 {
        match Self::kind(class) {
            Some(Kind::Slabs(geometry)) => geometry.stride as u64,
            Some(Kind::Frames(count)) => count.get() << S::FRAME_SIZE.log2(),
            None => 0,
        }
    }

    /// Fills `slots` from the start with free blocks of a class, the lowest address last: from slabs that have some, else
    /// from one new slab. How many, at least one.
    pub(crate) fn take_batch(
        &mut self,
        class: usize,
        slots: &mut [Option<NonNull<u8>>],
    ) -> Result<usize, AllocError> {
        let Some(kind) = Self::kind(class) else { return Err(AllocError::TooLarge) };
        let geometry = match kind {
            Kind::Slabs(geometry) => geometry,
            Kind::Frames(count) => {
                let block = self.take_frames(*count, 1 << size_of_class(class).trailing_zeros())?;
                if let Some(slot) = slots.first_mut() {
                    *slot = Some(block);
                }
                return Ok(1);
            }
        };
        let Some(slabs) = self.classes.get_mut(class) else { return Err(AllocError::TooLarge) };
        let mut count = slabs.take_batch(geometry, slots);
        if count == 0 {
            let more = Self::growth(geometry, slabs);
            slabs.grow_by(geometry, &mut self.memory, self.poison, more)?;
            count = slabs.take_batch(geometry, slots);
        }
        Ok(count)
    }

    /// Takes one block of a class.
    #[cfg(target_has_atomic = "ptr")]
    pub(crate) fn take(&mut self, class: usize) -> Result<NonNull<u8>, AllocError> {
        let mut one = [None];
        self.take_batch(class, &mut one)?;
        one[0].ok_or(AllocError::OutOfMemory)
    }

    /// Takes a block of a class, any free one of its slab.
    pub(crate) fn take_random(&mut self, class: usize, random: usize) -> Result<NonNull<u8>, AllocError> {
        let (Some(kind), Some(slabs)) = (Self::kind(class), self.classes.get_mut(class)) else {
            return Err(AllocError::TooLarge);
        };
        match kind {
            Kind::Slabs(geometry) => {
                if slabs.candidate().is_none() {
                    slabs.grow(geometry, &mut self.memory, self.poison)?;
                }
                let candidate = slabs.random_candidate(random).ok_or(AllocError::OutOfMemory)?;
                Ok(slabs.take(geometry, candidate))
            }
            Kind::Frames(count) => {
                let block =
                    self.take_frames(*count, size_of_class(class) & size_of_class(class).wrapping_neg())?;
                if let Some(poison) = self.poison {
                    // SAFETY: a run of frames that was just taken: valid for the class's size.
                    unsafe { block.write_bytes(poison, size_of_class(class)) };
                }
                Ok(block)
            }
        }
    }

    /// Whether `block` is handed out as a block of `class`, by a slab whose header and links are sound. O(objects / 64).
    pub(crate) fn check_block(&self, class: usize, block: NonNull<u8>) -> Result<(), FreeError> {
        let (Some(Kind::Slabs(geometry)), Some(slabs)) = (Self::kind(class), self.classes.get(class)) else {
            return Ok(());
        };
        let address = block.addr().get();
        // SAFETY: callers fill new slabs, so that all of a slab's memory is initialised.
        let slab = unsafe { self.memory.slab_at(geometry, slabs.owner, address) };
        let slab = slab.filter(|slab| slabs.is_linked(*slab) && slab.is_consistent(geometry));
        Slabs::taken_at(slab.ok_or(FreeError::Foreign)?, geometry, address).map(drop)
    }

    /// Gives a block of a class back.
    ///
    /// # Safety
    /// It was taken here as of that class and not given back, and nothing uses it any more.
    ///
    /// # Errors
    /// What the slab or the source can tell; nothing is changed then.
    pub(crate) unsafe fn give(&mut self, class: usize, block: NonNull<u8>) -> Result<(), FreeError> {
        let address = block.addr().get();
        let (Some(kind), Some(slabs)) = (Self::kind(class), self.classes.get_mut(class)) else {
            return Err(FreeError::WrongSize);
        };
        let geometry = match kind {
            Kind::Slabs(geometry) => geometry,
            // SAFETY: the caller's promise: a run of so many frames.
            Kind::Frames(count) => return unsafe { self.give_frames(address, *count) },
        };
        // SAFETY: the caller's promise: an object of a live slab of this class.
        let slab = unsafe { self.memory.slab_at(geometry, slabs.owner, address) };
        let slab = slab.ok_or(FreeError::Foreign)?;
        let index = Slabs::taken_at(slab, geometry, address)?;
        slabs.give(geometry, slab, index);
        let keep = Self::keep(slabs);
        if slabs.empty() > keep {
            self.release(class, keep);
        }
        Ok(())
    }

    /// Gives blocks of a class back; those that their slab or the source refuses are counted.
    ///
    /// # Safety
    /// As [`give`](Self::give), for each of them.
    pub(crate) unsafe fn give_batch(&mut self, class: usize, blocks: &[Option<NonNull<u8>>]) {
        let (Some(Kind::Slabs(geometry)), Some(slabs)) = (Self::kind(class), self.classes.get_mut(class))
        else {
            for block in blocks.iter().flatten() {
                // SAFETY: the caller's promise.
                let refused = unsafe { self.give(class, *block) }.is_err();
                self.rejected = self.rejected.saturating_add(u64::from(refused));
            }
            return;
        };
        let finder = self.memory.finder(geometry, slabs.owner);
        let refused = slabs.give_batch(geometry, blocks, |address| {
            // SAFETY: the caller's promise: an object of a live slab of this class.
            unsafe { finder.as_ref()?.slab_at(address) }
        });
        self.rejected = self.rejected.saturating_add(refused);
        let keep = Self::keep(slabs);
        if slabs.empty() > keep {
            self.release(class, keep);
        }
    }

    /// Takes a block of `count` frames at an alignment in bytes.
    pub(crate) fn take_frames(
        &mut self,
        count: NonZero<u64>,
        align: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        let order =
            Order::holding((align as u64 >> S::FRAME_SIZE.log2()).max(1)).ok_or(AllocError::TooLarge)?;
        let block = self.memory.take(FrameRequest { count, align: order }, align)?;
        self.whole += count.get();
        Ok(block)
    }

    /// Gives a block of `count` frames back.
    ///
    /// # Safety
    /// It was taken by [`take_frames`](Self::take_frames), and nothing uses it any more.
    pub(crate) unsafe fn give_frames(
        &mut self,
        address: usize,
        count: NonZero<u64>,
    ) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { self.memory.give(address, count.get()) }?;
        self.whole = self.whole.saturating_sub(count.get());
        Ok(())
    }

    /// How many slabs a class that has no free block gets: the more, the more it has, if the source takes them back one by
    /// one. Then they lie side by side, which the processor's prefetching likes, and the source is asked less often.
    fn growth(geometry: &Geometry, slabs: &Slabs) -> u32 {
        let some =
            if S::TAKES_PARTS && geometry.slab_bytes().is_power_of_two() { slabs.slabs() / 8 } else { 0 };
        match some {
            0..=1 => 1,
            2..=3 => 2,
            4..=7 => 4,
            8..=15 => 8,
            _ => 16,
        }
    }

    /// How many empty slabs a class keeps: one, and one for every eight, so that a class that shrinks and grows again does
    /// not go to the source each time.
    fn keep(slabs: &Slabs) -> usize {
        1 + slabs.slabs() / 8
    }

    /// Gives a class's empty slabs back until `keep` are left.
    #[cold]
    fn release(&mut self, class: usize, keep: usize) {
        let (Some(Kind::Slabs(geometry)), Some(slabs)) = (Self::kind(class), self.classes.get_mut(class))
        else {
            return;
        };
        while slabs.empty() > keep {
            let Some(slab) = slabs.remove_empty() else { break };
            // SAFETY: laid here, in no list any more, and no object of it is handed out. If the source refuses its own
            // frames, they are lost, and counted as ours.
            let _ = unsafe { self.memory.release(geometry, slab) };
        }
    }

    /// Gives every empty slab back; how many frames.
    pub(crate) fn shrink(&mut self) -> u64 {
        let before = self.memory.frames;
        (0..CLASSES).for_each(|class| self.release(class, 0));
        before - self.memory.frames
    }

    /// Bytes of blocks handed out, and of the slabs that are free or hold no object.
    pub(crate) fn bytes(&self) -> (u64, u64, u64) {
        let (mut taken, mut tail) = (self.whole << S::FRAME_SIZE.log2(), 0);
        for (kind, slabs) in Self::KINDS.iter().zip(&self.classes) {
            if let Kind::Slabs(geometry) = kind {
                taken += (slabs.taken() * geometry.stride()) as u64;
                tail += (slabs.slabs() * geometry.tail()) as u64;
            }
        }
        let all = self.memory.frames << S::FRAME_SIZE.log2();
        (taken, all.saturating_sub(taken + tail), tail)
    }

    /// The figures of a class; `None` if it has no slabs.
    pub(crate) fn info(&self, class: usize, name: &'static str) -> Option<CacheInfo> {
        match (Self::kind(class)?, self.classes.get(class)?) {
            (Kind::Slabs(geometry), slabs) => Some(CacheInfo::of(name, geometry, slabs)),
            (Kind::Frames(_), _) => None,
        }
    }

    /// Checks B1 and B2.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let mut frames = self.whole;
        for (kind, slabs) in Self::KINDS.iter().zip(&self.classes) {
            if let Kind::Slabs(geometry) = kind {
                slabs.check(geometry)?;
                frames += slabs.slabs() as u64 * u64::from(geometry.frames());
            }
        }
        Violation::unless(frames == self.memory.frames, "B2: the frames taken are those in use", frames)
    }

    /// Whether `block` is handed out as a block of `class`, as far as its slab tells.
    pub(crate) fn is_taken(&self, class: usize, block: NonNull<u8>) -> bool {
        let (Some(Kind::Slabs(geometry)), Some(slabs)) = (Self::kind(class), self.classes.get(class)) else {
            return true;
        };
        let address = block.addr().get();
        // SAFETY: callers pass blocks of this class that were taken here and not given back.
        let slab = unsafe { self.memory.slab_at(geometry, slabs.owner, address) };
        slab.is_some_and(|slab| Slabs::taken_at(slab, geometry, address).is_ok())
    }
}
