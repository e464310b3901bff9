//! A first-fit allocator with a table of its live blocks: slow, small, and obviously right. It needs no allocator.

use core::alloc::Layout;
use core::ptr::NonNull;
use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Figures, Fragmentation, FreeError, Ratio, RegionError,
    RegionHeap, Usage, Violation,
};

#[derive(Clone, Copy)]
struct Block {
    start: usize,
    size: usize,
    align: usize,
}

impl Block {
    fn end(self) -> usize {
        self.start + self.size
    }
}

/// One region, at most `N` blocks. `blocks[..count]` is sorted, disjoint and inside the region.
pub struct Naive<const N: usize> {
    base: NonNull<u8>,
    size: usize,
    blocks: [Block; N],
    count: usize,
}

// SAFETY: it owns its region (`add_region`).
unsafe impl<const N: usize> Send for Naive<N> {}

impl<const N: usize> Naive<N> {
    fn live(&self) -> &[Block] {
        &self.blocks[..self.count]
    }

    /// The holes as (start, end), empty ones too.
    fn holes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = core::iter::once(0).chain(self.live().iter().map(|block| block.end()));
        starts.zip(self.live().iter().map(|block| block.start).chain(core::iter::once(self.size)))
    }

    fn insert(&mut self, index: usize, block: Block) {
        self.blocks.copy_within(index..self.count, index + 1);
        self.blocks[index] = block;
        self.count += 1;
    }

    fn find(&self, block: NonNull<u8>, layout: Layout) -> Result<usize, FreeError> {
        let start = block.addr().get().checked_sub(self.base.addr().get()).ok_or(FreeError::Foreign)?;
        if start >= self.size {
            return Err(FreeError::Foreign);
        }
        let index = self.live().iter().position(|b| b.start == start).ok_or(FreeError::NotAllocated)?;
        let found = self.blocks[index];
        if (found.size, found.align) == (layout.size().max(1), layout.align()) {
            Ok(index)
        } else {
            Err(FreeError::WrongSize)
        }
    }
}

// SAFETY: (1)–(3) a block is cut from a hole between the live blocks of the region; (4) the table moves, the region does
// not.
unsafe impl<const N: usize> ByteAllocator for Naive<N> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let size = layout.size().max(1);
        if size > self.size {
            return Err(AllocError::TooLarge);
        }
        let base = self.base.addr().get();
        let place = self.holes().enumerate().find_map(|(index, (start, end))| {
            let start = (base + start).next_multiple_of(layout.align()) - base;
            (start + size <= end).then_some((index, start))
        });
        match place {
            Some((index, start)) if self.count < N => {
                self.insert(index, Block { start, size, align: layout.align() });
                // SAFETY: the block lies in the region.
                Ok(unsafe { self.base.add(start) })
            }
            None if self.usage().free >= size as u64 => Err(AllocError::Fragmented),
            _ => Err(AllocError::OutOfMemory),
        }
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let index = self.find(block, layout)?;
        self.blocks.copy_within(index + 1..self.count, index);
        self.count -= 1;
        Ok(())
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let index = self.find(block, layout)?;
        let limit = self.live().get(index + 1).map_or(self.size, |next| next.start);
        if self.blocks[index].start + new_size > limit {
            return Err(AllocError::NotInPlace);
        }
        self.blocks[index].size = new_size.max(1);
        Ok(())
    }
}

// SAFETY: it touches no memory at all.
unsafe impl<const N: usize> RegionHeap for Naive<N> {
    const EMPTY: Self = Self {
        base: NonNull::dangling(),
        size: 0,
        blocks: [Block { start: 0, size: 0, align: 1 }; N],
        count: 0,
    };

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        if self.size != 0 {
            return Err(RegionError::TableFull);
        }
        if region.len() < 16 {
            return Err(RegionError::TooSmall);
        }
        (self.base, self.size) = (region.cast(), region.len());
        Ok(())
    }
}

impl<const N: usize> Figures for Naive<N> {
    fn usage(&self) -> Usage {
        let allocated: usize = self.live().iter().map(|block| block.size).sum();
        Usage::new(1, self.size as u64, allocated as u64)
    }

    fn fragmentation(&self) -> Fragmentation {
        let holes = || self.holes().map(|(start, end)| (end - start) as u64).filter(|&size| size > 0);
        Fragmentation::new(holes().sum(), holes().max().unwrap_or(0), holes().count() as u64)
    }

    fn unusable(&self, units: u64) -> Ratio {
        let holes = || self.holes().map(|(start, end)| (end - start) as u64);
        Ratio::new(holes().filter(|&size| size < units).sum(), holes().sum())
    }
}

impl<const N: usize> CheckInvariants for Naive<N> {
    fn check_invariants(&self) -> Result<(), Violation> {
        for (start, end) in self.holes() {
            Violation::unless(start <= end, "sorted, disjoint and inside the region", start as u64)?;
        }
        Ok(())
    }
}
