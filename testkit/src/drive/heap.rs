//! The model of a heap: an allocator of bytes, the arena that it lives on, and what every block should hold.
#![expect(unsafe_code, reason = "uses the memory that the allocator under test hands out")]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use hectare_core::{AllocError, ByteAllocator, RegionError, Violation};

use super::contents::Limit;
use super::{Breach, Counts, Model, Space};
use crate::arena::Arena;
use crate::op::HeapOp;

/// What a heap does beside allocating, so that it can be tried. Everything has a default: an implementation without
/// regions needs only the name of the trait.
///
/// # Safety
/// As [`RegionHeap`](hectare_core::RegionHeap): the implementer touches only memory inside its regions, and after a
/// truncation or removal that it granted, no more the bytes that left.
pub unsafe trait HeapUnderTest: ByteAllocator {
    /// Checks its invariants.
    ///
    /// # Errors
    /// The one that is broken.
    fn check(&self) -> Result<(), Violation> {
        Ok(())
    }

    /// Checks that nothing is allocated and that no memory was lost.
    ///
    /// # Errors
    /// What is not as it was.
    fn check_empty(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether a refusal is right. `space` holds the regions and live blocks by address;
    /// [`has_room`](Space::has_room) answers for a heap in complete mode.
    ///
    /// # Errors
    /// Why it is not.
    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        let _ = (layout, error, space);
        Ok(())
    }

    /// Adds a region; `None` if this heap cannot.
    ///
    /// # Safety
    /// As [`RegionHeap::add_region`](hectare_core::RegionHeap::add_region).
    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        let _ = region;
        None
    }

    /// Makes a region larger, at either end or both; `None` if this heap cannot.
    ///
    /// # Safety
    /// `old` is a region of this heap as it was added or last reshaped, `new` contains it, and the bytes that come to
    /// it are as [`add`](Self::add) asks.
    unsafe fn extend(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        let _ = (old, new);
        None
    }

    /// Makes a region smaller, at either end or both; `None` if this heap cannot.
    ///
    /// # Safety
    /// `old` is a region of this heap as it was added or last reshaped, and contains `new`.
    unsafe fn truncate(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        let _ = (old, new);
        None
    }

    /// Gives a region back; `None` if this heap cannot.
    ///
    /// # Safety
    /// `region` is a region of this heap as it was added or last reshaped.
    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        let _ = region;
        None
    }
}

/// A live block.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: NonNull<u8>,
    layout: Layout,
    id: u64,
}

/// A heap and its shadow.
///
/// # Invariants
/// * each entry of `blocks` is a live block of `heap`, filled with the pattern of its identity
/// * `space` has the same blocks and the arena's given regions, by address
#[derive(Debug)]
pub struct HeapModel<H> {
    heap: H,
    arena: Arena,
    blocks: BTreeMap<u32, Block>,
    space: Space,
    next_id: u64,
    limit: Limit,
    counts: Counts,
}

impl<H: HeapUnderTest> HeapModel<H> {
    /// A model of `heap`, to which all regions that `arena` has given are added.
    ///
    /// # Panics
    /// A region is refused, or the heap cannot add regions although some are given.
    #[must_use]
    pub fn new(mut heap: H, arena: Arena) -> Self {
        for given in arena.given() {
            // SAFETY: the arena gave the region away for this; it lives as long as the heap (both are the model's).
            let added = unsafe { heap.add(arena.pointer(given.clone())) };
            added.expect("a heap that takes regions").expect("a region that the heap takes");
        }
        // SAFETY: the heap has exactly the arena's regions now.
        unsafe { Self::with_regions(heap, arena) }
    }

    /// A model of `heap`, which already has all regions that `arena` has given.
    ///
    /// # Safety
    /// It has these and no others, and nobody else uses them.
    #[must_use]
    pub unsafe fn with_regions(heap: H, arena: Arena) -> Self {
        let mut model = Self {
            heap,
            arena,
            blocks: BTreeMap::new(),
            space: Space::default(),
            next_id: 0,
            limit: Limit(usize::MAX / 2),
            counts: Counts::default(),
        };
        model.note_regions();
        model
    }

    /// Writes and looks at only so many bytes at both ends of larger blocks: for recorded traces.
    #[must_use]
    pub fn looking_at(mut self, bytes: usize) -> Self {
        self.limit = Limit(bytes.min(usize::MAX / 2));
        self
    }

    /// The heap.
    pub fn heap(&self) -> &H {
        &self.heap
    }

    /// The live blocks and the regions, by address.
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn note_regions(&mut self) {
        let address = |at| self.arena.pointer(at..at).addr().get() as u64;
        let regions = self.arena.given().iter().map(|given| address(given.start)..address(given.end));
        self.space.set_regions(regions.collect());
    }

