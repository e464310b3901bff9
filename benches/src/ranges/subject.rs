//! What is measured: one allocator of ranges, behind the smallest interface that all of them can bear.

use hectare_fit::policy::Policy;
use hectare_fit::range::{Handle, RangeAllocator, Vecs};

/// An allocator of ranges under measurement. The timed loops are generic over it.
pub trait Subject: Sized {
    /// What it wants back to free a range.
    type Block: Copy;

    /// A space of so many units, for at most so many live blocks; `None` if it cannot manage that.
    fn build(units: u32, blocks: usize) -> Option<Self>;

    /// Takes so many units, not 0.
    fn allocate(&mut self, length: u32) -> Option<Self::Block>;

    /// Gives a live block back.
    fn free(&mut self, block: Self::Block);

    /// Where a block begins.
    fn start(&self, block: Self::Block) -> u64;
}

/// Ours, by a policy.
#[derive(Debug)]
pub struct Ours<P: Policy>(RangeAllocator<P, u32, Vecs<u32>>);

impl<P: Policy> Subject for Ours<P> {
    type Block = Handle;

    fn build(units: u32, _blocks: usize) -> Option<Self> {
        RangeAllocator::new(units, Vecs::new()).ok().map(Self)
    }

    #[inline(always)]
    fn allocate(&mut self, length: u32) -> Option<Handle> {
        self.0.allocate(length).ok().map(|block| block.handle)
    }

    #[inline(always)]
    fn free(&mut self, block: Handle) {
        // A refusal would show as an overlap or a refusal of somebody else's request.
        let _ = self.0.free(block);
    }

    fn start(&self, block: Handle) -> u64 {
        self.0.block(block).map_or(u64::MAX, |block| block.start.into())
    }
}

/// offset-allocator: 256 lists, each of sizes up to an eighth of an octave apart.
#[allow(missing_debug_implementations, reason = "the peer's type has none")]
pub struct Offset(offset_allocator::Allocator<u32>);

impl Subject for Offset {
    type Block = offset_allocator::Allocation<u32>;

    fn build(units: u32, blocks: usize) -> Option<Self> {
        // A node for each block and each hole, and the two that it keeps.
        let nodes = u32::try_from(2 * blocks + 8).ok()?;
        Some(Self(offset_allocator::Allocator::with_max_allocs(units, nodes)))
    }

    #[inline(always)]
    fn allocate(&mut self, length: u32) -> Option<Self::Block> {
        self.0.allocate(length)
    }

    #[inline(always)]
    fn free(&mut self, block: Self::Block) {
        self.0.free(block);
    }

    fn start(&self, block: Self::Block) -> u64 {
        block.offset.into()
    }
}

/// range-alloc: the holes in a sorted vector; best fit by looking at all of them.
#[derive(Debug)]
pub struct RangeAlloc(range_alloc::RangeAllocator<u32>);

impl Subject for RangeAlloc {
    type Block = (u32, u32);

    fn build(units: u32, _blocks: usize) -> Option<Self> {
        Some(Self(range_alloc::RangeAllocator::new(0..units)))
    }

    #[inline(always)]
    fn allocate(&mut self, length: u32) -> Option<(u32, u32)> {
        self.0.allocate_range(length).ok().map(|range| (range.start, range.end))
    }

    #[inline(always)]
    fn free(&mut self, block: (u32, u32)) {
        self.0.free_range(block.0..block.1);
    }

    fn start(&self, block: (u32, u32)) -> u64 {
        block.0.into()
    }
}

/// vm-allocator: blocks and holes in one tree; first fit by walking it.
#[derive(Debug)]
pub struct VmAllocator(vm_allocator::AddressAllocator);

impl Subject for VmAllocator {
    type Block = vm_allocator::RangeInclusive;

    fn build(units: u32, _blocks: usize) -> Option<Self> {
        vm_allocator::AddressAllocator::new(0, units.into()).ok().map(Self)
    }

    #[inline(always)]
    fn allocate(&mut self, length: u32) -> Option<Self::Block> {
        self.0.allocate(length.into(), 1, vm_allocator::AllocPolicy::FirstMatch).ok()
    }

    #[inline(always)]
    fn free(&mut self, block: Self::Block) {
        let _ = self.0.free(&block);
    }

    fn start(&self, block: Self::Block) -> u64 {
        block.start()
    }
}

/// free-list: the holes in one sorted array; its pages stand for units here.
#[derive(Debug)]
pub struct FreeList(free_list::FreeList<256>);

const PAGE: usize = free_list::PAGE_SIZE;

impl Subject for FreeList {
    type Block = (u32, u32);

    fn build(units: u32, _blocks: usize) -> Option<Self> {
        let mut list = free_list::FreeList::new();
        add(&mut list, 0, units);
        Some(Self(list))
    }

    #[inline(always)]
    fn allocate(&mut self, length: u32) -> Option<(u32, u32)> {
        let layout = free_list::PageLayout::from_size_align(length as usize * PAGE, PAGE).ok()?;
        let range = self.0.allocate(layout).ok()?;
        Some(((range.start() / PAGE) as u32, length))
    }

    #[inline(always)]
    fn free(&mut self, (start, length): (u32, u32)) {
        add(&mut self.0, start, length);
    }

    fn start(&self, block: (u32, u32)) -> u64 {
        block.0.into()
    }
}

#[inline(always)]
#[allow(unsafe_code, reason = "the peer's function is unsafe")]
fn add(list: &mut free_list::FreeList<256>, start: u32, length: u32) {
    if let Ok(range) = free_list::PageRange::from_start_len(start as usize * PAGE, length as usize * PAGE) {
        // SAFETY: the pages are numbers here and never touched; each is given back once.
        let _ = unsafe { list.deallocate(range) };
    }
}
