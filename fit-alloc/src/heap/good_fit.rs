//! The good-fit heap: bytes over engines of granules, one for each region, with typed errors.
#![expect(unsafe_code, reason = "implements unsafe traits over the engines")]

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator, Failures, FreeError, RegionError, RegionHeap};

use super::eights;
use super::engine::Engine;
use super::shape::{Complete, Mode, Shape, Standard};

/// A heap of good fit: constant-time, header-less, over up to `REGIONS` regions at any distance.
///
/// A block costs its size rounded up to the granule and nothing else. The heap's own state is this value, and one bit a
/// granule (two, if hardened) at the beginning of each region. Regions are used in the order in which they were added: a
/// later one when all before it have no hole for a request.
///
/// | operation | steps | refused if |
/// |---|---|---|
/// | `allocate` | constant for each region | no hole fits; in [`Bounded`](super::Bounded) mode perhaps although one does |
/// | the last attempt of [`Complete`] mode | linear in the holes | no hole fits |
/// | `deallocate` | constant; [`Hardened`](super::Hardened): linear in the block's bits | see [`Mode`] |
/// | `resize_in_place` | as `deallocate` | no room after the block |
/// | `reallocate` | as the above and a copy | as `allocate` |
///
/// The constant: an allocation visits at most seven holes of a region, and as many again before it
/// refuses; a free three.
///
/// ```
/// use core::alloc::Layout;
/// use core::ptr::NonNull;
/// use hectare_core::{AllocError, ByteAllocator, FreeError, RegionError, RegionHeap};
/// use hectare_fit::heap::{GoodFit, Hardened, Standard};
///
/// let (mut low, mut high) = ([0_u128; 64], [0_u128; 256]); // 1 KiB and 4 KiB, anywhere
/// let [low, high] = [&mut low[..], &mut high[..]].map(|region| {
///     NonNull::slice_from_raw_parts(NonNull::from(&mut *region).cast::<u8>(), size_of_val(region))
/// });
/// let mut heap = GoodFit::<Standard, 2, Hardened>::new(); // also named `HardenedHeap<2>`
/// // SAFETY: nothing else uses the array while the heap does.
/// unsafe { heap.add_region(low) }?;
/// let layout = Layout::new::<[u64; 200]>();
/// assert_eq!(heap.allocate(layout), Err(AllocError::TooLarge)); // more than any region could ever hold
/// // SAFETY: as above.
/// unsafe { heap.add_region(high) }?;
/// let block = heap.allocate(layout)?;
/// assert_eq!(heap.remove_region(block), Err(RegionError::InUse));
///
/// // SAFETY: live, of this layout, and not used any more.
/// unsafe { heap.deallocate(block, layout) }?;
/// // SAFETY: none: a mistake, which this mode always finds.
/// assert_eq!(unsafe { heap.deallocate(block, layout) }, Err(FreeError::NotAllocated));
/// assert_eq!(heap.remove_region(block)?, high); // hot-unplugged: the memory is ours again
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// Invariants: those of the engines, checked by [`CheckInvariants`](hectare_core::CheckInvariants).
#[derive(Debug)]
pub struct GoodFit<S: Shape = Standard, const REGIONS: usize = 1, M: Mode = Complete> {
    /// The first `count` have a region; the others are [`Engine::EMPTY`].
    pub(crate) engines: [Engine<S>; REGIONS],
    pub(crate) count: usize,
    pub(crate) failures: Failures,
    mode: PhantomData<M>,
}

/// The granules of `size` bytes; at least one.
#[inline]
pub(crate) fn granules<S: Shape>(size: usize) -> usize {
    // A layout has at most isize::MAX bytes, so the sum does not wrap.
    let granules = (size + (S::GRANULE - 1)) >> S::LOG2_GRANULE;
    if size == 0 { 1 } else { granules }
}

