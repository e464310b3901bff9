//! The cache and the heap of many CPUs: by hand, and with threads on simulated CPUs.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::NonNull;
use std::sync::mpsc;
use std::thread;

use hectare_core::{AllocError, CpuPin, FreeError, NoCpu, NoLock, RawLock, Reentered, SingleCpu, SpinLock};
use hectare_slab::{ByDefault, CpuCache, CpuHeap, ObjectCache};
use hectare_testkit::stand_in::ThreadSlots;

use crate::support::{Machine, free};

/// A lock whose holder can be simulated.
#[derive(Default)]
struct Gate {
    held: Cell<bool>,
    lock: NoLock,
}

// SAFETY: the inner lock's, refused while held.
unsafe impl RawLock for Gate {
    #[cfg(not(hectare_loom))]
    const UNLOCKED: Self = Self { held: Cell::new(false), lock: NoLock::new() };

    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
        if self.held.get() { Err(Reentered) } else { self.lock.with(f) }
    }
}

#[test]
fn magazines_keep_objects_and_their_state() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let made = Cell::new(0);
    let new = || {
        made.set(made.get() + 1);
        [made.get(); 16]
    };
    {
        let objects: ObjectCache<[u32; 16], _, _, _> = ObjectCache::new("objects", new, &source, window);
        let cache: CpuCache<_, _, _, 1> = CpuCache::new(SingleCpu::new(), NoLock::new(), objects);
        let mut first = cache.take().unwrap();
        first[0] = 77;
        let place = core::ptr::from_ref(&*first);
        drop(first);
        let again = cache.take().unwrap();
        assert_eq!((core::ptr::from_ref(&*again), again[0]), (place, 77), "the object freed last, as it was");
        drop(again);
        assert!(usize::try_from(made.get()).unwrap() <= cache.rounds());
        let all: Vec<_> = (0..50).map(|_| cache.allocate().unwrap()).collect();
        for round in 0..20 {
            for object in &all[..round] {
                // SAFETY: a live object.
                unsafe { cache.free(*object) }.unwrap();
            }
            for object in all[..round].iter().rev() {
                assert_eq!(cache.allocate(), Ok(*object), "last in, first out, over all magazines");
            }
        }
        for object in all {
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
        }
        assert!(cache.in_depot().unwrap() > 0);
        let constructed = made.get();
        cache.flush().unwrap();
        assert!(cache.shrink().unwrap() > 0);
        assert_eq!((cache.in_depot(), cache.rejected(), made.get()), (Ok(0), Ok(0), constructed));
        assert_eq!((cache.info().unwrap().slabs, free(&source)), (0, 64));
        let _leaked_to_drop = cache.take().unwrap();
    }
    assert_eq!(free(&source), 64);
}

#[test]
fn an_interrupt_in_a_slot_is_served() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    let objects: ObjectCache<u64, _, _, _> = ObjectCache::new("objects", ByDefault, &source, window);
    let pin = SingleCpu::new();
    let cache: CpuCache<_, _, _, 1> = CpuCache::new(&pin, NoLock::new(), objects);
    let outer = cache.allocate().unwrap();
    pin.with(|slot| {
        assert!(slot.is_some());
        // The interrupt: the slot is busy, the lock is not.
        let inner = cache.allocate().unwrap();
        assert_ne!(inner, outer);
        // SAFETY: live objects.
        unsafe { cache.free(inner) }.unwrap();
        // SAFETY: not live any more, and without a slot that is told at once.
        assert_eq!(unsafe { cache.free(inner) }, Err(FreeError::NotAllocated));
        assert_eq!(cache.flush(), Err(Reentered));
    });
    // SAFETY: a live object.
    unsafe { cache.free(outer) }.unwrap();
    cache.check_slabs().unwrap();
}

#[test]
fn frees_wait_while_the_lock_is_held() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    let gate = Gate::default();
    let objects: ObjectCache<u64, _, _, _> = ObjectCache::new("objects", ByDefault, &source, window);
    struct Ref<'a>(&'a Gate);
    // SAFETY: the gate's.
    unsafe impl RawLock for Ref<'_> {
        #[cfg(not(hectare_loom))]
        const UNLOCKED: Self = panic!("borrows");
        fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
            self.0.with(f)
        }
    }
    let cache: CpuCache<_, _, _, 0> = CpuCache::new(NoCpu, Ref(&gate), objects);
    let taken: Vec<_> = (0..20).map(|_| cache.allocate().unwrap()).collect();
    gate.held.set(true);
    assert_eq!(cache.allocate(), Err(AllocError::Reentered(Reentered)));
    // SAFETY: live objects.
    let waiting = taken.iter().filter(|object| unsafe { cache.free(**object) }.is_ok()).count();
    assert_eq!(waiting, 16, "the mailbox has 16 places; what found none is still handed out");
    gate.held.set(false);
    assert_eq!(cache.info().unwrap().active_objects, 4);
    for object in &taken[16..] {
        // SAFETY: a live object.
        unsafe { cache.free(*object) }.unwrap();
    }
    assert_eq!((cache.info().unwrap().active_objects, cache.rejected()), (0, Ok(0)));
}

