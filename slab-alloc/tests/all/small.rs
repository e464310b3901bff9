//! Every state of a small cache: all sequences of operations of a given length, against a set of what is live.

use alloc::collections::BTreeSet;
use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, CheckInvariants, Figures, FreeError, PageSize};
use hectare_slab::{Geometry, RawCache};

use crate::support::{Machine, free};

/// Five objects in a slab, two slabs in all: after 10 allocations the source is empty.
fn tiny() -> Geometry {
    Geometry::with_frames(Layout::from_size_align(768, 16).unwrap(), PageSize::SIZE_4K, 1).unwrap()
}

/// What the `nth` operation of a sequence is.
fn step(
    cache: &mut RawCache<impl hectare_core::FrameSource, impl hectare_core::PhysWindow>,
    live: &mut Vec<NonNull<u8>>,
    op: usize,
) {
    match op {
        0 => match cache.allocate() {
            Ok(object) => {
                assert!(live.iter().all(|other| other.addr().get().abs_diff(object.addr().get()) >= 768));
                live.push(object);
            }
            Err(error) => assert_eq!((error, live.len()), (AllocError::OutOfMemory, 10)),
        },
        1..=3 if !live.is_empty() => {
            let at = [0, live.len() / 2, live.len() - 1][op - 1];
            let object = live.remove(at);
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
            // SAFETY: not live; refused as long as its slab is there, and when it is gone.
            assert!(unsafe { cache.free(object) }.is_err());
        }
        4 => {
            let mut out = [None; 3];
            let count = cache.allocate_bulk(&mut out);
            assert_eq!(count, (10 - live.len()).min(3));
            live.extend(out.iter().flatten());
        }
        5 => {
            cache.shrink();
        }
        _ => {}
    }
    cache.check_invariants().unwrap();
    assert_eq!(cache.usage().allocated, live.len() as u64);
    let distinct: BTreeSet<_> = live.iter().collect();
    assert_eq!(distinct.len(), live.len());
}

#[test]
fn every_short_sequence() {
    let length = if cfg!(miri) { 2 } else { 7 };
    let mut machine = Machine::new(2);
    for code in 0..6usize.pow(length) {
        let (source, window) = machine.start();
        {
            let mut cache = RawCache::new("tiny", tiny(), &source, window);
            // Begins with one slab full and the next begun, so that short sequences reach every list.
            let mut live: Vec<_> = (0..6).map(|_| cache.allocate().unwrap()).collect();
            let mut rest = code;
            for _ in 0..length {
                step(&mut cache, &mut live, rest % 6);
                rest /= 6;
            }
            for object in live {
                // SAFETY: a live object.
                unsafe { cache.free(object) }.unwrap();
            }
        }
        assert_eq!(free(&source), 2, "sequence {code}");
    }
    machine.check();
}

#[test]
fn a_bad_free_is_refused_and_changes_nothing() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    let mut cache = RawCache::new("tiny", tiny(), &source, window);
    let mut other = RawCache::new("other", tiny(), &source, window);
    let objects: Vec<_> = (0..7).map(|_| cache.allocate().unwrap()).collect();
    let foreign = other.allocate().unwrap();
    // SAFETY: a live object.
    unsafe { cache.free(objects[2]) }.unwrap();
    let outside = Box::new([0u64; 8]);
    let before = (cache.info(), other.info());
    let at = |offset: usize| objects[0].map_addr(|address| address.saturating_add(offset));
    for (bad, error) in [
        (objects[2], FreeError::NotAllocated),
        (at(1), FreeError::Misaligned),
        (at(16), FreeError::Misaligned),
        (at(5 * 768), FreeError::Misaligned),
        (at(4095), FreeError::Misaligned),
        (foreign, FreeError::Foreign),
        (NonNull::from(&*outside).cast(), FreeError::Foreign),
        (NonNull::dangling(), FreeError::Foreign),
    ] {
        // SAFETY: not an object of the cache; what it says about that is what is tested.
        assert_eq!(unsafe { cache.free(bad) }, Err(error), "{bad:?}");
        cache.check_invariants().unwrap();
        other.check_invariants().unwrap();
        assert_eq!((cache.info(), other.info()), before);
    }
}

#[test]
fn a_reserve_cannot_fail() {
    let mut machine = Machine::new(2);
    let (source, window) = machine.start();
    let mut cache = RawCache::new("tiny", tiny(), &source, window);
    cache.set_keep(0);
    cache.reserve(7).unwrap();
    assert_eq!((cache.reserved(), cache.shrink(), free(&source)), (7, 0, 0));
    assert_eq!(cache.reserve(11), Err(AllocError::OutOfMemory));
    assert_eq!(cache.reserved(), 7);
    let mut taken: Vec<_> = (0..3).map(|_| cache.allocate().unwrap()).collect();
    assert_eq!(cache.allocate(), Err(AllocError::OutOfMemory), "the rest is reserved");
    assert_eq!(cache.allocate_bulk(&mut [None; 2]), 0);
    taken.extend((0..7).map(|_| cache.allocate_reserved().unwrap()));
    assert_eq!((cache.allocate_reserved(), cache.reserved()), (None, 0));
    cache.check_invariants().unwrap();
    // SAFETY: live objects.
    unsafe { cache.free_bulk(&taken) }.unwrap();
    // SAFETY: the first is free; that is refused.
    let refused = unsafe { cache.free_bulk(&taken[..1]) }.unwrap_err();
    assert_eq!((refused.freed, free(&source)), (0, 2));
    cache.reserve(3).unwrap();
    drop(cache);
    assert_eq!(free(&source), 2);
}

#[test]
fn a_window_that_does_not_fit_is_refused() {
    use hectare_core::{DirectMap, PhysAddr};
    let mut machine = Machine::new(4);
    let (source, _) = machine.start();
    let other = Box::new([0u128; 16]);
    // SAFETY: the array, while it lives.
    let elsewhere = unsafe { DirectMap::new(NonNull::from(&*other).cast(), PhysAddr::new(0), 256) }.unwrap();
    let mut cache = RawCache::new("tiny", tiny(), &source, elsewhere);
    assert_eq!(cache.allocate(), Err(AllocError::Alignment));
    assert_eq!(free(&source), 4, "the frames went back");
}
