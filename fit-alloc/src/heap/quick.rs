//! Quick lists: recently freed small blocks kept whole, for the next request of the same size.
//!
//! ```text
//!  size in granules   1        2        3           …  128
//!  list             ┌──────┐ ┌──────┐ ┌──────┐
//!                   │ head │ │ head │ │ head │         newest first; blocks are linked through their first word
//!                   │ room │ │ room │ │ room │         how many more it takes: then blocks go to the heap below
//!                   └──┬───┘ └──────┘ └──┬───┘
//!                      ▼                 ▼
//!                   block ─► block     block           to the heap below they are allocated: not joined, not split
//! ```
//! Most blocks die young and their size is asked for again at once; joining and splitting them is work for nothing.
#![expect(unsafe_code, reason = "links blocks through their memory")]

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, FreeError, RegionError, RegionHeap, Violation,
};

use super::good_fit::{GoodFit, granules};
use super::shape::{Complete, Shape, Standard};
use super::walk::Run;

/// Sizes up to this many granules have a list.
const CLASSES: usize = 128;

/// Sizes above this many granules are large: blocks of 1 to 2 KiB die young as well, but what they hold is missed sooner.
const LARGE: usize = 64;

/// A list keeps at most this many blocks.
const DEPTH: usize = 32;
const LARGE_DEPTH: usize = 8;

/// A list keeps at most this part of the heap's capacity, so that all lists together keep at most a 16th and a 64th.
const SHARE: usize = 1024;
const LARGE_SHARE: usize = 4096;

/// Memory is short when less than this part of the capacity is free, and no longer when twice as much is.
const SHORT: usize = 8;

/// Lists keep only this part of what they keep otherwise when memory is short: what they keep is missed then.
const KEPT: usize = 4;

/// How often each list is emptied while the heap grows to its end.
const GROWTH: usize = 128;

/// How many lists are emptied at once.
const AT_ONCE: usize = 16;

/// One list. Invariant: `room` plus its length is `limit`.
#[derive(Clone, Copy, Debug)]
struct List {
    /// The newest block, with the provenance of its region; null if there is none.
    head: *mut u8,
    room: u16,
    limit: u16,
}

/// A [`GoodFit`] heap behind quick lists: faster where blocks die young, a little less tight, no worst-case bound.
///
/// * A request is refused only after every list was emptied and the heap below searched completely.
/// * It detects the bad frees that [`Complete`] does, and the second of two frees of one block in a row; a block freed
///   twice with others of its size between is not detected. [`HardenedHeap`](super::HardenedHeap) detects all.
/// * There is a list for each size up to 128 granules. It keeps at most 32 blocks and 1/1024 of the capacity, above 64
///   granules at most 8 and 1/4096; a quarter of that when less than an eighth of the heap is free.
///
/// ```
/// use core::alloc::Layout;
/// use core::ptr::NonNull;
/// use hectare_core::{ByteAllocator, Figures, FreeError, RegionHeap};
/// use hectare_fit::FitHeap; // quick lists before good fit, one region
///
/// let mut memory = vec![0_u128; 0x4000]; // 256 KiB
/// let region = NonNull::slice_from_raw_parts(NonNull::from(&mut memory[..]).cast::<u8>(), 0x4_0000);
/// let mut heap = FitHeap::<1>::new();
/// // SAFETY: nothing else uses the vector's memory while the heap does.
/// unsafe { heap.add_region(region) }?;
///
/// let layout = Layout::new::<[u8; 64]>();
/// let block = heap.allocate(layout)?;
/// // SAFETY: live, of this layout, and not used any more.
/// unsafe { heap.deallocate(block, layout) }?;
/// assert_eq!((heap.cached(), heap.usage().allocated), (64, 64)); // kept whole, and counted as allocated
/// // SAFETY: none: a mistake. The second in a row is found.
/// assert_eq!(unsafe { heap.deallocate(block, layout) }, Err(FreeError::NotAllocated));
/// assert_eq!(heap.allocate(layout)?, block); // no search, no split
///
/// // SAFETY: as above.
/// unsafe { heap.deallocate(block, layout) }?;
/// heap.flush(); // done by itself before a refusal
/// assert_eq!((heap.cached(), heap.usage().allocated, heap.fragmentation().holes), (0, 0, 1));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct QuickLists<S: Shape = Standard, const REGIONS: usize = 1> {
    heap: GoodFit<S, REGIONS, Complete>,
    lists: [List; CLASSES],
    /// The free granules at the end of region 0 are watched: below this, lists are emptied.
    watched: usize,
    /// How far above `watched` they may be.
    step: usize,
    /// The list that was emptied last for growth.
    next: usize,
    /// Whether region 0 was short of memory when it last grew.
    short: bool,
}

