//! Worked examples of contiguous allocation with known answers, on heaps of bytes.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, Figures, Ratio, RegionHeap};
use hectare_fit::{BoundedHeap, FitHeap, HardenedHeap, SmallHeap, StrictHeap};
use hectare_testkit::arena::Arena;

/// A heap with room for exactly so many bytes, and the memory that it lives on.
struct Memory<H> {
    heap: H,
    first: Option<NonNull<u8>>,
    _arena: Arena,
}

impl<H: RegionHeap + Figures> Memory<H> {
    fn new(capacity: usize) -> Self {
        let mut size = capacity;
        loop {
            let (arena, region) = Arena::with_region(size, 4096, 0);
            let mut heap = H::EMPTY;
            // SAFETY: the arena is nobody else's, and lives as long as the heap.
            unsafe { heap.add_region(region) }.unwrap();
            // What the map took from the region comes to it.
            match capacity - usize::try_from(heap.usage().capacity).unwrap() {
                0 => return Self { heap, first: None, _arena: arena },
                missing => size += missing,
            }
        }
    }

    /// Takes a block of so many bytes; its offset from the first one.
    fn take(&mut self, size: usize) -> Result<(NonNull<u8>, usize), AllocError> {
        let block = self.heap.allocate(Layout::from_size_align(size, 1).unwrap())?;
        let first = *self.first.get_or_insert(block);
        Ok((block, block.addr().get().wrapping_sub(first.addr().get())))
    }

    fn give(&mut self, block: NonNull<u8>, size: usize) {
        // SAFETY: the tests give back what they took, once.
        unsafe { self.heap.deallocate(block, Layout::from_size_align(size, 1).unwrap()) }.unwrap();
    }
}

/// 16 units with the kernel in the first, then processes A (2 units), B (4 units) and C (1 unit).
fn four_processes<H: RegionHeap + Figures>(unit: usize) -> (Memory<H>, [(NonNull<u8>, usize); 4]) {
    let mut memory = Memory::<H>::new(16 * unit);
    let blocks = [1, 2, 4, 1].map(|units| memory.take(units * unit).unwrap());
    (memory, blocks)
}

fn e04<H: RegionHeap + Figures>(unit: usize) {
    let (memory, blocks) = four_processes::<H>(unit);
    assert_eq!(blocks.map(|(_, offset)| offset), [0, unit, 3 * unit, 7 * unit]);
    let figures = memory.heap.fragmentation();
    assert_eq!((figures.holes, figures.free, figures.largest), (1, 8 * unit as u64, 8 * unit as u64));
}

/// On an empty heap good fit places end to end, as first fit does.
#[test]
fn e04_processes_lie_end_to_end() {
    e04::<FitHeap>(MIB);
    e04::<StrictHeap>(MIB);
    e04::<BoundedHeap>(MIB);
    e04::<HardenedHeap>(MIB);
    e04::<SmallHeap>(MIB / 64);
}

/// Large enough to lie in no quick list.
const MIB: usize = if cfg!(miri) { 1 << 14 } else { 1 << 20 };

/// Holes of 20, 12, 100 and 30 units; the last one is the top of the memory.
fn e05<H: RegionHeap + Figures>(unit: usize) -> usize {
    let mut memory = Memory::<H>::new(165 * unit);
    let holes = [20, 12, 100].map(|units| {
        let hole = (memory.take(units * unit).unwrap().0, units * unit);
        memory.take(unit).unwrap();
        hole
    });
    for (block, size) in holes {
        memory.give(block, size);
    }
    let figures = memory.heap.fragmentation();
    assert_eq!((figures.holes, figures.largest), (4, 100 * unit as u64));
    memory.take(10 * unit).unwrap().1 / unit
}

/// First fit would take the hole at 0, worst fit that at 34; the smallest that fits lies at 21.
#[test]
fn e05_good_fit_chooses_the_smallest_class_that_fits() {
    assert_eq!(e05::<FitHeap>(MIB / 16), 21);
    assert_eq!(e05::<StrictHeap>(MIB / 16), 21);
    assert_eq!(e05::<BoundedHeap>(MIB / 16), 21);
    assert_eq!(e05::<HardenedHeap>(MIB / 16), 21);
    assert_eq!(e05::<SmallHeap>(1 << 10), 21);
}

fn e07<H: RegionHeap + Figures>(unit: usize) {
    let (mut memory, blocks) = four_processes::<H>(unit);
    let (b, _) = blocks[2];
    memory.give(b, 4 * unit);
    let figures = memory.heap.fragmentation();
    let units = |units: usize| (units * unit) as u64;
    assert_eq!((figures.free, figures.largest, figures.holes), (units(12), units(8), 2));
    assert_eq!(figures.external(), Ratio::new(1, 3));
    // 8 units fit exactly; 9 do not, although 12 are free.
    assert_eq!(memory.take(9 * unit), Err(AllocError::Fragmented));
    assert_eq!(memory.heap.usage().failures.fragmented, 1);
    assert_eq!(memory.heap.unusable(units(9)), Ratio::new(1, 1));
    assert_eq!(memory.heap.unusable(units(8)), Ratio::new(1, 3));
    assert_eq!(memory.take(8 * unit).unwrap().1, 8 * unit);
}

#[test]
fn e07_external_fragmentation() {
    e07::<FitHeap>(MIB);
    e07::<StrictHeap>(MIB);
    e07::<BoundedHeap>(MIB);
    e07::<HardenedHeap>(MIB);
    e07::<SmallHeap>(MIB / 64);
}

/// Frees half of 80 blocks, no two of them neighbours, after all but one part in `left` of 1 MiB was taken. Returns how
/// many of them the quick lists keep.
fn kept_with(left: usize) -> usize {
    let mut memory = Memory::<FitHeap>::new(MIB);
    let blocks: Vec<_> = (0..80).map(|_| memory.take(64).unwrap().0).collect();
    while memory.heap.usage().allocated < (MIB - MIB / left) as u64 {
        memory.take(4096).unwrap();
    }
    memory.heap.flush();
    for block in blocks.into_iter().step_by(2) {
        memory.give(block, 64);
    }
    memory.heap.cached() / 64
}

#[test]
#[cfg_attr(miri, ignore = "the heap is too small")]
fn quick_lists_keep_less_when_memory_is_short() {
    // A list keeps a 1024th of the heap: 16 blocks of 64 bytes; a quarter of that when an eighth of it is not free.
    assert_eq!([2, 4, 16].map(kept_with), [16, 16, 4]);
}

#[test]
#[cfg_attr(miri, ignore = "large heaps")]
fn quick_lists_keep_few_large_blocks() {
    // A list of blocks of 1.5 KiB keeps a 4096th of the heap, and at most eight.
    let kept = |mib: usize| {
        let mut memory = Memory::<FitHeap>::new(mib * MIB);
        let blocks: Vec<_> = (0..40).map(|_| memory.take(1536).unwrap().0).collect();
        for block in blocks.into_iter().step_by(2) {
            memory.give(block, 1536);
        }
        memory.heap.cached() / 1536
    };
    assert_eq!([1, 8, 64].map(kept), [0, 1, 8]);
}
