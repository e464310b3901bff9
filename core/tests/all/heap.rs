//! `Heap`: what it promises around any engine.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hectare_core::{
    AllocError, BadFree, CheckInvariants, FreeError, Heap, NoLock, Reentered, RegionError, SpinLock,
};

use crate::arena::leaked;
use crate::naive::Naive;

type Tiny<L = NoLock> = Heap<L, Naive<64>>;

fn heap<L: hectare_core::RawLock>() -> Tiny<L> {
    let heap = Tiny::empty();
    assert_eq!(heap.init_static(leaked(4096)), Ok(()));
    heap
}

const WORD: Layout = Layout::new::<u64>();

#[test]
fn an_empty_heap_refuses() {
    let heap = Tiny::<NoLock>::empty();
    assert_eq!(heap.allocate_block(WORD), Err(AllocError::TooLarge));
    // SAFETY: the layout is not of size 0.
    assert!(unsafe { heap.alloc(WORD) }.is_null());
    assert_eq!((heap.used(), heap.free()), (0, 0));
}

#[test]
fn a_refused_region_is_reported() {
    assert_eq!(Tiny::<NoLock>::empty().init_static(leaked(3)), Err(RegionError::TooSmall));
    assert_eq!(heap::<NoLock>().init_static(leaked(64)), Err(RegionError::TableFull));
}

#[test]
#[cfg_attr(miri, ignore = "an address without a pointer: exposed provenance by contract")]
fn an_address_from_a_linker_script() {
    let heap = Tiny::<NoLock>::empty();
    // SAFETY: no byte is given.
    assert_eq!(unsafe { heap.init(0, 0) }, Err(RegionError::BadRange));
    let start = leaked(64).as_mut_ptr().expose_provenance();
    // SAFETY: leaked for this heap.
    assert_eq!(unsafe { heap.init(start, 64) }, Ok(()));
    assert_eq!(heap.allocate_block(WORD).map(|block| block.addr().get()), Ok(start));
}

#[test]
fn null_when_out_of_memory() {
    let heap = heap::<NoLock>();
    let large = Layout::from_size_align(4000, 8).unwrap();
    // SAFETY: the layout is not of size 0.
    assert!(!unsafe { heap.alloc(large) }.is_null());
    // SAFETY: as above.
    assert!(unsafe { heap.alloc(large) }.is_null());
    // SAFETY: as above.
    assert!(unsafe { heap.alloc_zeroed(large) }.is_null());
    assert_eq!(heap.allocate_block(large), Err(AllocError::OutOfMemory));
}

#[test]
fn zeroed_means_zeroed() {
    let heap = heap::<NoLock>();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let dirty = heap.allocate_block(layout).unwrap();
    // SAFETY: a live block of 64 bytes.
    unsafe { dirty.write_bytes(0xa5, 64) };
    // SAFETY: live, with its layout.
    unsafe { heap.dealloc(dirty.as_ptr(), layout) };
    // SAFETY: the layout is not of size 0.
    let clean = NonNull::new(unsafe { heap.alloc_zeroed(layout) }).unwrap();
    assert_eq!(clean, dirty, "the same bytes again, or the test shows nothing");
    // SAFETY: a live block of 64 initialised bytes.
    assert_eq!(unsafe { clean.cast::<[u8; 64]>().read() }, [0; 64]);
}

#[test]
fn a_failed_realloc_leaves_the_block() {
    let heap = heap::<NoLock>();
    let block = heap.allocate_block(WORD).unwrap();
    // SAFETY: live.
    unsafe { block.cast::<u64>().write(42) };
    // SAFETY: live, with its layout; the size does not overflow.
    assert!(unsafe { heap.realloc(block.as_ptr(), WORD, 5000) }.is_null());
    // SAFETY: still live.
    assert_eq!(unsafe { block.cast::<u64>().read() }, 42);
    assert_eq!(heap.used(), 8);
    // SAFETY: live, with its layout.
    assert_eq!(unsafe { heap.free_block(block, WORD) }, Ok(()));
}

