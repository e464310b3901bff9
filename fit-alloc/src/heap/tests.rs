//! Worst cases in steps: a step is one hole whose size is read or written. Counted, so that no clock decides.
//!
//! For 10 to 10 000 holes:
//! * requests a granule larger than every hole, and requests that no hole has at their alignment;
//! * holes all of one size, ascending with the address, or scattered over all sizes;
//! * frees that join with both neighbours; refusals by a heap that is full.
#![expect(unsafe_code, reason = "gives blocks back")]

extern crate alloc;
extern crate std;

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, CheckInvariants, Figures, RegionHeap};
use hectare_testkit::arena::Arena;

use super::{BoundedHeap, FitHeap, StrictHeap};
use crate::policy::steps;

/// What an operation may take that searches no list: whatever the number of holes.
const BOUND: u64 = 24;

/// The size of a hole by its number.
type Size = fn(usize) -> usize;

/// The sizes of the holes in granules of 16 bytes, by their number. From 32 on, sizes share bins.
const SHAPES: [(&str, Size); 3] = [
    ("equal", |_| 36),
    ("ascending", |hole| 32 + hole % 32),
    ("scattered", |hole| 1 + (hole.wrapping_mul(0x9e37_79b9) >> 7) % 100),
];

fn granules(count: usize) -> Layout {
    Layout::from_size_align(16 * count, 16).unwrap()
}

/// The most steps that one operation took, by what came of it.
#[derive(Default)]
struct Most {
    served: u64,
    refused: u64,
    freed: u64,
}

/// A heap in which nothing but holes of these sizes is free, and what keeps its memory.
struct Holes<H> {
    heap: H,
    /// The blocks of one granule between the holes.
    walls: Vec<NonNull<u8>>,
    most: Most,
    _arena: Arena,
}

impl<H: RegionHeap + Figures + CheckInvariants> Holes<H> {
    fn new(count: usize, shape: Size) -> Self {
        let span: usize = (0..count).map(|hole| shape(hole) + 1).sum();
        let (arena, region) = Arena::with_region(16 * span * 66 / 64 + 0x2000, 4096, 0);
        let mut new = Self { heap: H::EMPTY, walls: Vec::new(), most: Most::default(), _arena: arena };
        // SAFETY: the arena is nobody else's, and lives as long as the heap.
        unsafe { new.heap.add_region(region) }.unwrap();
        let mut blocks = Vec::new();
        for hole in 0..count {
            let layout = granules(shape(hole));
            blocks.push((new.take(layout).unwrap(), layout));
            let wall = new.take(granules(1)).unwrap();
            new.walls.push(wall);
        }
        while new.take(granules(64)).or_else(|_| new.take(granules(1))).is_ok() {}
        new.most = Most::default();
        for (block, layout) in blocks {
            new.give(block, layout);
        }
        new
    }

    fn take(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let _ = steps::take();
        let taken = self.heap.allocate(layout);
        let most = if taken.is_ok() { &mut self.most.served } else { &mut self.most.refused };
        *most = steps::take().max(*most);
        taken
    }

    fn give(&mut self, block: NonNull<u8>, layout: Layout) {
        let _ = steps::take();
        // SAFETY: the tests give back what they took, once.
        unsafe { self.heap.deallocate(block, layout) }.unwrap();
        self.most.freed = steps::take().max(self.most.freed);
    }
}

/// Goes through the cases of the module's list among so many holes.
fn worst<H: RegionHeap + Figures + CheckInvariants>(count: usize, shape: Size) -> Most {
    let mut holes = Holes::<H>::new(count, shape);
    let largest = (0..count).map(shape).max().unwrap();
    // Quick lists keep some of them back.
    assert!(holes.heap.fragmentation().holes > count as u64 * 3 / 4);
    assert_eq!(holes.take(granules(largest + 1)), Err(AllocError::Fragmented), "a granule too small");
    let aligned = Layout::from_size_align(16 * largest, 1 << 30).unwrap();
    assert_eq!(holes.take(aligned), Err(AllocError::Fragmented), "nowhere at this alignment");
    // Two holes and the wall between them become one.
    for wall in (1..count).step_by(4) {
        let wall = holes.walls[wall];
        holes.give(wall, granules(1));
    }
    holes.heap.check_invariants().unwrap();
    for size in [largest, 36, 33, 2, 1] {
        while holes.take(granules(size)).is_ok() {}
    }
    assert_eq!(holes.heap.fragmentation().free, 0);
    holes.most
}

/// For a heap that frees within so many steps, and serves or refuses within `search(holes)`.
fn holds<H: RegionHeap + Figures + CheckInvariants>(free: u64, search: fn(u64) -> u64) {
    let most = if cfg!(miri) { 1 } else { 4 };
    for count in (1..=most).map(|power| 10_usize.pow(power)) {
        for (name, shape) in SHAPES {
            let Most { served, refused, freed } = worst::<H>(count, shape);
            let bound = search(count as u64);
            let found =
                alloc::format!("{count} {name} holes: {served} served, {refused} refused, {freed} freed");
            assert!(freed > 0 && refused + served > 0, "not counted: {found}");
            assert!(freed <= free && served <= bound && refused <= bound, "{found}, of {bound}");
            std::println!("{found}");
        }
    }
}

/// No request and no free of a bounded heap takes longer among more holes.
#[test]
fn a_bounded_heap_takes_no_more_steps_among_more_holes() {
    holds::<BoundedHeap>(BOUND, |_| BOUND);
}

/// A complete heap looks at each hole once at most, and only before what a bounded heap would refuse.
#[test]
fn a_complete_heap_looks_at_each_hole_once() {
    holds::<StrictHeap>(BOUND, |holes| holes + BOUND);
    // Before it refuses, all blocks in the quick lists become holes; a free never gives more than its own block back.
    holds::<FitHeap>(BOUND, |holes| holes + BOUND + 64 * 16 * 4);
}
