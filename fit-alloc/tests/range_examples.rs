//! Worked examples of contiguous allocation with known answers.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use hectare_core::{
    AllocError, CheckInvariants, Extent, Figures, FreeError, RangeRequest, RangeSource, Ratio,
};
use hectare_fit::policy::{
    BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, Search, WorstFit, half_fit_space,
};
use hectare_fit::range::{Block, RangeAllocator, RangeError, Request, Vecs};

const MIB: u32 = 1 << 20;

type Space<P> = RangeAllocator<P, u32, Vecs<u32>>;

fn space<P: Policy>(length: u32) -> Space<P> {
    RangeAllocator::new(length, Vecs::by_start()).unwrap()
}

/// 16 MiB with the kernel in the first, then processes A (2 MiB), B (4 MiB) and C (1 MiB).
fn four_processes() -> (Space<FirstFit>, [Block<u32>; 4]) {
    let mut memory = space(16 * MIB);
    let blocks = [MIB, 2 * MIB, 4 * MIB, MIB].map(|length| memory.allocate(length).unwrap());
    (memory, blocks)
}

#[test]
fn e04_first_fit_places_processes_end_to_end() {
    let (memory, blocks) = four_processes();
    assert_eq!(blocks.map(|b| b.start), [0, 0x10_0000, 0x30_0000, 0x70_0000]);
    let holes: Vec<_> = memory.holes().map(|h| (h.start, h.end())).collect();
    assert_eq!(holes, [(0x80_0000, 0x100_0000)]);
}

/// Holes of 20, 12, 100 and 30 units, in this order; the last search ended above the hole of 100.
fn four_holes<P: Policy>() -> Space<P> {
    let mut space = space::<P>(200);
    for (start, length) in [(20, 5), (37, 5), (142, 5), (177, 22)] {
        space.allocate_at(start, length).unwrap();
    }
    space.allocate_with(Request::new(1).within(199..200)).unwrap();
    let last = space.allocate_with(Request::new(1).within(141..142)).unwrap();
    space.free(last.handle).unwrap();
    // The rover stands at 142: the hole of 100, [42, 142), ends there.
    let holes: Vec<_> = space.holes().map(|h| (h.start, h.length)).collect();
    assert_eq!(holes, [(0, 20), (25, 12), (42, 100), (147, 30)]);
    space
}

#[test]
fn e05_each_policy_chooses_another_hole() {
    fn chosen<P: Policy>() -> u32 {
        four_holes::<P>().allocate(10).unwrap().start
    }
    assert_eq!(chosen::<FirstFit>(), 0, "the first hole");
    assert_eq!(chosen::<BestFit>(), 25, "the smallest that fits");
    assert_eq!(chosen::<WorstFit>(), 42, "the largest");
    assert_eq!(chosen::<NextFit>(), 147, "the next one from where the last search ended");
    assert_eq!(chosen::<LastFit>(), 167, "the upper end of the last hole");
}

#[test]
fn e07_external_fragmentation() {
    let (mut memory, [_, _, b, _]) = four_processes();
    memory.free(b.handle).unwrap();
    let figures = memory.fragmentation();
    assert_eq!((figures.free, figures.largest, figures.holes), (12 << 20, 8 << 20, 2));
    assert_eq!(figures.external(), Ratio::new(1, 3));
    // 8 MiB fit exactly; 9 MiB do not, although 12 are free.
    assert_eq!(memory.allocate(9 * MIB), Err(RangeError::Fragmented));
    assert_eq!(memory.usage().failures.fragmented, 1);
    assert_eq!(memory.unusable(9 << 20), Ratio::new(12, 12));
    assert_eq!(memory.unusable(8 << 20), Ratio::new(4, 12));
    let exact = memory.allocate(8 * MIB).unwrap();
    assert_eq!(exact.start, 0x80_0000);
}

fn every_length_is_served_by_its_own_space<P: Policy>() {
    let limit = if cfg!(miri) { 70 } else { 3000 };
    let powers = (12..31).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1, (1 << k) / 3 * 2]);
    for length in (1..limit).chain(powers).chain([u32::MAX]) {
        for search in [Search::Complete, Search::Bounded] {
            let mut space = space::<P>(length).with_search(search);
            assert_eq!(space.largest_free(), length);
            let block = space.allocate(length).unwrap();
            assert_eq!((block.start, block.length, space.largest_free()), (0, length, 0), "{}", P::NAME);
            space.free(block.handle).unwrap();
            // The classic fault of segregated fit: a freed block is not found again.
            assert_eq!(space.allocate(length).map(|b| b.start), Ok(0), "{}", P::NAME);
            space.check_invariants().unwrap();
        }
    }
}

#[test]
fn new_n_allocates_n_for_every_n() {
    every_length_is_served_by_its_own_space::<BestFit>();
    every_length_is_served_by_its_own_space::<WorstFit>();
    every_length_is_served_by_its_own_space::<FirstFit>();
    every_length_is_served_by_its_own_space::<NextFit>();
    every_length_is_served_by_its_own_space::<LastFit>();
    every_length_is_served_by_its_own_space::<GoodFit>();
    every_length_is_served_by_its_own_space::<HalfFit>();
}

