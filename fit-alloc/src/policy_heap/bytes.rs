//! Bytes and layouts over the engines of the regions.
#![expect(unsafe_code, reason = "implements unsafe traits over the engines")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator, FreeError, RegionError, RegionHeap};

use super::engine::Engine;
use super::index::{HoleIndex, Order, Place, Reach};
use super::map;
use super::memory::{GRANULE, Granules, Memory, granules_in};
use super::{NOWHERE, Placement, PolicyHeap};

/// The granules of a block of `size` bytes; `None` if no region has so many.
#[inline(always)]
fn granules<P: Placement>(size: usize) -> Option<u32> {
    let size = u32::try_from(size.max(1).div_ceil(GRANULE)).ok()?;
    if P::Holes::ROUNDS { size.checked_next_power_of_two() } else { Some(size) }
}

impl<P: Placement, const REGIONS: usize> PolicyHeap<P, REGIONS> {
    /// The policy's place among all regions.
    #[inline(always)]
    fn find(&mut self, size: u32, align: usize) -> Option<(usize, Place)> {
        if REGIONS == 1 {
            let engine = self.engines.first_mut()?;
            let found = if P::Holes::ORDER == Order::Round {
                engine.find(size, align, Reach::Onward).or_else(|| engine.find(size, align, Reach::Whole))
            } else {
                engine.find(size, align, Reach::Whole)
            };
            return Some((0, found?));
        }
        self.find_among(size, align)
    }

    #[inline(never)]
    fn find_among(&mut self, size: u32, align: usize) -> Option<(usize, Place)> {
        let rover = self.rover;
        let engines = self.engines.get_mut(..self.count)?.iter_mut().enumerate();
        let found = |(slot, engine): (usize, &mut Engine<P>)| {
            engine.find(size, align, Reach::Whole).map(|place| (slot, place))
        };
        match P::Holes::ORDER {
            Order::Lowest => engines.into_iter().find_map(found),
            Order::Highest => engines.rev().find_map(found),
            Order::Smallest => engines.filter_map(found).min_by_key(|(_, place)| place.hole.size),
            // The last of several maxima is taken.
            Order::Largest => engines.rev().filter_map(found).max_by_key(|(_, place)| place.hole.size),
            Order::Round => {
                let mut onward = None;
                let (mut above, mut below) = (None, None);
                for (slot, engine) in engines {
                    if slot == rover {
                        onward = engine.find(size, align, Reach::Onward).map(|place| (slot, place));
                        if onward.is_some() {
                            break;
                        }
                    }
                    let first = if slot > rover { &mut above } else { &mut below };
                    if first.is_none() {
                        *first = found((slot, engine));
                    }
                }
                onward.or(above).or(below)
            }
        }
    }

    /// Why there is no place; counts it.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, size: Option<u32>) -> AllocError {
        let engines = || self.engines.iter().take(self.count);
        let size = size.unwrap_or(u32::MAX);
        let (failure, error) = if engines().all(|engine| engine.capacity < size) {
            (&mut self.failures.out_of_memory, AllocError::TooLarge)
        } else if engines().map(|engine| u64::from(engine.free)).sum::<u64>() < u64::from(size) {
            (&mut self.failures.out_of_memory, AllocError::OutOfMemory)
        } else {
            (&mut self.failures.fragmented, AllocError::Fragmented)
        };
        *failure = failure.saturating_add(1);
        error
    }

    /// The region of the block of `size` granules at an address, and its first granule: what the map shows to be none is
    /// refused.
    #[inline(always)]
    fn find_block(&mut self, block: NonNull<u8>, size: u32) -> Result<(&mut Engine<P>, u32), FreeError> {
        let address = block.addr().get();
        let slot = if REGIONS == 1 { 0 } else { self.slot_of(address).ok_or(FreeError::Foreign)? };
        let engine = self.engines.get_mut(slot).ok_or(FreeError::Foreign)?;
        let memory = &engine.memory;
        let Some(start) = memory.granule_at(address) else {
            return Err(if memory.covers(address) { FreeError::Misaligned } else { FreeError::Foreign });
        };
        if start < memory.reserved() {
            return Err(FreeError::Foreign);
        }
        if size > memory.span() - start {
            return Err(FreeError::WrongSize);
        }
        if !map::all(memory.map(), start, size, false) {
            let begins_free = map::is_free(memory.map(), start);
            return Err(if begins_free { FreeError::NotAllocated } else { FreeError::WrongSize });
        }
        Ok((engine, start))
    }

    /// The slot of the region that covers an address.
    fn slot_of(&self, address: usize) -> Option<usize> {
        self.engines.iter().take(self.count).position(|engine| engine.memory.covers(address))
    }

    /// Takes the region that contains `inside` back. Returns its memory, without what alignment cut off. O(map).
    ///
    /// # Errors
    /// [`RegionError::InUse`] if a block is live in it, [`RegionError::Unknown`] if `inside` is in no region; nothing is
    /// changed then.
    pub fn remove_region(&mut self, inside: NonNull<u8>) -> Result<NonNull<[u8]>, RegionError> {
        let slot = self.slot_of(inside.addr().get()).ok_or(RegionError::Unknown)?;
        let engines = self.engines.get_mut(slot..self.count).ok_or(RegionError::Unknown)?;
        let engine = engines.first_mut().ok_or(RegionError::Unknown)?;
        if engine.free != engine.capacity {
            return Err(RegionError::InUse);
        }
        let memory = core::mem::replace(engine, Engine::EMPTY).memory;
        engines.rotate_left(1);
        self.count -= 1;
        if self.rover > slot && self.rover != NOWHERE {
            self.rover -= 1;
        } else if let Some(next) = engines.first_mut().filter(|_| self.rover == slot) {
            // A search goes on in the next region, from its beginning.
            next.holes.placed(0);
        }
        Ok(NonNull::slice_from_raw_parts(memory.pointer(0), memory.span() as usize * GRANULE))
    }
}