    fn refused(&mut self, layout: Layout, error: AllocError) -> Result<(), Breach> {
        self.counts.refused += 1;
        self.heap.check_refusal(layout, error, &self.space).map_err(|reason| Breach::Refused {
            size: layout.size() as u64,
            align: layout.align() as u64,
            error,
            reason,
        })
    }

    /// Notes a block that the heap handed out, and fills it.
    fn admit(&mut self, slot: u32, block: Block) -> Result<(), Breach> {
        let (size, align) = (block.layout.size(), block.layout.align());
        self.space.insert(block.start.addr().get() as u64, size as u64, align as u64)?;
        // SAFETY: the heap promises that the block is valid for its size; it lies in a region and overlaps no other
        // live block, as was just checked.
        unsafe { self.limit.write(block.start, size, block.id) };
        self.blocks.insert(slot, block);
        Ok(())
    }

    /// Whether the first `kept` bytes of a block that had `size` are as they were written.
    fn check_block(
        &self,
        slot: u32,
        start: NonNull<u8>,
        size: usize,
        kept: usize,
        id: u64,
    ) -> Result<(), Breach> {
        // SAFETY: the block is live, in a region and apart from others (`admit`), and was filled.
        match unsafe { self.limit.lost(start, size, kept, id) } {
            None => Ok(()),
            Some(at) => Err(Breach::Lost { slot, at: at as u64 }),
        }
    }

    fn allocate(&mut self, slot: u32, layout: Layout, zeroed: bool) -> Result<(), Breach> {
        self.free(slot)?;
        let given = if zeroed { self.heap.allocate_zeroed(layout) } else { self.heap.allocate(layout) };
        let start = match given {
            Ok(start) => start,
            Err(error) => return self.refused(layout, error),
        };
        self.counts.allocated += 1;
        self.next_id += 1;
        if zeroed && self.arena.contains(start.addr().get(), layout.size()) {
            // SAFETY: the block was just handed out and lies in a region.
            if let Some(at) = unsafe { self.limit.not_zero(start, layout.size()) } {
                return Err(Breach::NotZero { slot, at: at as u64 });
            }
        }
        self.admit(slot, Block { start, layout, id: self.next_id })
    }

    fn free(&mut self, slot: u32) -> Result<(), Breach> {
        let Some(block) = self.blocks.remove(&slot) else { return Ok(()) };
        let size = block.layout.size();
        self.check_block(slot, block.start, size, size, block.id)?;
        self.space.remove(block.start.addr().get() as u64);
        self.counts.freed += 1;
        // SAFETY: the block is live (first invariant) and was just forgotten.
        let freed = unsafe { self.heap.deallocate(block.start, block.layout) };
        freed.map_err(|error| Breach::FreeRefused { slot, error })
    }

    /// `in_place`: by `resize_in_place`, else by `reallocate`.
    fn resize(&mut self, slot: u32, size: u64, in_place: bool) -> Result<(), Breach> {
        let Some(old) = self.blocks.get(&slot).copied() else { return Ok(()) };
        let Some(layout) = layout(size, old.layout.align()) else { return Ok(()) };
        let moved = if in_place {
            // SAFETY: the block is live with this layout, and the new size makes a layout.
            unsafe { self.heap.resize_in_place(old.start, old.layout, layout.size()) }.map(|()| old.start)
        } else {
            // SAFETY: as above.
            unsafe { self.heap.reallocate(old.start, old.layout, layout.size()) }
        };
        let start = match moved {
            Ok(start) => start,
            // Where it lies there was no room: that is always a good reason.
            Err(AllocError::NotInPlace) if in_place => {
                self.counts.refused += 1;
                return Ok(());
            }
            Err(error) => return self.refused(layout, error),
        };
        self.counts.resized += 1;
        self.space.remove(old.start.addr().get() as u64);
        // The new block must be known as good before it is read.
        self.space.insert(start.addr().get() as u64, layout.size() as u64, layout.align() as u64)?;
        let kept = layout.size().min(old.layout.size());
        self.check_block(slot, start, old.layout.size(), kept, old.id)?;
        self.space.remove(start.addr().get() as u64);
        self.admit(slot, Block { start, layout, id: old.id })
    }

    /// The index and the bytes of a region, if there is one.
    fn region(&self, number: u8) -> Option<(usize, core::ops::Range<usize>)> {
        let index = usize::from(number) % self.arena.given().len().max(1);
        Some((index, self.arena.given().get(index)?.clone()))
    }

    fn add_region(&mut self, start: u32, length: u32) -> Result<(), Breach> {
        let start = start as usize % self.arena.size().max(1);
        let region = start..self.arena.size().min(start.saturating_add(length as usize));
        if !self.arena.is_free(&region) {
            return Ok(());
        }
        // Given first, so that the heap may write to it; taken back if the heap does not want it.
        let pointer = self.arena.give(region);
        // SAFETY: nobody uses these bytes; they live as long as the heap.
        match unsafe { self.heap.add(pointer) } {
            Some(Ok(())) => self.counts.regions += 1,
            None | Some(Err(_)) => {
                self.counts.refused += 1;
                self.arena.take_back(self.arena.given().len() - 1);
            }
        }
        self.note_regions();
        Ok(())
    }