impl<S: Shape, const REGIONS: usize, M: Mode> GoodFit<S, REGIONS, M> {
    /// A heap without memory. `const`, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(REGIONS > 0, "a heap has room for at least one region") };
        Self { engines: [Engine::EMPTY; REGIONS], count: 0, failures: Failures::NONE, mode: PhantomData }
    }

    /// As `allocate`, with the bounded search only, and without counting a refusal.
    #[inline]
    pub(crate) fn allocate_bounded(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.align() <= S::GRANULE && !S::COMPACT {
            // Region 0 by itself: the common heap has one, and its search is then compiled without a loop.
            let (engine, _) = self.engines.split_first_mut()?;
            let index = engine.take(granules::<S>(layout.size()));
            if index != 0 {
                // SAFETY: the granules were just taken.
                return Some(unsafe { engine.hand_out(index, M::HARDENED) });
            }
            if REGIONS == 1 {
                return None;
            }
        }
        self.allocate_from_any(layout, false)
    }

    /// Asks every region, also for alignments above the granule.
    #[cold]
    #[inline(never)]
    fn allocate_from_any(&mut self, layout: Layout, exhaustive: bool) -> Option<NonNull<u8>> {
        let size = granules::<S>(layout.size());
        for engine in self.engines.iter_mut().take(self.count) {
            let index = if S::COMPACT || layout.align() > S::GRANULE {
                engine.take_aligned(size, layout.align(), exhaustive)
            } else if exhaustive {
                engine.take_exhaustively(size)
            } else {
                engine.settle();
                engine.take(size)
            };
            if index != 0 {
                // SAFETY: the granules were just taken.
                return Some(unsafe { engine.hand_out(index, M::HARDENED) });
            }
        }
        None
    }

    /// What `allocate` does when the bounded search found nothing.
    #[cold]
    #[inline(never)]
    pub(crate) fn search_or_refuse(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        // Even a bounded heap tries once more, with the recent run among the holes.
        let exhaustive = M::COMPLETE || cfg!(hectare_plant = "heap_unbounded");
        // A compact shape has no recent run.
        let again = exhaustive || !S::COMPACT;
        if let Some(block) = again.then(|| self.allocate_from_any(layout, exhaustive)).flatten() {
            return Ok(block);
        }
        let size = granules::<S>(layout.size());
        let engines = || self.engines.iter().take(self.count);
        if engines().all(|engine| engine.capacity < size) {
            self.failures.out_of_memory = self.failures.out_of_memory.saturating_add(1);
            return Err(AllocError::TooLarge);
        }
        if engines().map(|engine| engine.free + engine.recent.size).sum::<usize>() < size {
            self.failures.out_of_memory = self.failures.out_of_memory.saturating_add(1);
            return Err(AllocError::OutOfMemory);
        }
        self.failures.fragmented = self.failures.fragmented.saturating_add(1);
        Err(AllocError::Fragmented)
    }

    /// As `resize_in_place`, with the sizes in granules.
    ///
    /// # Safety
    /// As `resize_in_place`.
    #[inline(always)]
    pub(crate) unsafe fn resize(
        &mut self,
        block: NonNull<u8>,
        old: usize,
        new: usize,
    ) -> Result<(), AllocError> {
        if old == new && !M::HARDENED {
            return Ok(());
        }
        let (engine, index) = self.find_block(block.addr().get(), old)?;
        if new > old {
            // SAFETY: the block ends at `index + old`.
            let grown = unsafe { engine.extend(index + old, new - old) };
            return if grown { Ok(()) } else { Err(AllocError::NotInPlace) };
        }
        if new < old {
            // SAFETY: the tail of the caller's block.
            unsafe { engine.give_tail(index + new, old - new, M::HARDENED) };
        }
        Ok(())
    }

    /// Finds the block at `address` of `size` granules, and refuses what the map shows to be none: see [`Mode`].
    #[inline]
    pub(crate) fn find_block(
        &mut self,
        address: usize,
        size: usize,
    ) -> Result<(&mut Engine<S>, usize), FreeError> {
        let (engine, index) = self.find_granule(address)?;
        engine.check_block(index, size, M::HARDENED)?;
        Ok((engine, index))
    }

    /// Finds the region that has a granule at `address`, and its index.
    #[inline(always)]
    pub(crate) fn find_granule(&mut self, address: usize) -> Result<(&mut Engine<S>, usize), FreeError> {
        let mut slot = 0;
        if REGIONS > 1 && self.engines.first().is_none_or(|engine| engine.region.index_of(address).is_none())
        {
            slot = self.slot_of(address).unwrap_or(0);
        }
        let Some(engine) = self.engines.get_mut(slot) else { return Err(FreeError::Foreign) };
        let Some(index) = engine.region.index_of(address) else {
            return Err(if engine.region.covers(address) {
                FreeError::Misaligned
            } else {
                FreeError::Foreign
            });
        };
        Ok((engine, index))
    }

    /// The slot of the region that covers an address.
    #[cold]
    pub(crate) fn slot_of(&self, address: usize) -> Option<usize> {
        self.engines.iter().take(self.count).position(|engine| engine.region.covers(address))
    }
}

