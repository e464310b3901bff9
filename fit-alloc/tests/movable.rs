//! Movable blocks: any mix of allocating, freeing, pinning, writing and compacting. The properties:
//!
//! * every block keeps its bytes, and a pinned one its place;
//! * stale handles, double frees and frees of pinned blocks are refused and change nothing;
//! * a complete compaction without pins leaves one hole, and moves exactly what one pass of sliding moves, in however
//!   many calls; with pins no more than that;
//! * a call moves no more than its budget, or one block.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that fails may panic")]

use hectare_core::{CheckInvariants, Figures, FreeError, Ratio};
use hectare_fit::movable::{ALIGN, Compaction, Movable, MovableHeap};
use hectare_fit::policy::{BestFit, FirstFit, LastFit, NextFit, Policy, WorstFit};
use hectare_fit::range::{RangeError, Storage, Vecs};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Store(usize, u8),
    Free(usize),
    Write(usize, u8),
    Copy(usize, usize),
    Pin(usize),
    Unpin(usize),
    Compact(usize),
    Stale(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..300_usize, any::<u8>()).prop_map(|(size, byte)| Op::Store(size, byte)),
        3 => any::<usize>().prop_map(Op::Free),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Op::Write(at, byte)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Op::Copy(from, to)),
        1 => any::<usize>().prop_map(Op::Pin),
        1 => any::<usize>().prop_map(Op::Unpin),
        2 => (0..2_000_usize).prop_map(Op::Compact),
        1 => any::<usize>().prop_map(Op::Stale),
    ]
}

/// What a block should hold, and where it should stay.
#[derive(Clone, Debug)]
struct Shadow {
    handle: Movable,
    bytes: Vec<u8>,
    pinned: Option<core::ops::Range<usize>>,
}

/// Where every block lies: start, size, and whether it is pinned, by start.
fn places<P: Policy, S: Storage<u32>>(
    heap: &MovableHeap<'_, P, S>,
    live: &[Shadow],
) -> Vec<(usize, usize, bool)> {
    let place = |shadow: &Shadow| {
        let (size, place) =
            (shadow.bytes.len().max(1).next_multiple_of(ALIGN), heap.place(shadow.handle).unwrap());
        assert!(shadow.pinned.as_ref().is_none_or(|pinned| *pinned == place), "a pinned block stays");
        (place.start, size, shadow.pinned.is_some())
    };
    let mut places: Vec<_> = live.iter().map(place).collect();
    places.sort_unstable();
    places
}

/// The bytes that one pass of sliding moves.
fn sliding(places: &[(usize, usize, bool)]) -> usize {
    let (mut floor, mut moved) = (0, 0);
    for &(start, size, pinned) in places {
        if pinned || start == floor {
            floor = start + size;
        } else {
            moved += size;
            floor += size;
        }
    }
    moved
}

