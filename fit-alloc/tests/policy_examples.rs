//! Worked examples of contiguous allocation, on bytes, under every policy.

#![allow(unsafe_code, clippy::unwrap_used, reason = "a test of heaps over raw memory")]

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator, CheckInvariants, Figures, Ratio, RegionHeap};
use hectare_fit::PolicyHeap;
use hectare_fit::heap::Run;
use hectare_fit::policy::{BestFit, FirstFit, HalfFit, LastFit, NextFit, WorstFit};
use hectare_fit::policy_heap::Placement;

const MIB: usize = if cfg!(miri) { 1 << 6 } else { 1 << 20 };

/// A heap of exactly so many bytes beside its tables; addresses are counted from the first of them.
struct Bytes<P: Placement> {
    heap: PolicyHeap<P>,
    zero: usize,
    /// Kept for the heap.
    _memory: Vec<MaybeUninit<u128>>,
}

impl<P: Placement> Bytes<P> {
    fn new(bytes: usize) -> Self {
        for tables in (bytes / 2048 * 16..bytes).step_by(16) {
            let mut memory = Vec::<MaybeUninit<u128>>::with_capacity((bytes + tables) / 16);
            let start = NonNull::new(memory.as_mut_ptr()).unwrap().cast();
            let mut heap = PolicyHeap::<P>::new();
            // SAFETY: the vector's memory is kept as long as the heap, and used by nobody else.
            let added = unsafe { heap.add_region(NonNull::slice_from_raw_parts(start, bytes + tables)) };
            if added.is_ok() && heap.usage().capacity == bytes as u64 {
                let (zero, _) = holes(&heap)[0];
                return Self { heap, zero, _memory: memory };
            }
        }
        panic!("no region gives exactly so many bytes");
    }

    fn allocate(&mut self, size: usize) -> Result<usize, AllocError> {
        let block = self.heap.allocate(Layout::from_size_align(size, 16).unwrap())?;
        Ok(block.addr().get() - self.zero)
    }

    fn free(&mut self, at: usize, size: usize) {
        let hole = self.heap.runs().find_map(|run| match run {
            Run::Hole(start, _) | Run::Used(start, _) => Some(start),
            _ => None,
        });
        // The region begins where its tables do.
        let block = hole.unwrap().map_addr(|_| (self.zero + at).try_into().unwrap());
        // SAFETY: the tests free what they allocated.
        unsafe { self.heap.deallocate(block, Layout::from_size_align(size, 16).unwrap()) }.unwrap();
        self.heap.check_invariants().unwrap();
    }

    /// The holes as (start, size).
    fn holes(&self) -> Vec<(usize, usize)> {
        holes(&self.heap).into_iter().map(|(start, size)| (start - self.zero, size)).collect()
    }
}

fn holes<P: Placement>(heap: &PolicyHeap<P>) -> Vec<(usize, usize)> {
    let hole = |run| if let Run::Hole(start, size) = run { Some((start.addr().get(), size)) } else { None };
    heap.runs().filter_map(hole).collect()
}

/// 16 MiB with the kernel (1 MiB), A (2), B (4) and C (1); and where they were placed.
fn four_processes<P: Placement>() -> (Bytes<P>, [usize; 4]) {
    let mut memory = Bytes::<P>::new(16 * MIB);
    let places = [MIB, 2 * MIB, 4 * MIB, MIB].map(|size| memory.allocate(size).unwrap());
    (memory, places)
}

#[test]
fn e04_processes_are_placed_end_to_end() {
    fn upward<P: Placement>() {
        let (memory, places) = four_processes::<P>();
        assert_eq!(places, [0, MIB, 3 * MIB, 7 * MIB], "{}", P::NAME);
        assert_eq!(memory.holes(), [(8 * MIB, 8 * MIB)]);
    }
    upward::<FirstFit>();
    // While there is one hole, the others agree.
    upward::<BestFit>();
    upward::<WorstFit>();
    upward::<NextFit>();
    upward::<HalfFit>();
    // Last fit does the same from the top down.
    let (memory, places) = four_processes::<LastFit>();
    assert_eq!(places, [15 * MIB, 13 * MIB, 9 * MIB, 8 * MIB]);
    assert_eq!(memory.holes(), [(0, 8 * MIB)]);
}