impl<S: Shape, const REGIONS: usize> QuickLists<S, REGIONS> {
    /// A heap without memory. `const`, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heap: GoodFit::new(),
            lists: [List { head: ptr::null_mut(), room: 0, limit: 0 }; CLASSES],
            watched: 0,
            step: 0,
            next: 0,
            short: false,
        }
    }

    /// Bytes in the quick lists, which the figures count as allocated.
    #[must_use]
    pub fn cached(&self) -> usize {
        let blocks = |(class, list): (usize, &List)| (class + 1) * usize::from(list.limit - list.room);
        self.lists.iter().enumerate().map(blocks).sum::<usize>() << S::LOG2_GRANULE
    }

    /// Gives every block in the lists back to the heap below. O(blocks in the lists), at most 2560.
    #[inline(never)]
    pub fn flush(&mut self) {
        for class in 0..CLASSES {
            self.empty(class);
        }
    }

    /// As [`GoodFit::extend_region`].
    ///
    /// # Safety
    /// As [`GoodFit::extend_region`].
    ///
    /// # Errors
    /// As [`GoodFit::extend_region`].
    pub unsafe fn extend_region(&mut self, memory: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.heap.extend_region(memory) }?;
        self.set_limits();
        Ok(())
    }

    /// As [`GoodFit::truncate_region`], after [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`GoodFit::truncate_region`].
    pub fn truncate_region(&mut self, from: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.flush();
        let memory = self.heap.truncate_region(from)?;
        self.set_limits();
        Ok(memory)
    }

    /// As [`GoodFit::remove_region`], after [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`GoodFit::remove_region`].
    pub fn remove_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        self.flush();
        let memory = self.heap.remove_region(inside)?;
        self.set_limits();
        Ok(memory)
    }

    /// As [`GoodFit::runs`]; blocks in the lists are in used runs.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        self.heap.runs()
    }

    pub(crate) fn heap(&self) -> &GoodFit<S, REGIONS, Complete> {
        &self.heap
    }

    /// Sets how many blocks each list keeps, after the capacity changed.
    fn set_limits(&mut self) {
        self.flush();
        let capacity: usize = self.heap.used_engines().map(|engine| engine.capacity).sum();
        let part = if self.short { KEPT } else { 1 };
        let small = (capacity / SHARE / part, DEPTH / part);
        let large = (capacity / LARGE_SHARE / part, LARGE_DEPTH / part);
        self.step = capacity / (GROWTH * CLASSES / AT_ONCE);
        for (class, list) in self.lists.iter_mut().enumerate() {
            let (share, depth) = if class < LARGE { small } else { large };
            list.limit = u16::try_from((share / (class + 1)).min(depth)).unwrap_or(0);
            list.room = list.limit;
        }
    }

    /// Gives every block of a list back.
    #[inline(never)]
    fn empty(&mut self, class: usize) {
        let Some(list) = self.lists.get_mut(class) else { return };
        list.room = list.limit;
        let mut block = core::mem::replace(&mut list.head, ptr::null_mut());
        while !block.is_null() {
            // SAFETY: a listed block's first word is its link.
            let next = unsafe { read_link(block) };
            if let Ok((engine, index)) = self.heap.find_granule(block.addr()) {
                // SAFETY: a block of this size, which nobody uses.
                unsafe { engine.give(index, class + 1) };
            }
            block = next;
        }
    }

    /// Takes a block from a list that has one.
    #[inline(always)]
    fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let list = self.lists.get_mut(class)?;
        let block = NonNull::new(list.head)?;
        // SAFETY: a listed block's first word is its link.
        list.head = unsafe { read_link(list.head) };
        list.room += 1;
        Some(block)
    }

    /// Empties lists while the heap grows into memory that it has not touched yet, a few at a time: the blocks in them
    /// may join to what is needed, and memory stays compact.
    #[inline(always)]
    fn watch_growth(&mut self) {
        let Some(engine) = self.heap.engines.first() else { return };
        if engine.top.size.wrapping_sub(self.watched) > self.step {
            self.follow_growth();
        }
    }

    #[cold]
    #[inline(never)]
    fn follow_growth(&mut self) {
        let Some(engine) = self.heap.engines.first() else { return };
        let top = engine.top.size;
        let grew = top < self.watched;
        self.watched = top.saturating_sub(self.step);
        let part = if self.short { SHORT / 2 } else { SHORT };
        let short = engine.free < engine.capacity / part;
        if short != self.short && !cfg!(hectare_plant = "heap_never_short") {
            self.short = short;
            self.set_limits();
        }
        if grew {
            for _ in 0..AT_ONCE {
                self.next = (self.next + 1) % CLASSES;
                self.empty(self.next);
            }
        }
    }

    /// What the lists do not have: the bounded search of the heap below.
    #[inline(never)]
    fn allocate_below(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.watch_growth();
        self.heap.allocate_bounded(layout)
    }

    /// What the heap below does not have, unless the blocks in the lists are missing.
    #[cold]
    #[inline(never)]
    fn flush_and_search(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        if !cfg!(hectare_plant = "heap_quick_not_flushed") {
            self.flush();
        }
        self.heap.allocate(layout)
    }
}

// SAFETY: the lists point to blocks of the heap's own regions.
unsafe impl<S: Shape, const REGIONS: usize> Send for QuickLists<S, REGIONS> {}

