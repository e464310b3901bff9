//! A heap of size classes: every class a cache, the blocks freed last in front of them.
//!
//! ```text
//!  Layout ─ size_class ─► class ─► front: the blocks freed last     a table, a load, two compares
//!              │                     │ half of its slots at a time
//!              │                   back: slabs of the class         the fullest first
//!              └─ larger ────────────┴─► frames of the source
//! ```
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, Fragmentation, FrameSource, FreeError, PhysWindow,
    Ratio, Usage, Violation,
};

use crate::back::Back;
use crate::exchange;
use crate::front::Front;
use crate::info::CacheInfo;
use crate::size_class::{CLASSES, LARGEST, class_of_layout, rounded};

/// A heap over any frame source, for one owner; behind a lock as [`hectare_core::Heap`].
///
/// * A block of up to 32 KiB comes from the front of its class in O(1), from a slab every few operations; larger ones are
///   runs of frames.
/// * Alignment: any power of two that the window's distance from the physical addresses is a multiple of.
/// * Rounding: at most 1/9 of a block above 128 bytes, at most 15 bytes below (7 for 8 bytes at most); slabs leave at most
///   1/8 over, header included.
/// * A class without a free block gets one slab more; from a source that [takes parts](FrameSource::TAKES_PARTS) of runs
///   back, an eighth more, at most 16 side by side. It keeps one empty slab and an eighth; the others go back at once.
/// * Before an allocation is refused, the front is flushed, every empty slab given back, and the source asked again. A
///   class cannot use what is free in another's slabs: so this heap may refuse although enough bytes are free.
/// * A free is known by its `Layout`, and the block goes to the front unseen. A bad free is found when the block comes to
///   its slab: it is then dropped and [counted](Self::rejected). What is not of the heap at all (foreign, misaligned,
///   freed before and back in its slab) never gets into a slab, but may be handed out once from the front. For exact
///   detection at the free itself there are the caches.
/// * `allocate_zeroed` writes zeros, except to whole frames of a source that [gives zeroed ones](Self::zeroed_frames).
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::{ByteAllocator, Figures};
/// use hectare_slab::SlabHeap;
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 64);
/// # let window = frames.window();
///
/// let mut heap = SlabHeap::new(frames, window);
/// let layout = Layout::new::<[u8; 1000]>();
/// let block = heap.allocate(layout)?;
/// assert_eq!(heap.usage().allocated, 1024); // rounded up to its class; no header
///
/// // SAFETY: taken above with this layout, and not used any more.
/// unsafe { heap.deallocate(block, layout) }?;
/// // SAFETY: none: a mistake, which the free itself does not see.
/// unsafe { heap.deallocate(block, layout) }?;
/// heap.flush(); // now both come to the slab, and one is dropped
/// assert_eq!(heap.rejected(), 1);
///
/// heap.shrink();
/// assert_eq!((heap.usage().allocated, heap.usage().capacity), (0, 0)); // every frame is the source's again
/// # assert_eq!(heap.source().free(), 64);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// * the slabs of each class: right lists, right sums, bitmaps and counts that agree
/// * each block in the front is one that its slab thinks is handed out, and is there once
#[derive(Debug)]
pub struct SlabHeap<S: FrameSource, W: PhysWindow> {
    front: Front,
    back: Back<S, W>,
}

// SAFETY: the front's pointers are to memory of the heap.
unsafe impl<S: FrameSource + Send, W: PhysWindow + Send> Send for SlabHeap<S, W> {}

impl<S: FrameSource, W: PhysWindow> SlabHeap<S, W> {
    /// A heap without slabs.
    #[must_use]
    pub const fn new(source: S, window: W) -> Self {
        Self { front: Front::EMPTY, back: Back::new(source, window) }
    }

    /// The same heap, over a source whose frames are zero whenever it hands them out: large blocks of zeros are then not
    /// written.
    ///
    /// # Safety
    /// They are, also frames that were given back and come again.
    #[must_use]
    pub const unsafe fn zeroed_frames(mut self) -> Self {
        self.back.zeroed = true;
        self
    }

    /// Moves every block of the front to its slab. O(blocks in the front), at most 1300.
    pub fn flush(&mut self) {
        exchange::flush(&mut self.front, &mut self.back);
    }

    /// Flushes the front and gives every empty slab back to the source; how many frames.
    pub fn shrink(&mut self) -> u64 {
        self.flush();
        self.back.shrink()
    }

