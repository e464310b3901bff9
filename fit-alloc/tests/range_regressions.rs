//! Faults found in other range allocators and heaps, each as a test that this one does not have it.
//!
//! | found in | fault | test |
//! |---|---|---|
//! | offset-allocator 0.2.0 | `new(1000).allocate(1000)` is `None`: the space is filed in a class below that of the request | `the_whole_space_is_found` |
//! | offset-allocator 0.2.0 | the largest free region is reported as 960 of 1000: rounded to its class | `the_largest_hole_is_exact` |
//! | offset-allocator 0.2.0 | 4 nodes hold 2 blocks | `n_nodes_hold_one_block_less` |
//! | offset-allocator 0.2.0 | a stale handle frees the block that has its node now | `a_stale_handle_frees_nobody_elses_block` |
//! | offset-allocator 0.2.0 | no alignment | `alignment_is_exact` |
//! | range-alloc 0.1.5 | a range freed twice is handed out twice | `a_double_free_is_refused` |
//! | range-alloc 0.1.5 | a range that overlaps live blocks is freed | `an_overlapping_free_is_refused` |
//! | talc 5.0.4 | an aligned request is refused although a hole begins at such an address | `alignment_is_exact` |
//! | rlsf 0.2.3 | a block freed in a full heap is not found by a request of its own size | `a_freed_block_serves_its_own_length_again` |
//! | rlsf 0.2.3, dlmalloc 0.2.14 | over-aligned requests are refused while thousands of holes hold them | `alignment_is_exact` |
//! | linked_list_allocator 0.10.6 | a hole that would leave less than two words is refused | `a_rest_of_one_unit_is_no_reason_to_refuse` |

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use hectare_core::{CheckInvariants, FreeError};
use hectare_fit::policy::{
    BestFit, Chunk, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit, chunks_for,
};
use hectare_fit::range::{Node, RangeAllocator, RangeError, Slices, Vecs};

macro_rules! for_every_policy {
    ($($test:ident)*) => {$(
        #[test]
        fn $test() {
            generic::$test::<BestFit>();
            generic::$test::<WorstFit>();
            generic::$test::<FirstFit>();
            generic::$test::<NextFit>();
            generic::$test::<LastFit>();
            generic::$test::<GoodFit>();
            generic::$test::<HalfFit>();
        }
    )*};
}
for_every_policy! {
    the_whole_space_is_found
    the_largest_hole_is_exact
    n_nodes_hold_one_block_less
    a_stale_handle_frees_nobody_elses_block
    a_double_free_is_refused
    an_overlapping_free_is_refused
    alignment_is_exact
    a_freed_block_serves_its_own_length_again
    a_rest_of_one_unit_is_no_reason_to_refuse
}

mod generic {
    use super::*;

    pub(super) fn the_whole_space_is_found<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(1000, Vecs::new()).unwrap();
        assert_eq!(space.allocate(1000).map(|b| b.start), Ok(0));
    }

    pub(super) fn the_largest_hole_is_exact<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(1000, Vecs::new()).unwrap();
        for taken in [0, 1, 37, 500] {
            if taken > 0 {
                space.allocate_at(1000 - taken, 1).unwrap();
            }
            let largest = space.largest_free();
            assert_eq!(largest, space.holes().map(|h| h.length).max().unwrap());
            let all = space.allocate(largest).unwrap();
            assert_eq!(all.length, largest);
            space.free(all.handle).unwrap();
            assert!(space.allocate(largest + 1).is_err());
        }
    }

    pub(super) fn n_nodes_hold_one_block_less<P: Policy>() {
        for nodes in 1..100_u32 {
            let count = nodes as usize;
            let (mut table, mut chunks) = (vec![Node::NEW; count], vec![Chunk::NEW; chunks_for(count)]);
            let slices = Slices::new(&mut table).with_chunks(&mut chunks);
            let mut space = RangeAllocator::<P, u32, _>::new(nodes * 8, slices).unwrap();
            for block in 1..nodes {
                space.allocate(8).unwrap_or_else(|error| panic!("{block} of {nodes}: {error}"));
            }
            // The last one fits the rest exactly and needs no node more.
            if P::NAME != HalfFit::NAME {
                assert_eq!(space.allocate(7), Err(RangeError::TableFull));
            }
            space.check_invariants().unwrap();
            assert_eq!(space.allocate(8).map(|b| b.length), Ok(8));
            space.check_invariants().unwrap();
        }
    }

    pub(super) fn a_stale_handle_frees_nobody_elses_block<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(100, Vecs::new()).unwrap();
        let old = space.allocate(16).unwrap();
        space.free(old.handle).unwrap();
        let new = space.allocate(16).unwrap();
        assert_eq!(space.free(old.handle), Err(FreeError::NotAllocated.into()), "a stale handle");
        assert_eq!(space.block(new.handle), Ok(new));
        assert_ne!(old.handle, new.handle);
    }

    pub(super) fn a_double_free_is_refused<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(100, Vecs::new()).unwrap();
        let block = space.allocate(16).unwrap();
        space.free_at(block.start, 16).unwrap();
        assert_eq!(space.free_at(block.start, 16), Err(FreeError::NotAllocated.into()));
        assert_eq!(space.free(block.handle), Err(FreeError::NotAllocated.into()));
        assert_eq!(space.free_units(), 100);
    }

    pub(super) fn an_overlapping_free_is_refused<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(64, Vecs::new()).unwrap();
        space.allocate_at(16, 16).unwrap();
        space.allocate_at(32, 16).unwrap();
        assert_eq!(space.free_at(16, 32), Err(FreeError::WrongSize.into()));
        assert_eq!(space.free_at(24, 16), Err(FreeError::Misaligned.into()));
        assert_eq!(space.free_at(8, 16), Err(FreeError::NotAllocated.into()));
        assert_eq!(space.free_at(16, 8), Err(FreeError::WrongSize.into()));
        assert_eq!(space.blocks().count(), 2);
        space.check_invariants().unwrap();
    }

    pub(super) fn alignment_is_exact<P: Policy>() {
        // Forty holes of 512 at multiples of 1024, nothing else.
        let mut space = RangeAllocator::<P, u32, _>::new(40 * 1024, Vecs::new()).unwrap();
        for start in (0..40).map(|n| n * 1024 + 512) {
            space.allocate_at(start, 512).unwrap();
        }
        for _ in 0..40 {
            let block = space.allocate_aligned(64, 1024).unwrap();
            assert_eq!(block.start % 1024, 0);
        }
        assert_eq!(space.allocate_aligned(64, 1024), Err(RangeError::Fragmented));
    }

    pub(super) fn a_freed_block_serves_its_own_length_again<P: Policy>() {
        for length in (1..300).chain([1000, 1023, 1025, 3000]) {
            // A full space of blocks of this length.
            let mut space = RangeAllocator::<P, u32, _>::new(length * 5, Vecs::new()).unwrap();
            for start in (0..5).map(|n| n * length) {
                space.allocate_at(start, length).unwrap();
            }
            space.free_at(length * 2, length).unwrap();
            assert_eq!(space.allocate(length).map(|b| b.start), Ok(length * 2), "length {length}");
        }
    }

    pub(super) fn a_rest_of_one_unit_is_no_reason_to_refuse<P: Policy>() {
        let mut space = RangeAllocator::<P, u32, _>::new(65, Vecs::new()).unwrap();
        space.allocate(64).unwrap();
        assert_eq!(space.largest_free(), 1);
        assert_eq!(space.allocate(1).map(|b| b.length), Ok(1));
    }
}