fn play<P: Policy>(ops: &[Op]) {
    let mut memory = vec![0; 8_000];
    let mut heap = MovableHeap::<P, _>::new(&mut memory, Vecs::new()).unwrap();
    let (mut live, mut stale): (Vec<Shadow>, Vec<Movable>) = (Vec::new(), Vec::new());
    for op in ops {
        let at = |wish: usize| if live.is_empty() { None } else { Some(wish % live.len()) };
        match *op {
            Op::Store(size, byte) => {
                let bytes = vec![byte; size];
                match heap.store(&bytes) {
                    Ok(handle) => live.push(Shadow { handle, bytes, pinned: None }),
                    Err(_) => assert!(size.max(1).next_multiple_of(ALIGN) > heap.largest_free()),
                }
            }
            Op::Free(wish) => {
                let Some(at) = at(wish) else { continue };
                if live[at].pinned.is_some() {
                    let before = heap.usage();
                    assert_eq!(heap.free(live[at].handle), Err(RangeError::Pinned));
                    assert_eq!(heap.usage(), before);
                } else {
                    let block = live.swap_remove(at);
                    heap.free(block.handle).unwrap();
                    stale.push(block.handle);
                }
            }
            Op::Write(wish, byte) => {
                let Some(at) = at(wish) else { continue };
                heap.get_mut(live[at].handle).unwrap().fill(byte);
                live[at].bytes.fill(byte);
            }
            Op::Copy(from, to) => {
                let (Some(from), Some(to)) = (at(from), at(to)) else { continue };
                let two = heap.get_two(live[from].handle, live[to].handle);
                if from == to {
                    assert_eq!(two, Err(RangeError::InUse));
                    continue;
                }
                let [source, target] = two.unwrap();
                let count = source.len().min(target.len());
                target[..count].copy_from_slice(&source[..count]);
                let bytes = live[from].bytes[..count].to_vec();
                live[to].bytes[..count].copy_from_slice(&bytes);
            }
            Op::Pin(wish) => {
                let Some(at) = at(wish) else { continue };
                let pinned = heap.pin(live[at].handle);
                if live[at].pinned.is_some() {
                    assert_eq!(pinned, Err(RangeError::Pinned));
                } else {
                    live[at].pinned = Some(pinned.unwrap());
                }
            }
            Op::Unpin(wish) => {
                let Some(at) = at(wish) else { continue };
                assert_eq!(heap.unpin(live[at].handle), Ok(live[at].pinned.take().is_some()));
            }
            Op::Compact(budget) => {
                let optimum = sliding(&places(&heap, &live));
                let done = heap.compact(budget);
                assert!(done.bytes <= budget || done.blocks == 1, "{done:?} for {budget}");
                let left = sliding(&places(&heap, &live));
                assert_eq!(done.bytes + left, optimum);
                assert_eq!(done.complete, left == 0);
                assert!(budget == 0 || done.complete || done.blocks > 0, "no progress");
            }
            Op::Stale(wish) => {
                if stale.is_empty() {
                    continue;
                }
                let (handle, before) = (stale[wish % stale.len()], heap.usage());
                let refused = Err(RangeError::BadHandle(FreeError::NotAllocated));
                assert_eq!(heap.free(handle), refused);
                assert_eq!(heap.get(handle).map(|_| ()), refused);
                assert_eq!(heap.get_mut(handle).map(|_| ()), refused);
                assert_eq!(heap.pin(handle).map(|_| ()), refused);
                assert_eq!(heap.unpin(handle).map(|_| ()), refused);
                assert_eq!(heap.usage(), before);
            }
        }
        heap.check_invariants().unwrap();
        for shadow in &live {
            assert_eq!(heap.get(shadow.handle), Ok(&shadow.bytes[..]), "contents");
        }
        let places = places(&heap, &live);
        assert!(places.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
    }
    for shadow in &mut live {
        assert_eq!(heap.unpin(shadow.handle), Ok(shadow.pinned.take().is_some()));
    }
    let optimum = sliding(&places(&heap, &live));
    let mut moved = 0;
    loop {
        let Compaction { bytes, complete, .. } = heap.compact(700);
        moved += bytes;
        if complete {
            break;
        }
    }
    assert_eq!(moved, optimum);
    assert!(heap.fragmentation().holes <= 1, "one hole remains");
    for shadow in &live {
        assert_eq!(heap.get(shadow.handle), Ok(&shadow.bytes[..]), "contents");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 300 })
    })]

    #[test]
    fn blocks_keep_their_bytes_wherever_they_are_moved(
        ops in vec(op(), 0..if cfg!(miri) { 30 } else { 150 }),
        policy in 0..5_u8,
    ) {
        match policy {
            0 => play::<BestFit>(&ops),
            1 => play::<FirstFit>(&ops),
            2 => play::<NextFit>(&ops),
            3 => play::<WorstFit>(&ops),
            // Blocks from the top down: a placement below the cursor's leaves a hole below itself.
            _ => play::<LastFit>(&ops),
        }
    }
}