    /// Blocks that were freed although they were not this heap's or free already, as far as their slabs could tell.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.back.rejected
    }

    /// The figures of every class that has slabs, under the names of Linux's caches. O(classes).
    pub fn info(&self) -> impl Iterator<Item = CacheInfo> + use<'_, S, W> {
        NAMES.iter().enumerate().filter_map(|(class, name)| self.back.info(class, name))
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.back.memory.source
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, class: usize) -> Option<NonNull<u8>> {
        if let Ok(block) = exchange::refill(&mut self.front, &mut self.back, class) {
            return Some(block);
        }
        self.shrink();
        match exchange::refill(&mut self.front, &mut self.back, class) {
            Ok(block) => Some(block),
            Err(error) => {
                self.back.refused = self.back.refused.saturating_add(1);
                self.back.refusal = error;
                None
            }
        }
    }

    /// Moves the older half of a full class to its slabs, and puts `block` in.
    #[cold]
    #[inline(never)]
    fn overflow(&mut self, class: usize, block: NonNull<u8>) {
        let batch = self.front.batch(class);
        exchange::drain(&mut self.front, &mut self.back, class, batch);
        self.front.push(class, block);
    }

    #[inline(always)]
    fn take(&mut self, class: usize) -> Result<NonNull<u8>, AllocError> {
        if let Some(block) = self.front.pop(class) {
            return Ok(block);
        }
        // The reason of a refusal is kept aside, so that the short way's result stays in a register.
        self.refill(class).ok_or(self.back.refusal)
    }

    #[inline(always)]
    fn put(&mut self, class: usize, block: NonNull<u8>) {
        if !self.front.push(class, block) {
            self.overflow(class, block);
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_large(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let count = exchange::frames::<S>(layout)?;
        match self.back.take_frames(count, layout.align()) {
            Err(AllocError::OutOfMemory | AllocError::Fragmented) => {
                self.shrink();
                let again = self.back.take_frames(count, layout.align());
                again.inspect_err(|_| self.back.refused = self.back.refused.saturating_add(1))
            }
            result => result,
        }
    }

    /// # Safety
    /// As [`ByteAllocator::deallocate`], for a block that no class serves.
    #[cold]
    #[inline(never)]
    unsafe fn free_large(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let count = exchange::frames::<S>(layout).map_err(|_| FreeError::WrongSize)?;
        // SAFETY: the caller's promise: a run of so many frames that was taken here.
        unsafe { self.back.give_frames(block.addr().get(), count) }
    }
}

// SAFETY: (1)–(3) a block is an object of a slab or a run of frames, taken from there once: its class is at least as large
// and aligned (size_class), and the slab's frames are real memory (source, window); a header is part of no object. (4) It
// moves with nothing: the heap holds pointers only. No safe method takes blocks back.
unsafe impl<S: FrameSource, W: PhysWindow> ByteAllocator for SlabHeap<S, W> {
    #[inline]
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let Some(class) = class_of_layout(layout) else { return self.allocate_large(layout) };
        self.take(class)
    }

    #[inline]
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let Some(class) = class_of_layout(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { self.free_large(block, layout) };
        };
        self.put(class, block);
        Ok(())
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let block = self.allocate(layout)?;
        if !(self.back.zeroed && rounded(layout) > LARGEST) {
            // SAFETY: the block is valid for writes of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        Ok(block)
    }

    #[inline]
    unsafe fn resize_in_place(
        &mut self,
        _block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        exchange::resize::<S>(layout, new_size)
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promises: the size, rounded up to the alignment, is at most isize::MAX; 0 is too.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let shorter = layout.size().min(new_size);
        match (class_of_layout(layout), class_of_layout(new_layout)) {
            (Some(old), Some(new)) if old == new => Ok(block),
            (Some(old), Some(new)) => {
                let moved = self.take(new)?;
                // SAFETY: (1) both blocks are live and at least that long; (2) they do not overlap (promise 3).
                unsafe { moved.copy_from_nonoverlapping(block, shorter) };
                self.put(old, block);
                Ok(moved)
            }
            (None, None) if exchange::frames::<S>(layout) == exchange::frames::<S>(new_layout) => Ok(block),
            _ => {
                let moved = self.allocate(new_layout)?;
                // SAFETY: as above.
                unsafe { moved.copy_from_nonoverlapping(block, shorter) };
                // SAFETY: the caller's promise; the copy is done.
                unsafe { self.deallocate(block, layout) }?;
                Ok(moved)
            }
        }
    }
}

impl<S: FrameSource, W: PhysWindow> Drop for SlabHeap<S, W> {
    /// Gives empty slabs back. Those with live blocks, and large blocks, are leaked.
    fn drop(&mut self) {
        self.shrink();
    }
}