#[test]
fn realloc_moves_contents_past_a_neighbour() {
    let heap = heap::<NoLock>();
    let block = heap.allocate_block(WORD).unwrap();
    let neighbour = heap.allocate_block(WORD).unwrap();
    // SAFETY: live.
    unsafe { block.cast::<u64>().write(42) };
    // SAFETY: live, with its layout; the size does not overflow.
    let moved = NonNull::new(unsafe { heap.realloc(block.as_ptr(), WORD, 16) }).unwrap();
    assert!(moved > neighbour);
    // SAFETY: live.
    assert_eq!(unsafe { moved.cast::<u64>().read() }, 42);
    assert_eq!((heap.used(), heap.bad_frees()), (24, 0));
}

static SEEN: AtomicU32 = AtomicU32::new(0);

fn hook(bad: BadFree) {
    assert_eq!((bad.layout, bad.error), (WORD, FreeError::NotAllocated));
    SEEN.fetch_add(1, Relaxed);
}

#[test]
fn bad_frees_are_counted_and_reported_and_change_nothing() {
    let heap = heap::<NoLock>();
    let (first, second) = (heap.allocate_block(WORD).unwrap(), heap.allocate_block(WORD).unwrap());
    // SAFETY: live, with its layout.
    assert_eq!(unsafe { heap.free_block(first, WORD) }, Ok(()));
    // SAFETY: not live: the engine of this test detects every bad free.
    unsafe { heap.dealloc(first.as_ptr(), WORD) };
    assert_eq!((heap.bad_frees(), SEEN.load(Relaxed)), (1, 0), "the default hook does nothing");
    heap.set_bad_free_hook(hook).unwrap();
    // SAFETY: as above.
    unsafe { heap.dealloc(first.as_ptr(), WORD) };
    // SAFETY: as above.
    assert_eq!(unsafe { heap.free_block(first, WORD) }, Err(FreeError::NotAllocated));
    // SAFETY: null is ignored.
    unsafe { heap.dealloc(core::ptr::null_mut(), WORD) };
    assert_eq!((heap.bad_frees(), SEEN.load(Relaxed)), (3, 2));
    assert_eq!(heap.used(), 8);
    heap.with(|engine| engine.check_invariants()).unwrap().unwrap();
    // SAFETY: live, with its layout.
    assert_eq!(unsafe { heap.free_block(second, WORD) }, Ok(()));
}

#[test]
fn a_realloc_of_a_bad_block_is_refused() {
    let heap = heap::<NoLock>();
    let block = heap.allocate_block(WORD).unwrap();
    // SAFETY: live, with its layout.
    assert_eq!(unsafe { heap.free_block(block, WORD) }, Ok(()));
    // SAFETY: not live: the engine of this test detects that.
    let refused = unsafe { heap.reallocate_block(block, WORD, 16) };
    assert_eq!(refused, Err(AllocError::BadBlock(FreeError::NotAllocated)));
    // SAFETY: null is not live: the heap refuses it.
    assert!(unsafe { heap.realloc(core::ptr::null_mut(), WORD, 16) }.is_null());
}

#[test]
fn reentry_is_refused_by_a_lock_that_can_tell() {
    let heap = heap::<NoLock>();
    let block = heap.allocate_block(WORD).unwrap();
    heap.with(|_| {
        assert_eq!(heap.allocate_block(WORD), Err(AllocError::Reentered(Reentered)));
        // SAFETY: the layout is not of size 0.
        assert!(unsafe { heap.alloc(WORD) }.is_null());
        // SAFETY: live, with its layout.
        assert_eq!(unsafe { heap.free_block(block, WORD) }, Err(FreeError::Reentered(Reentered)));
        // SAFETY: as above.
        let moved = unsafe { heap.reallocate_block(block, WORD, 16) };
        assert_eq!(moved, Err(AllocError::Reentered(Reentered)));
        assert_eq!((heap.used(), heap.free(), heap.bad_frees()), (0, 0, 0));
        assert_eq!(heap.set_bad_free_hook(hook), Err(Reentered));
    })
    .unwrap();
    assert_eq!((heap.used(), heap.bad_frees()), (8, 0), "nothing of that happened");
}