#[test]
fn spaces_up_to_the_greatest_number() {
    fn top<P: Policy>() {
        let top = u64::MAX;
        let mut space = RangeAllocator::<P, u64, _>::over(top - 100..top, Vecs::by_start()).unwrap();
        let blocks: Vec<_> = (0..4).map(|_| space.allocate(16).unwrap()).collect();
        assert_eq!(space.allocate_at(top - 1, 2), Err(RangeError::Outside));
        let highest = space.allocate_with(Request::new(8).aligned(4).within(top - 99..top)).unwrap();
        assert!(highest.end() <= top && highest.start % 4 == 0);
        assert_eq!(space.allocate_with(Request::new(8).aligned(1 << 63)), Err(RangeError::Fragmented));
        for block in blocks.iter().chain([&highest]) {
            space.free_at(block.start, block.length).unwrap();
            space.check_invariants().unwrap();
        }
        assert_eq!(space.allocate(100).unwrap().start, top - 100);
    }
    top::<BestFit>();
    top::<WorstFit>();
    top::<FirstFit>();
    top::<NextFit>();
    top::<LastFit>();
    top::<GoodFit>();
    top::<HalfFit>();
}

#[test]
fn reserved_ranges_are_pinned_and_never_handed_out() {
    let mut space = space::<FirstFit>(100);
    let kernel = space.reserve(0, 10).unwrap();
    assert_eq!(space.is_pinned(kernel.handle), Ok(true));
    assert_eq!(space.allocate(5).unwrap().start, 10);
    assert_eq!(space.reserve(8, 4), Err(RangeError::InUse));
    space.set_pinned(kernel.handle, false).unwrap();
    assert_eq!(space.is_pinned(kernel.handle), Ok(false));
    space.free(kernel.handle).unwrap();
    assert_eq!(space.allocate(5).unwrap().start, 0);
}

#[test]
fn a_space_grows_and_shrinks() {
    let mut space = space::<BestFit>(10);
    let block = space.allocate(10).unwrap();
    assert_eq!(space.shrink(1), Err(RangeError::InUse));
    space.grow(5).unwrap();
    assert_eq!((space.space(), space.free_units()), (0..15, 5));
    space.shrink(4).unwrap();
    assert_eq!((space.space(), space.largest_free()), (0..11, 1));
    space.shrink(1).unwrap();
    assert_eq!((space.space(), space.free_units()), (0..10, 0));
    space.free(block.handle).unwrap();
    assert_eq!(space.usage().peak_allocated, 10);
    space.check_invariants().unwrap();
}

#[test]
fn the_trait_for_ranges_is_kept() {
    let mut space = RangeAllocator::<FirstFit, u64, _>::new(1 << 40, Vecs::by_start()).unwrap();
    let request = |length: u64, align: u64| {
        RangeRequest::new(length.try_into().unwrap()).aligned(align.try_into().unwrap())
    };
    let first = space.allocate_range(request(100, 1)).unwrap();
    let second = space.allocate_range(request(100, 48)).unwrap();
    assert_eq!((first, second), (Extent::new(0, 100).unwrap(), Extent::new(144, 100).unwrap()));
    assert_eq!(space.allocate_range(request(1 << 41, 1)), Err(AllocError::TooLarge));
    assert_eq!(space.free_range(Extent::new(144, 99).unwrap()), Err(FreeError::WrongSize));
    assert_eq!(space.free_range(Extent::new(145, 99).unwrap()), Err(FreeError::Misaligned));
    space.free_range(second).unwrap();
    assert_eq!(space.free_range(second), Err(FreeError::NotAllocated));
    assert_eq!(space.free_range(Extent::new(1 << 40, 1).unwrap()), Err(FreeError::Foreign));

    // An alignment beyond the units' numbers: only 0 is a multiple of it.
    let mut small = RangeAllocator::<BestFit, u32, _>::new(100, Vecs::new()).unwrap();
    assert_eq!(small.allocate_range(request(10, 1 << 40)), Ok(Extent::new(0, 10).unwrap()));
    assert_eq!(small.allocate_range(request(10, 1 << 40)), Err(AllocError::Fragmented));
    assert_eq!(small.allocate_range(request(1 << 40, 1)), Err(AllocError::TooLarge));
}

#[test]
fn half_fit_rounds_and_its_space_formula_is_o1heaps() {
    let mut space = space::<HalfFit>(1 << 20);
    let hundred = space.allocate(100).unwrap();
    assert_eq!(hundred.length, 128);
    assert_eq!(space.internal(), Ratio::new(28, 128));
    let sixty_four = space.allocate(64).unwrap();
    assert_eq!(space.internal(), Ratio::new(28, 192));
    space.free(hundred.handle).unwrap();
    assert_eq!(space.internal(), Ratio::new(0, 64));
    space.allocate_aligned(65, 2).unwrap();
    assert_eq!(space.internal(), Ratio::new(0, 129), "what is constrained is not rounded");
    space.free(sixty_four.handle).unwrap();
    assert_eq!(half_fit_space(16 << 10, 1 << 10), Some(2 * (16 << 10) * 11));
    assert_eq!(half_fit_space(5, 1), Some(10));
    assert_eq!(half_fit_space(u64::MAX, 2), None);
}