impl<S: FrameSource, W: PhysWindow> CheckInvariants for SlabHeap<S, W> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.back.check()?;
        Violation::unless(self.front.is_sound(), "a slot at the floor of a class is empty", 0)?;
        for class in 0..CLASSES {
            for (index, block) in self.front.blocks(class).enumerate() {
                let at = block.addr().get() as u64;
                Violation::unless(
                    self.back.is_taken(class, block),
                    "a block in the front left its slab",
                    at,
                )?;
                let once = self.front.blocks(class).skip(index + 1).all(|other| other != block);
                Violation::unless(once, "a block is in the front once", at)?;
            }
        }
        Ok(())
    }
}

/// In bytes, of the frames that the heap has now. O(classes).
impl<S: FrameSource, W: PhysWindow> Figures for SlabHeap<S, W> {
    /// The front counts as free.
    fn usage(&self) -> Usage {
        let (taken, free, tail) = self.back.bytes();
        let held: u64 =
            (0..CLASSES).map(|class| self.front.len(class) as u64 * Back::<S, W>::footprint(class)).sum();
        let mut usage = Usage::new(1, taken + free, taken.saturating_sub(held));
        usage.metadata_bytes = tail;
        usage.failures.out_of_memory = self.back.refused;
        usage
    }

    /// Each free object is a hole. O(classes).
    fn fragmentation(&self) -> Fragmentation {
        let (mut holes, mut largest) = (0, 0);
        for class in 0..CLASSES {
            let info = self.back.info(class, "");
            let free = info.map_or(0, |info| info.objects - info.active_objects) + self.front.len(class);
            holes += free as u64;
            if free > 0 {
                largest = u64::from(size(class));
            }
        }
        Fragmentation::new(self.usage().free, largest, holes)
    }

    /// O(classes).
    fn unusable(&self, units: u64) -> Ratio {
        let (mut small, mut all) = (0, 0);
        for class in 0..CLASSES {
            let info = self.back.info(class, "");
            let free = info.map_or(0, |info| info.objects - info.active_objects) + self.front.len(class);
            let bytes = free as u64 * u64::from(size(class));
            all += bytes;
            small += if u64::from(size(class)) < units { bytes } else { 0 };
        }
        Ratio::new(small, all)
    }
}

fn size(class: usize) -> u16 {
    crate::size_class::SIZES.get(class).copied().unwrap_or(0)
}

/// The name of a class.
#[cfg(target_has_atomic = "ptr")]
pub(crate) fn name(class: usize) -> &'static str {
    NAMES.get(class).copied().unwrap_or("")
}

/// The names of the classes, as Linux names its caches of this kind.
static NAMES: [&str; CLASSES] = [
    "kmalloc-8",
    "kmalloc-16",
    "kmalloc-32",
    "kmalloc-48",
    "kmalloc-64",
    "kmalloc-80",
    "kmalloc-96",
    "kmalloc-112",
    "kmalloc-128",
    "kmalloc-144",
    "kmalloc-160",
    "kmalloc-176",
    "kmalloc-192",
    "kmalloc-208",
    "kmalloc-224",
    "kmalloc-240",
    "kmalloc-256",
    "kmalloc-288",
    "kmalloc-320",
    "kmalloc-352",
    "kmalloc-384",
    "kmalloc-416",
    "kmalloc-448",
    "kmalloc-480",
    "kmalloc-512",
    "kmalloc-576",
    "kmalloc-640",
    "kmalloc-704",
    "kmalloc-768",
    "kmalloc-832",
    "kmalloc-896",
    "kmalloc-960",
    "kmalloc-1k",
    "kmalloc-1152",
    "kmalloc-1280",
    "kmalloc-1408",
    "kmalloc-1536",
    "kmalloc-1664",
    "kmalloc-1792",
    "kmalloc-1920",
    "kmalloc-2k",
    "kmalloc-2304",
    "kmalloc-2560",
    "kmalloc-2816",
    "kmalloc-3k",
    "kmalloc-3328",
    "kmalloc-3584",
    "kmalloc-3840",
    "kmalloc-4k",
    "kmalloc-4608",
    "kmalloc-5k",
    "kmalloc-5632",
    "kmalloc-6k",
    "kmalloc-6656",
    "kmalloc-7k",
    "kmalloc-7680",
    "kmalloc-8k",
    "kmalloc-9k",
    "kmalloc-10k",
    "kmalloc-11k",
    "kmalloc-12k",
    "kmalloc-13k",
    "kmalloc-14k",
    "kmalloc-15k",
    "kmalloc-16k",
    "kmalloc-18k",
    "kmalloc-20k",
    "kmalloc-22k",
    "kmalloc-24k",
    "kmalloc-26k",
    "kmalloc-28k",
    "kmalloc-30k",
    "kmalloc-32k",
];