    fn extend_region(&mut self, number: u8, before: u32, after: u32) -> Result<(), Breach> {
        let Some((index, old)) = self.region(number) else { return Ok(()) };
        let start = old.start.saturating_sub(before as usize);
        let new = start..self.arena.size().min(old.end.saturating_add(after as usize));
        let (left, right) = (new.start..old.start, old.end..new.end);
        let free = |part: &core::ops::Range<usize>| part.is_empty() || self.arena.is_free(part);
        if !free(&left) || !free(&right) || new == old {
            return Ok(());
        }
        let old_pointer = self.arena.pointer(old.clone());
        let new_pointer = self.arena.reshape(index, new);
        // SAFETY: `old` is the region as the heap has it; nobody uses the bytes beside it.
        match unsafe { self.heap.extend(old_pointer, new_pointer) } {
            Some(Ok(())) => self.counts.regions += 1,
            None | Some(Err(_)) => {
                self.counts.refused += 1;
                self.arena.reshape(index, old);
            }
        }
        self.note_regions();
        Ok(())
    }

    fn truncate_region(&mut self, number: u8, before: u32, after: u32) -> Result<(), Breach> {
        let Some((index, old)) = self.region(number) else { return Ok(()) };
        let new = old.start.saturating_add(before as usize)..old.end.saturating_sub(after as usize);
        if new.start >= new.end || new == old {
            return Ok(());
        }
        let old_pointer = self.arena.pointer(old);
        // SAFETY: `old` is the region as the heap has it, and `new` a part of it.
        match unsafe { self.heap.truncate(old_pointer, self.arena.pointer(new.clone())) } {
            Some(Ok(())) => {
                self.counts.regions += 1;
                self.arena.reshape(index, new);
                self.note_regions();
                self.check_abandoned()
            }
            None | Some(Err(_)) => {
                self.counts.refused += 1;
                Ok(())
            }
        }
    }

    fn remove_region(&mut self, number: u8) -> Result<(), Breach> {
        let Some((index, old)) = self.region(number) else { return Ok(()) };
        let pointer = self.arena.pointer(old);
        let start = pointer.addr().get() as u64;
        let used = self.space.overlapping(start, start + pointer.len() as u64).is_some();
        // SAFETY: it is a region as the heap has it.
        match unsafe { self.heap.remove(pointer) } {
            Some(Ok(())) => {
                self.counts.regions += 1;
                self.arena.take_back(index);
                self.note_regions();
                self.check_abandoned()
            }
            Some(Err(error)) if !used => {
                Err(Breach::RegionRefused { error, reason: "no block is allocated in it" })
            }
            None | Some(Err(_)) => {
                self.counts.refused += 1;
                Ok(())
            }
        }
    }

    /// Whether every live block still lies in a region.
    fn check_abandoned(&self) -> Result<(), Breach> {
        let gone = |block: &Block| !self.arena.contains(block.start.addr().get(), block.layout.size().max(1));
        match self.blocks.iter().find(|(_, block)| gone(block)) {
            None => Ok(()),
            Some((slot, _)) => Err(Breach::Abandoned { slot: *slot }),
        }
    }
}

/// The layout of this size and alignment, if there is one on this host.
fn layout(size: u64, align: usize) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(size).ok()?, align).ok()
}

impl<H: HeapUnderTest> Model for HeapModel<H> {
    type Op = HeapOp;

    fn step(&mut self, op: HeapOp) -> Result<(), Breach> {
        match op {
            HeapOp::Allocate { slot, size, align_log2, zeroed } => {
                let align = 1usize.checked_shl(align_log2.into()).unwrap_or(0);
                match layout(size, align) {
                    Some(layout) => self.allocate(slot, layout, zeroed),
                    None => Ok(()),
                }
            }
            HeapOp::Free { slot } => self.free(slot),
            HeapOp::Reallocate { slot, size } => self.resize(slot, size, false),
            HeapOp::Resize { slot, size } => self.resize(slot, size, true),
            HeapOp::AddRegion { start, length } => self.add_region(start, length),
            HeapOp::ExtendRegion { region, before, after } => self.extend_region(region, before, after),
            HeapOp::TruncateRegion { region, before, after } => self.truncate_region(region, before, after),
            HeapOp::RemoveRegion { region } => self.remove_region(region),
        }
    }

    fn check(&mut self) -> Result<(), Breach> {
        self.arena.check()?;
        self.heap.check()?;
        for (slot, block) in &self.blocks {
            let size = block.layout.size();
            self.check_block(*slot, block.start, size, size, block.id)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Breach> {
        while let Some((slot, _)) = self.blocks.first_key_value() {
            self.free(*slot)?;
        }
        self.check()?;
        self.heap.check_empty().map_err(Breach::NotEmpty)
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