impl<S: Shape, const REGIONS: usize> Default for QuickLists<S, REGIONS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The list of a size, if it has one.
#[inline(always)]
fn class_of<S: Shape>(size: usize) -> usize {
    // Size 0 wraps to a class without a list; the heap below serves it.
    size.wrapping_sub(1) >> S::LOG2_GRANULE
}

// SAFETY: a listed block is one that the heap below handed out, of the same granules and alignment, and that came back:
// handing it out again keeps every promise of the heap below.
unsafe impl<S: Shape, const REGIONS: usize> ByteAllocator for QuickLists<S, REGIONS> {
    #[inline]
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let class = class_of::<S>(layout.size());
        if class < CLASSES && layout.align() <= S::GRANULE {
            if let Some(block) = self.pop(class) {
                return Ok(block);
            }
        }
        match self.allocate_below(layout) {
            Some(block) => Ok(block),
            None => self.flush_and_search(layout),
        }
    }

    #[inline]
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let class = class_of::<S>(layout.size());
        if let Some(list) = self.lists.get_mut(class) {
            if list.head == block.as_ptr() {
                return Err(FreeError::NotAllocated);
            }
            if list.room != 0 {
                let (engine, index) = self.heap.find_granule(block.addr().get())?;
                // SAFETY: a granule of the region. The block's own pointer may be good for less than the block.
                let block = unsafe { engine.region.block(index) };
                // SAFETY: the first word of a block that nobody uses.
                unsafe { write_link(block.as_ptr(), list.head) };
                list.head = block.as_ptr();
                list.room -= 1;
                return Ok(());
            }
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.heap.deallocate(block, layout) }
    }

    #[inline]
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.heap.resize_in_place(block, layout, new_size) }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        let (old, new) = (granules::<S>(layout.size()), granules::<S>(new_size));
        // SAFETY: the caller's promise is the one asked for.
        match unsafe { self.heap.resize(block, old, new) } {
            Ok(()) => return Ok(block),
            Err(AllocError::NotInPlace) => {}
            Err(error) => return Err(error),
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return Err(AllocError::TooLarge);
        };
        let listed = if layout.align() <= S::GRANULE { self.pop(class_of::<S>(new_size)) } else { None };
        let Some(new) = listed.or_else(|| self.allocate_below(new_layout)) else {
            self.flush();
            // SAFETY: the caller's promise is the one asked for.
            return unsafe { self.heap.reallocate(block, layout, new_size) };
        };
        // SAFETY: (1) the new block has `new_size` bytes, more than the old one, which the caller vouches for; (2) live
        // blocks do not overlap.
        unsafe { new.copy_from_nonoverlapping(block, layout.size()) };
        // SAFETY: the caller's promise; nothing uses the old block after the copy.
        unsafe { self.deallocate(block, layout) }?;
        Ok(new)
    }
}

// SAFETY: only the heap below touches memory, and the first words of blocks that came back.
unsafe impl<S: Shape, const REGIONS: usize> RegionHeap for QuickLists<S, REGIONS> {
    const EMPTY: Self = Self::new();

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.heap.add_region(region) }?;
        self.set_limits();
        Ok(())
    }
}

/// Those of the heap below; and each list has as many blocks as it counts, each allocated to the heap below. Violations
/// name a list's size in granules.
impl<S: Shape, const REGIONS: usize> CheckInvariants for QuickLists<S, REGIONS> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.heap.check_invariants()?;
        for (class, list) in self.lists.iter().enumerate() {
            let at = class as u64 + 1;
            Violation::unless(list.room <= list.limit, "Q1: a list has no more room than its limit", at)?;
            let mut block = list.head;
            for _ in 0..list.limit - list.room {
                let found = self.heap.used_engines().find_map(|engine| {
                    let index = engine.region.index_of(block.addr())?;
                    Some((engine, index))
                });
                let Some((engine, index)) = found else {
                    return Err(Violation { rule: "Q2: a list has as many blocks as it counts", at });
                };
                // SAFETY: a granule of the region.
                let free = unsafe { engine.region.bit(index) };
                Violation::unless(!free, "Q3: a listed block is allocated to the heap below", at)?;
                // SAFETY: the first word at a granule of the region.
                block = unsafe { read_link(block) };
            }
            Violation::unless(block.is_null(), "Q2: a list has as many blocks as it counts", at)?;
        }
        Ok(())
    }
}

/// The block after a listed one.
///
/// # Safety
/// The block is in a list.
#[inline(always)]
unsafe fn read_link(block: *mut u8) -> *mut u8 {
    // SAFETY: a block is aligned to the granule and has one at least, which holds a pointer; `write_link` wrote it.
    unsafe { block.cast::<*mut u8>().read() }
}

/// Makes `next` the block after this one.
///
/// # Safety
/// The block is the lists' own.
#[inline(always)]
unsafe fn write_link(block: *mut u8, next: *mut u8) {
    // SAFETY: a block is aligned to the granule and has one at least, which holds a pointer.
    unsafe { block.cast::<*mut u8>().write(next) };
}