/// 16 MiB with the kernel (1 MiB), A (2), B (4) and C (1); B exits: 9 MiB fit only after C was moved.
#[test]
fn e07_compaction_moves_one_mebibyte() {
    const MIB: usize = if cfg!(miri) { 1 << 6 } else { 1 << 20 };
    let mut memory = vec![0_u128; 16 * MIB / 16];
    let bytes = as_bytes(&mut memory);
    let mut heap = MovableHeap::<FirstFit, _>::new(bytes, Vecs::new()).unwrap();
    let [kernel, _, b, c] = [MIB, 2 * MIB, 4 * MIB, MIB].map(|size| heap.allocate(size).unwrap());
    heap.get_mut(c).unwrap().fill(0xC);
    assert_eq!(heap.pin(kernel), Ok(0..MIB));
    heap.free(b).unwrap();
    assert_eq!(heap.fragmentation().external(), Ratio::new(1, 3));
    assert_eq!(heap.allocate(9 * MIB), Err(RangeError::Fragmented));
    assert_eq!(heap.compact(usize::MAX), Compaction { bytes: MIB, blocks: 1, complete: true });
    assert_eq!((heap.largest_free(), heap.fragmentation().holes), (12 * MIB, 1));
    assert_eq!(heap.pin(c), Ok(3 * MIB..4 * MIB));
    assert!(heap.get(c).unwrap().iter().all(|byte| *byte == 0xC));
    let nine = heap.allocate(9 * MIB).unwrap();
    assert_eq!(heap.pin(nine), Ok(4 * MIB..13 * MIB));
}

/// Memory that begins at a multiple of 16, without unsafe code: bytes are cut off at its start otherwise.
fn as_bytes(memory: &mut [u128]) -> &mut [u8] {
    // SAFETY: any bytes are numbers.
    #[expect(unsafe_code, reason = "a view of aligned memory")]
    let (_, bytes, _) = unsafe { memory.align_to_mut::<u8>() };
    bytes
}

#[test]
fn a_pin_is_a_barrier() {
    let mut memory = vec![0_u128; 64];
    let mut heap = MovableHeap::<FirstFit, _>::new(as_bytes(&mut memory), Vecs::new()).unwrap();
    let blocks: Vec<_> = (0..5).map(|_| heap.allocate(64).unwrap()).collect();
    assert_eq!(heap.pin(blocks[2]), Ok(128..192));
    heap.free(blocks[0]).unwrap();
    heap.free(blocks[3]).unwrap();
    // Block 1 slides to 0, 4 to the end of 2.
    assert_eq!(heap.compact(64), Compaction { bytes: 64, blocks: 1, complete: false });
    assert_eq!(heap.compact(0), Compaction { bytes: 0, blocks: 0, complete: false });
    assert_eq!(heap.compact(1), Compaction { bytes: 64, blocks: 1, complete: true });
    assert_eq!((heap.pin(blocks[1]), heap.pin(blocks[4])), (Ok(0..64), Ok(192..256)));
    assert_eq!(heap.fragmentation().holes, 2);
    for block in [1, 2, 4] {
        assert_eq!(heap.unpin(blocks[block]), Ok(true));
    }
    assert_eq!(heap.compact(usize::MAX), Compaction { bytes: 128, blocks: 2, complete: true });
    assert_eq!(heap.fragmentation().holes, 1);
}

#[test]
fn memory_of_any_alignment_and_size() {
    let mut memory = vec![0_u128; 4];
    let bytes = as_bytes(&mut memory);
    for cut in 0..64 {
        let heap = MovableHeap::<BestFit, _>::new(&mut bytes[cut..], Vecs::new());
        match heap.map(|heap| heap.usage().capacity) {
            Ok(capacity) => assert_eq!(capacity as usize, (64 - cut) / 16 * 16),
            Err(error) => assert_eq!((error, (64 - cut) / 16), (RangeError::Empty, 0)),
        }
    }
    let mut heap = MovableHeap::<BestFit, _>::new(bytes, Vecs::new()).unwrap();
    assert_eq!(heap.allocate(usize::MAX), Err(RangeError::TooLarge));
    let (empty, zeros) = (heap.allocate(0).unwrap(), heap.allocate_zeroed(20).unwrap());
    assert_eq!((heap.get(empty).unwrap(), heap.get(zeros).unwrap()), (&[][..], &[0; 20][..]));
    assert_eq!((empty.size(), zeros.size(), heap.usage().allocated), (0, 20, 48));
}
