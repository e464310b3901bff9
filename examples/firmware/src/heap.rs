//! The heap: `hectare-fit` over a static arena, behind a critical section, for `Box`, `Vec` and `String`.
extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::hint::black_box;

use hectare_core::{CheckInvariants, CriticalSectionLock, Figures, Heap};
use hectare_fit::SmallHeap;

use crate::arena::Arena;
use crate::machine::Console;

#[global_allocator]
static HEAP: Heap<CriticalSectionLock, SmallHeap> = Heap::empty();
/// The micro:bit has 16 KiB in all.
const BYTES: usize = if cfg!(feature = "protection") { 8192 } else { 3072 };
static ARENA: Arena<BYTES> = Arena::new();

/// To be called once, before anything is allocated.
pub fn init() -> bool {
    ARENA.take().is_some_and(|arena| HEAP.init_static(arena).is_ok())
}

/// Bytes in use.
pub fn used() -> usize {
    HEAP.used()
}

/// Lists, maps and strings come, grow and go; the heap is as it was.
#[inline(never)]
pub fn run() -> bool {
    let before = HEAP.used();
    let mut names = BTreeMap::new();
    let mut total = 0_usize;
    for round in 0..200_u32 {
        let mut name = String::new();
        let _ = write!(name, "sensor {round}");
        total += name.len();
        names.insert(round, (name, (0..round % 32).collect::<Vec<_>>()));
        if round >= 12 {
            names.remove(&(round - 12));
        }
    }
    let sums: Vec<u32> = names.values().map(|(_, samples)| samples.iter().sum()).collect();
    let peak = HEAP.used();
    // A request that the arena cannot hold is refused, not fatal.
    let refused = black_box(&mut Vec::<u8>::new()).try_reserve_exact(16384).is_err();
    let right = sums.len() == 12 && total == 200 * 7 + 10 + 90 * 2 + 100 * 3;
    if cfg!(hectare_plant = "firmware_leak") {
        core::mem::forget(black_box(Box::new(0_u64)));
    }
    drop((names, sums));
    let checked = HEAP.with(|heap| (heap.check_invariants().is_ok(), heap.usage()));
    let Ok((sound, usage)) = checked else { return false };
    let _ = writeln!(
        Console,
        "heap: {peak} bytes in use, then {}; peak {} of {}, refusals {}",
        usage.allocated,
        usage.peak_allocated,
        usage.capacity,
        usage.failures.out_of_memory + usage.failures.fragmented
    );
    right && refused && sound && HEAP.used() == before && HEAP.bad_frees() == 0
}