impl<S: Shape, const REGIONS: usize, M: Mode> Default for GoodFit<S, REGIONS, M> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: (1), (3) `take` returns granules of no other block (E1–E3), as many as the size needs; (2) granules are
// aligned to the granule, and `take_aligned` looks at addresses; (4) blocks are in the regions, not in the heap value.
unsafe impl<S: Shape, const REGIONS: usize, M: Mode> ByteAllocator for GoodFit<S, REGIONS, M> {
    #[inline]
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.allocate_bounded(layout) {
            Some(block) => Ok(block),
            None => self.search_or_refuse(layout),
        }
    }

    #[inline]
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let size = granules::<S>(layout.size());
        let (engine, index) = self.find_block(block.addr().get(), size)?;
        if M::HARDENED {
            // SAFETY: a granule of the region; the heap is hardened.
            unsafe { engine.region.end_block(index) };
        }
        // SAFETY: the caller vouches for the block.
        unsafe { engine.give(index, size) };
        if M::HARDENED {
            // Where a block ends, a block or a hole must begin: a recent run is neither.
            engine.settle();
        }
        Ok(())
    }

    #[inline]
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.resize(block, granules::<S>(layout.size()), granules::<S>(new_size)) }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promises are those asked for.
        match unsafe { self.resize(block, granules::<S>(layout.size()), granules::<S>(new_size)) } {
            Ok(()) => return Ok(block),
            Err(AllocError::NotInPlace) => {}
            Err(error) => return Err(error),
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return Err(AllocError::TooLarge);
        };
        let error = match self.allocate(new_layout) {
            Ok(new) => {
                // SAFETY: (1) the new block has `new_size` bytes, more than the old one, which the caller vouches for;
                // (2) live blocks do not overlap; (3) both are aligned to the granule.
                unsafe { copy::<S>(block, new, layout.size()) };
                // SAFETY: the caller's promise; nothing uses the old block after the copy.
                unsafe { self.deallocate(block, layout) }?;
                return Ok(new);
            }
            Err(error) => error,
        };
        // SAFETY: as above; the block is where it was.
        unsafe { self.move_down(block, layout, new_size) }.ok_or(error)
    }
}

impl<S: Shape, const REGIONS: usize, M: Mode> GoodFit<S, REGIONS, M> {
    /// The last resort of a growing block in complete mode: down into the hole before it.
    ///
    /// # Safety
    /// As `reallocate`, for a larger size.
    #[cold]
    unsafe fn move_down(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Option<NonNull<u8>> {
        if !M::COMPLETE || layout.align() > S::GRANULE {
            return None;
        }
        let (old, new) = (granules::<S>(layout.size()), granules::<S>(new_size));
        let (engine, from) = self.find_block(block.addr().get(), old).ok()?;
        // SAFETY: the caller's block.
        let to = unsafe { engine.extend_down(from, old, new, layout.size()) };
        if to == 0 {
            return None;
        }
        if M::HARDENED {
            // SAFETY: a granule of the region; the heap is hardened.
            unsafe { engine.region.end_block(from) };
        }
        // SAFETY: the block's granules, which begin at `to` now.
        Some(unsafe { engine.hand_out(to, M::HARDENED) })
    }
}

/// Copies a block's `size` bytes.
///
/// # Safety
/// (1) Both are blocks of at least that size; (2) they do not overlap; (3) both are aligned to the granule.
unsafe fn copy<S: Shape>(from: NonNull<u8>, to: NonNull<u8>, size: usize) {
    if S::COMPACT {
        // SAFETY: the caller's promises are those asked for: a granule has 8 bytes or a multiple.
        unsafe { eights::copy(from, to, size) };
    } else {
        // SAFETY: the caller's promises are those asked for.
        unsafe { to.copy_from_nonoverlapping(from, size) };
    }
}

impl<S: Shape> Engine<S> {
    /// The pointer to a block at `index`, marked if the heap is hardened.
    ///
    /// # Safety
    /// A block's granules begin there.
    #[inline]
    unsafe fn hand_out(&mut self, index: usize, hardened: bool) -> NonNull<u8> {
        if hardened {
            // SAFETY: a granule of the region; the heap is hardened.
            unsafe { self.region.begin_block(index) };
        }
        // SAFETY: a granule of the region.
        unsafe { self.region.block(index) }
    }

    /// Refuses what the map shows to be no block of `size` granules at `index`, a granule of the region.
    #[inline]
    fn check_block(&self, index: usize, size: usize, hardened: bool) -> Result<(), FreeError> {
        if size > self.region.end() - index {
            return Err(FreeError::WrongSize);
        }
        // SAFETY: a granule of the region.
        if unsafe { self.region.bit(index) } | (index.wrapping_sub(self.recent.start) < self.recent.size) {
            return Err(FreeError::NotAllocated);
        }
        if hardened {
            // SAFETY: a granule of the region; the heap is hardened.
            return match unsafe { self.region.block_at(index, index + size + 1) } {
                None => Err(FreeError::NotAllocated),
                Some(next) if next != index + size => Err(FreeError::WrongSize),
                Some(_) => Ok(()),
            };
        }
        Ok(())
    }
}

// SAFETY: only the granules inside the regions are touched (`Region`'s invariants).
unsafe impl<S: Shape, const REGIONS: usize, M: Mode> RegionHeap for GoodFit<S, REGIONS, M> {
    const EMPTY: Self = Self::new();

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.add(region) }
    }
}