/// Holes of 20, 12, 100 and 30 units of 64 bytes, in this order, apart by 5; the last search ended above the third.
fn four_holes<P: Placement>() -> Bytes<P> {
    let sizes = [20, 5, 12, 5, 100, 5, 30, 23].map(|units| units * 64);
    let mut memory = Bytes::<P>::new(sizes.iter().sum());
    // Last fit fills from the top down.
    let down = P::NAME == <LastFit as hectare_fit::policy::Policy>::NAME;
    let mut places = sizes;
    for number in 0..sizes.len() {
        let number = if down { sizes.len() - 1 - number } else { number };
        places[number] = memory.allocate(sizes[number]).unwrap();
    }
    memory.free(places[4], sizes[4]);
    assert_eq!(memory.allocate(sizes[4]), Ok(places[4]));
    for number in [4, 2, 0, 6] {
        memory.free(places[number], sizes[number]);
    }
    assert_eq!(memory.holes(), [(0, 20), (25, 12), (42, 100), (147, 30)].map(|(at, n)| (at * 64, n * 64)));
    memory
}

#[test]
fn e05_each_policy_chooses_another_hole() {
    fn chosen<P: Placement>() -> usize {
        four_holes::<P>().allocate(10 * 64).unwrap() / 64
    }
    assert_eq!(chosen::<FirstFit>(), 0, "the first hole");
    assert_eq!(chosen::<BestFit>(), 25, "the smallest that fits");
    assert_eq!(chosen::<WorstFit>(), 42, "the largest");
    assert_eq!(chosen::<NextFit>(), 147, "the next one from where the last search ended");
    assert_eq!(chosen::<LastFit>(), 167, "the upper end of the last hole");
}

/// Half fit counts in powers of two: of holes of 64, 16, 17 and 31 granules, 9 of them are put into the newest of those
/// that hold 16 surely, though the hole of 16 alone fits exactly.
#[test]
fn e05_half_fit_takes_the_newest_hole_of_the_octave() {
    let mut memory = Bytes::<HalfFit>::new(512 * 16);
    let sizes = [64, 1, 16, 1, 16, 1, 1, 16, 8, 4, 2, 1, 1].map(|granules| granules * 16);
    let places = sizes.map(|size| memory.allocate(size).unwrap());
    // The holes: 64; 16; 16 + 1 = 17; 16 + 8 + 4 + 2 + 1 = 31.
    for number in [0, 2, 4, 5, 7, 8, 9, 10, 11] {
        memory.free(places[number], sizes[number]);
    }
    let granules: Vec<_> = memory.holes().iter().map(|(_, size)| size / 16).collect();
    assert_eq!(granules[..4], [64, 16, 17, 31]);
    assert_eq!(memory.allocate(9 * 16), Ok(places[7]));
    assert_eq!(
        memory.heap.usage().allocated % (16 * 16),
        4 * 16,
        "16 granules for 9, and the four blocks of one"
    );
    assert_eq!(memory.allocate(9 * 16), Ok(places[4]));
    assert_eq!(memory.allocate(9 * 16), Ok(places[2]));
}

#[test]
fn e07_external_fragmentation() {
    fn scattered<P: Placement>(refusal: AllocError) {
        let (mut memory, [_, _, b, _]) = four_processes::<P>();
        memory.free(b, 4 * MIB);
        let figures = memory.heap.fragmentation();
        assert_eq!((figures.free, figures.largest, figures.holes), (12 * MIB as u64, 8 * MIB as u64, 2));
        assert_eq!(figures.external(), Ratio::new(1, 3));
        assert_eq!(memory.heap.largest_free(), 8 * MIB);
        // 9 MiB do not fit, although 12 are free; 8 fit exactly.
        assert_eq!(memory.allocate(9 * MIB), Err(refusal), "{}", P::NAME);
        assert_eq!(memory.heap.unusable(9 * MIB as u64), Ratio::new(12, 12));
        assert_eq!(memory.heap.unusable(8 * MIB as u64), Ratio::new(4, 12));
        let exact = memory.allocate(8 * MIB).unwrap();
        assert!(exact == 8 * MIB || exact == 0, "{exact}");
        memory.heap.check_invariants().unwrap();
    }
    scattered::<FirstFit>(AllocError::Fragmented);
    scattered::<BestFit>(AllocError::Fragmented);
    scattered::<WorstFit>(AllocError::Fragmented);
    scattered::<NextFit>(AllocError::Fragmented);
    scattered::<LastFit>(AllocError::Fragmented);
    // 9 MiB are 16 to half fit.
    scattered::<HalfFit>(AllocError::OutOfMemory);
}