// SAFETY: (1), (3) `take` claims granules that were free, of no block and no table (M2, M3), as many as the size needs;
// (2) a granule is aligned to 16, and `find_aligned` looks at addresses; (4) blocks are in the regions, not in the heap
// value; safe code reaches no method that takes them back.
unsafe impl<P: Placement, const REGIONS: usize> ByteAllocator for PolicyHeap<P, REGIONS> {
    #[inline]
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let size = granules::<P>(layout.size());
        let Some(wanted) = size else { return Err(self.refuse(size)) };
        if let Some((slot, place)) = self.find(wanted, layout.align()) {
            let block = self.engines.get_mut(slot).and_then(|engine| engine.take(place, wanted));
            if let Some(block) = block {
                self.rover = slot;
                return Ok(block);
            }
        }
        Err(self.refuse(size))
    }

    #[inline]
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let size = granules::<P>(layout.size()).ok_or(FreeError::WrongSize)?;
        let (engine, start) = self.find_block(block, size)?;
        // SAFETY: the caller's promise: a live block of this size, which nothing uses any more.
        let granules = unsafe { Granules::given_back(start, size) };
        engine.give(granules);
        Ok(())
    }

    #[inline]
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let old = granules::<P>(layout.size()).ok_or(FreeError::WrongSize)?;
        let Some(new) = granules::<P>(new_size) else { return Err(AllocError::NotInPlace) };
        let (engine, start) = self.find_block(block, old)?;
        if new > old {
            let lengthened = engine.lengthen(start + old, new - old);
            return if lengthened { Ok(()) } else { Err(AllocError::NotInPlace) };
        }
        if new < old {
            // SAFETY: the caller's promise: the tail of a live block, which is not used any more.
            let granules = unsafe { Granules::given_back(start + new, old - new) };
            engine.give(granules);
        }
        Ok(())
    }
}

// SAFETY: all memory that is touched lies in the regions' granules (M1).
unsafe impl<P: Placement, const REGIONS: usize> RegionHeap for PolicyHeap<P, REGIONS> {
    const EMPTY: Self = Self::new();

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        let (start, span) = granules_in(region)?;
        let (holes, entries) = P::Holes::over(map::words(span));
        if Memory::reserved_for(span, entries) >= span {
            return Err(RegionError::TooSmall);
        }
        let (low, high) = (start.addr().get(), start.addr().get() + span as usize * GRANULE);
        let meets = |engine: &Engine<P>| {
            let other = engine.memory.addresses();
            low < other.end && other.start < high
        };
        if self.engines.iter().take(self.count).any(meets) {
            return Err(RegionError::Overlap);
        }
        if self.count == REGIONS {
            return Err(RegionError::TableFull);
        }
        // SAFETY: (1) the caller vouches for the memory; (2), (3) `granules_in` and the check above.
        let memory = unsafe { Memory::lay(start, span, entries) };
        let capacity = span - memory.reserved();
        // SAFETY: the region was just laid.
        let unused = unsafe { memory.unused() };
        let mut engine = Engine { memory, holes, capacity, free: 0, least_free: capacity };
        engine.give(unused);
        // The regions are in the order of their addresses.
        let below = |other: &&Engine<P>| other.memory.addresses().start < low;
        let slot = self.engines.iter().take(self.count).take_while(below).count();
        if let Some(engines) = self.engines.get_mut(slot..=self.count) {
            engines.rotate_right(1);
            if let Some(place) = engines.first_mut() {
                *place = engine;
            }
            if slot <= self.rover && self.rover != NOWHERE {
                self.rover += 1;
            }
            self.count += 1;
        }
        Ok(())
    }
}
