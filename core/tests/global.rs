//! `Heap` as the `#[global_allocator]` of a real program: this test binary itself, harness and threads included.
#![cfg(not(hectare_loom))]
#![expect(unreachable_pub, reason = "shared with other test binaries")]

extern crate alloc;

use core::mem::MaybeUninit;

use alloc::collections::BTreeMap;

use hectare_core::{CheckInvariants, Growing, Heap, RegionError, RegionHeap, Source, SpinLock};
use naive::Naive;

#[path = "support/naive.rs"]
mod naive;

/// Gives the engine its first and only memory when it is first asked for some: before `main`.
struct StaticArena;

const ARENA: usize = 4 << 20;

/// The arena is handed out once and never touched here again.
#[repr(align(4096))]
struct Arena(core::cell::UnsafeCell<[MaybeUninit<u8>; ARENA]>);
// SAFETY: only its address is used here; its bytes belong to the heap.
unsafe impl Sync for Arena {}
static MEMORY: Arena = Arena(core::cell::UnsafeCell::new([MaybeUninit::uninit(); ARENA]));

type Engine = Growing<Naive<4096>, StaticArena>;

// SAFETY: it adds a region to the engine and leaves it in place.
unsafe impl Source<Naive<4096>> for StaticArena {
    fn acquire(&mut self, engine: &mut Naive<4096>, _: core::alloc::Layout) -> Result<(), RegionError> {
        let start = core::ptr::NonNull::new(MEMORY.0.get().cast::<u8>()).ok_or(RegionError::BadRange)?;
        // SAFETY: the arena is a static that only this engine uses; a second call is refused by the engine.
        unsafe { engine.add_region(core::ptr::NonNull::slice_from_raw_parts(start, ARENA)) }
    }
}

#[global_allocator]
static HEAP: Heap<SpinLock, Engine> = Heap::new(Growing::new(Naive::EMPTY, StaticArena));

fn address<T: ?Sized>(value: &T) -> usize {
    core::ptr::from_ref(value).addr()
}

fn in_arena<T: ?Sized>(value: &T) -> bool {
    (address(&MEMORY)..address(&MEMORY) + ARENA).contains(&address(value))
}

#[test]
fn collections_live_in_the_arena() {
    let mut map = BTreeMap::new();
    for key in 0..200 {
        map.insert(key, format!("value {key}"));
    }
    map.retain(|key, _| key % 3 == 0);
    assert!(map.iter().all(|(key, value)| *value == format!("value {key}") && in_arena(value.as_str())));
    let mut vec: Vec<u64> = Vec::new();
    vec.extend(0..10_000);
    vec.shrink_to(10);
    assert!(in_arena(vec.as_slice()) && vec.iter().copied().eq(0..10_000));
    assert_eq!(HEAP.bad_frees(), 0);
    assert_eq!(HEAP.with(|engine| engine.check_invariants()), Ok(Ok(())));
}

#[test]
fn threads_allocate() {
    let sums: Vec<_> = (0..4_u64)
        .map(|thread| {
            std::thread::spawn(move || (0..50).map(|n| Box::new(n * thread)).map(|b| *b).sum::<u64>())
        })
        .collect();
    let total: u64 = sums.into_iter().map(|sum| sum.join().unwrap()).sum();
    assert_eq!(total, 1225 * 6);
}

#[test]
fn refusals_reach_the_program() {
    let mut vec: Vec<u8> = vec![1, 2, 3];
    assert!(vec.try_reserve_exact(2 * ARENA).is_err());
    assert_eq!(vec, [1, 2, 3]);
}
