//! What other allocators get wrong, by name: each was seen in the version named, and is a test here.
//!
//! | peer | fault | test |
//! |---|---|---|
//! | slabmalloc 0.11 | size 8 at alignment 64 serves 8 of 62 objects | `every_place_is_served` |
//! | slabmalloc 0.11 | all objects of a page are freed, and the next allocations fail | `what_was_freed_serves_again` |
//! | slabmalloc 0.11 (its report 9) | pages are given back at wrong addresses | `pages_go_back_where_they_came_from` |
//! | slabmalloc 0.11 | 2 MiB pages hold 512 objects, whatever their size: 50 to 87 % waste | `slabs_are_used` |
//! | slabmalloc 0.11 | undefined behaviour under both borrow models with two pages | every test here, under Miri |
//! | asterinas heap-allocator (its report 3911) | a size that does not divide the slab writes misaligned | `sizes_that_divide_nothing` |
//! | slab_allocator 0.3.5, slab_allocator_rs 1.0.2 | memory never goes back | `pages_go_back_where_they_came_from` |
//! | slab_allocator_rs 1.0.2 | 8 bytes take 64 | `slabs_are_used` |
//! | DragonOS (its report 781) with slabmalloc | empty slabs never go back to the buddy system | `pages_go_back_where_they_came_from` |
//! | mimalloc 3 (its report 1364), sharded-slab 0.1 (its report 56) | who only frees keeps it all: 1.77 GiB for 370 MiB live | `a_cpu_that_only_frees` |
//! | asterinas heap-allocator | an allocation inside an interrupt panics: the cache of the CPU is borrowed | `cpu::an_interrupt_in_a_slot_is_served` |
//! | sharded-slab 0.1 (its report 83) | what was used once is kept for ever | `pages_go_back_where_they_came_from` |
//! | mimalloc, snmalloc, jemalloc | a fifth of a block is rounding, in snmalloc above 64 KiB a half | `size_class`'s own tests: a ninth |
//! | mimalloc 3 (its report 1117) | frees for a thread that has gone are never collected | `hosted::tests::mail_for_nobody_is_looked_after_by_its_sender` |
//! | mimalloc (776), snmalloc (846) | memory that is given back with `MADV_FREE` counts as resident | `tests/hosted_memory.rs` |
//! | jemalloc 5.3, rpmalloc 2.0 | each large block is mapped and unmapped: ten times the time | `hosted::tests::large::a_mapping_moves_…_and_is_kept` |
//! | allocators without handlers of `fork` | the child waits for a lock for ever | `examples/preload/programs/forks.c` |
//! | heapless (issues 153, 315, 458), argobots (178), yuzu (9083) | lock-free lists of free objects lose some to ABA | no lists; `tests/loom.rs` |

use alloc::collections::BTreeSet;
use core::alloc::Layout;
use core::cell::Cell;

use hectare_core::{CheckInvariants, CpuPin, NoLock, PageSize, Slot};
use hectare_slab::{ByDefault, CpuCache, CpuHeap, Geometry, ObjectCache, RawCache};

use crate::support::{Machine, free};

fn geometry(size: usize, align: usize) -> Geometry {
    Geometry::new(Layout::from_size_align(size, align).unwrap(), PageSize::SIZE_4K).unwrap()
}

#[test]
fn every_place_is_served() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    let mut cache = RawCache::new("aligned", geometry(8, 64), &source, window);
    let count = cache.geometry().objects();
    assert!(count >= 62);
    let places: BTreeSet<_> = (0..count).map(|_| cache.allocate().unwrap().addr().get()).collect();
    assert!(places.len() == count && places.iter().all(|place| place % 64 == 0));
    assert_eq!(cache.info().slabs, 1);
}

#[test]
fn what_was_freed_serves_again() {
    let mut machine = Machine::new(1);
    let (source, window) = machine.start();
    let mut cache = RawCache::new("refilled", geometry(64, 64), &source, window);
    for _ in 0..3 {
        let objects: Vec<_> = core::iter::from_fn(|| cache.allocate().ok()).collect();
        assert_eq!(objects.len(), cache.geometry().objects());
        for object in objects {
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
        }
    }
}