/// Threads that allocate, write, hand over, check and free: half of the blocks are freed by another thread.
fn churn<H: Sync>(
    heap: &H,
    threads: usize,
    rounds: usize,
    allocate: impl Fn(&H, usize) -> Option<(NonNull<u8>, usize)> + Sync,
    release: impl Fn(&H, NonNull<u8>, usize) + Sync,
) {
    /// A block, its size, and what was written to it.
    struct Block(NonNull<u8>, usize, u8);
    // SAFETY: a block belongs to who has it.
    unsafe impl Send for Block {}
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel::<Block>()).unzip();
    let finish = |Block(block, size, mark): Block| {
        for offset in [0, size / 2, size - 1] {
            // SAFETY: inside the block.
            let byte = unsafe { block.add(offset) };
            // SAFETY: written by its owner.
            assert_eq!(unsafe { byte.read() }, mark, "a byte was lost");
        }
        release(heap, block, size);
    };
    thread::scope(|scope| {
        for (number, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(number + 1) % threads].clone();
            let (allocate, finish) = (&allocate, &finish);
            scope.spawn(move || {
                let mut own = Vec::new();
                for round in 0..rounds {
                    if let Some((block, size)) = allocate(heap, number * 31 + round * 7) {
                        let mark = (number * 50 + round).to_le_bytes()[0];
                        // SAFETY: a block of that size, ours.
                        unsafe { block.write_bytes(mark, size) };
                        let block = Block(block, size, mark);
                        if round % 2 == 0 {
                            own.push(block);
                        } else if let Err(mpsc::SendError(block)) = next.send(block) {
                            finish(block);
                        }
                    }
                    if own.len() > 40 {
                        finish(own.swap_remove(round % 40));
                    }
                    receiver.try_iter().take(2).for_each(finish);
                }
                own.into_iter().for_each(finish);
                drop(next);
                // What comes later is taken when the neighbour is done.
                receiver.iter().for_each(finish);
            });
        }
        drop(senders);
    });
}

const THREADS: usize = 3;
const TURNS: usize = if cfg!(miri) { 24 } else { 20_000 };
const CPUS: &[u16] = if cfg!(miri) { &[2] } else { &[0, 1, 2, 4] };

#[test]
fn threads_share_a_cache() {
    for &cpus in CPUS {
        let mut machine = Machine::new(256);
        let (source, window) = machine.start_with::<SpinLock>();
        {
            let objects: ObjectCache<[u8; 100], _, _, _> =
                ObjectCache::new("objects", || [0; 100], &source, window);
            let cache: CpuCache<_, _, _, 4> = CpuCache::new(ThreadSlots::new(cpus), SpinLock::new(), objects);
            let release = |cache: &CpuCache<_, _, _, 4>, block: NonNull<u8>, _| {
                // SAFETY: a live object.
                unsafe { cache.free(block.cast()) }.unwrap();
            };
            let allocate = |cache: &CpuCache<_, _, _, 4>, _| Some((cache.allocate().ok()?.cast(), 100));
            churn(&cache, THREADS, TURNS, allocate, release);
            cache.check_slabs().unwrap();
            cache.shrink_all().unwrap();
            let info = cache.info().unwrap();
            assert_eq!((info.active_objects, info.slabs, cache.rejected()), (0, 0, Ok(0)), "{cpus} CPUs");
        }
        assert_eq!(source.with(|frames| frames.engine().free_frames()), Ok(256));
        machine.check();
    }
}

#[test]
fn threads_share_a_heap() {
    for &cpus in CPUS {
        let mut machine = Machine::new(1024);
        let (source, window) = machine.start_with::<SpinLock>();
        {
            let heap: CpuHeap<_, _, _, _, 4> =
                CpuHeap::new(ThreadSlots::new(cpus), SpinLock::new(), &source, window);
            let layout = |size| Layout::from_size_align(size, 8).unwrap();
            let allocate = |heap: &CpuHeap<_, _, _, _, 4>, seed: usize| {
                let size = 1 + seed * 7919 % [64, 600, 5000, 50_000][seed % 4];
                Some((heap.allocate(layout(size)).ok()?, size))
            };
            let release = |heap: &CpuHeap<_, _, _, _, 4>, block, size| {
                // SAFETY: a live block.
                unsafe { heap.free(block, layout(size)) }.unwrap();
            };
            churn(&heap, THREADS, TURNS / if cfg!(miri) { 1 } else { 4 }, allocate, release);
            heap.check_slabs().unwrap();
            heap.shrink_all().unwrap();
            assert_eq!(heap.rejected(), Ok(0), "{cpus} CPUs");
        }
        assert_eq!(source.with(|frames| frames.engine().free_frames()), Ok(1024));
        machine.check();
    }
}

#[test]
fn the_heap_of_many_cpus_is_a_global_allocator() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    {
        let heap: CpuHeap<_, _, _, _, 1> = CpuHeap::new(SingleCpu::new(), NoLock::new(), &source, window);
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: the layout is not of size 0.
        let block = unsafe { heap.alloc_zeroed(layout) };
        // SAFETY: a live block.
        assert_eq!(unsafe { block.read() }, 0);
        // SAFETY: a live block.
        let moved = unsafe { heap.realloc(block, layout, 5000) };
        assert!(!moved.is_null() && moved != block);
        // SAFETY: a live block.
        unsafe { heap.dealloc(moved, Layout::from_size_align(5000, 8).unwrap()) };
        // The last frames come back from the front before a refusal.
        let large = Layout::from_size_align(16 << 12, 8).unwrap();
        let block = heap.allocate(large).unwrap();
        assert_eq!(heap.allocate(layout), Err(AllocError::OutOfMemory));
        // SAFETY: a live block.
        unsafe { heap.free(block, large) }.unwrap();
    }
    assert_eq!(free(&source), 16);
}