#[test]
fn the_engine_can_be_changed_by_who_promises_to_keep_it() {
    let heap = Tiny::<NoLock>::empty();
    let region = NonNull::from(leaked(64));
    let region = NonNull::slice_from_raw_parts(region.cast::<u8>(), region.len());
    let add = |engine: &mut Naive<64>| {
        // SAFETY: the region is leaked for this heap.
        unsafe { hectare_core::RegionHeap::add_region(engine, region) }
    };
    // SAFETY: `add_region` keeps the engine in place.
    let added = unsafe { heap.with_mut(add) };
    assert_eq!(added, Ok(Ok(())));
    assert_eq!(heap.free(), 64);
}

#[test]
fn threads_share_a_heap() {
    static HEAP: Heap<SpinLock, Naive<64>> = Heap::empty();
    HEAP.init_static(leaked(4096)).unwrap();
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    std::thread::scope(|scope| {
        for thread in 1_u8..=4 {
            scope.spawn(move || {
                for round in 0..rounds {
                    let layout = Layout::from_size_align(1 + round % 50, 1 << (round % 7)).unwrap();
                    // SAFETY: the layout is not of size 0.
                    let block = NonNull::new(unsafe { HEAP.alloc(layout) }).unwrap();
                    assert_eq!(block.addr().get() % layout.align(), 0);
                    // SAFETY: a live block.
                    unsafe { block.write_bytes(thread, layout.size()) };
                    std::thread::yield_now();
                    let bytes = NonNull::slice_from_raw_parts(block, layout.size());
                    // SAFETY: as above, written by this thread.
                    assert!(unsafe { bytes.as_ref() }.iter().all(|&byte| byte == thread));
                    // SAFETY: live, with its layout.
                    unsafe { HEAP.dealloc(block.as_ptr(), layout) };
                }
            });
        }
    });
    assert_eq!((HEAP.used(), HEAP.bad_frees()), (0, 0));
}

#[test]
fn who_may_share_what() {
    trait Maybe<T> {
        fn sync() {}
    }
    impl<T: ?Sized> Maybe<()> for T {}
    impl<T: ?Sized + Sync> Maybe<u8> for T {}
    // Ambiguous, and so refused by the compiler, if a heap without a lock were `Sync`.
    let _ = <Tiny<NoLock> as Maybe<_>>::sync;
    let _ = <hectare_core::Locked<NoLock, u8> as Maybe<_>>::sync;
    fn assert_sync<T: Sync>() {}
    assert_sync::<Tiny<SpinLock>>();
    assert_sync::<hectare_core::Locked<SpinLock, u8>>();
}

/// A panic that reaches `GlobalAlloc`'s border must abort, never unwind: shown in a child process.
#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_panicking_hook_aborts() {
    const CHILD: &str = "HECTARE_PANICKING_HOOK";
    if std::env::var_os(CHILD).is_some() {
        let heap = heap::<NoLock>();
        heap.set_bad_free_hook(|_| panic!("hook")).unwrap();
        let block = heap.allocate_block(WORD).unwrap().as_ptr();
        let free_twice = || {
            for _ in 0..2 {
                // SAFETY: freed twice on purpose; this engine detects that and does nothing.
                unsafe { heap.dealloc(block, WORD) };
            }
        };
        let outcome = std::panic::catch_unwind(core::panic::AssertUnwindSafe(free_twice));
        std::process::exit(if outcome.is_err() { 42 } else { 43 });
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["heap::a_panicking_hook_aborts", "--exact", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!matches!(status.code(), Some(0 | 42 | 43)), "{status}");
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "aborted");
}