#[test]
fn pages_go_back_where_they_came_from() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut cache = RawCache::new("returned", geometry(1000, 8), &source, window);
    for _ in 0..3 {
        let mut objects: Vec<_> = core::iter::from_fn(|| cache.allocate().ok()).collect();
        assert_eq!(free(&source), 0);
        // In an order of its own.
        while !objects.is_empty() {
            let object = objects.swap_remove(objects.len() * 3 / 7);
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
        }
        assert_eq!(cache.info().slabs, 1);
        cache.shrink();
        assert_eq!(free(&source), 64, "every frame, and each once");
        cache.check_invariants().unwrap();
    }
    drop(cache);
    machine.check();
}

/// A pin that is told where it is.
struct At<'a>(&'a Cell<u16>);

// SAFETY: one thread, whose closures do not nest.
unsafe impl CpuPin for At<'_> {
    fn slots(&self) -> u32 {
        2
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        f(Some(Slot::new(self.0.get())))
    }
}

#[test]
fn a_cpu_that_only_frees() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let cpu = Cell::new(0);
    let objects: ObjectCache<[u64; 8], _, _, _> = ObjectCache::new("objects", ByDefault, &source, window);
    let cache: CpuCache<_, _, _, 2> = CpuCache::new(At(&cpu), NoLock::new(), objects);
    let heap: CpuHeap<_, _, _, _, 2> = CpuHeap::new(At(&cpu), NoLock::new(), &source, window);
    let layout = Layout::new::<[u64; 8]>();
    for _ in 0..if cfg!(miri) { 100 } else { 10_000 } {
        cpu.set(0);
        let (object, block) = (cache.allocate().unwrap(), heap.allocate(layout).unwrap());
        cpu.set(1);
        // SAFETY: a live object.
        unsafe { cache.free(object) }.unwrap();
        // SAFETY: a live block.
        unsafe { heap.free(block, layout) }.unwrap();
        // Two magazines and a front on each CPU, and a depot: at most three slabs of 62 objects each.
        assert!(free(&source) >= 64 - 6);
    }
}

#[test]
fn slabs_are_used() {
    for (size, align) in [(8, 8), (16, 16), (64, 64), (512, 512), (1024, 1024), (2048, 2048), (4096, 4096)] {
        let this = geometry(size, align);
        assert!(this.tail() * 8 <= this.slab_bytes(), "{this:?}");
    }
}

#[test]
fn sizes_that_divide_nothing() {
    for (size, align) in [(4095, 1), (4095, 8), (4000, 32), (33, 32), (1, 1), (1365, 4), (8191, 4096)] {
        let mut machine = Machine::new(128);
        let (source, window) = machine.start();
        let mut cache = RawCache::new("odd", geometry(size, align), &source, window);
        let count = cache.geometry().objects() * 2 + 1;
        let objects: Vec<_> =
            (0..count.min(if cfg!(miri) { 5 } else { 300 })).map(|_| cache.allocate().unwrap()).collect();
        for (index, object) in objects.iter().enumerate() {
            assert_eq!(object.addr().get() % align, 0);
            // SAFETY: an object of `size` bytes.
            unsafe { object.write_bytes(index.to_le_bytes()[0], size) };
        }
        for (index, object) in objects.iter().enumerate() {
            for offset in [0, size / 2, size - 1] {
                // SAFETY: inside the object.
                let byte = unsafe { object.add(offset) };
                // SAFETY: written above.
                assert_eq!(unsafe { byte.read() }, index.to_le_bytes()[0]);
            }
            // SAFETY: a live object.
            unsafe { cache.free(*object) }.unwrap();
        }
        cache.check_invariants().unwrap();
        drop(cache);
        assert_eq!(free(&source), 128);
        machine.check();
    }
}
