//! The array in front of a cache.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

use hectare_core::{CheckInvariants, PageSize};
use hectare_slab::{Fronted, Geometry, ObjectCache, RawCache};

use crate::support::{Machine, free};

/// Every sequence of seven operations on an array of three slots before slabs of three objects, in four frames.
#[test]
fn every_short_sequence_keeps_the_invariants() {
    const STEPS: u32 = if cfg!(miri) { 4 } else { 7 };
    let geometry = Geometry::with_frames(Layout::new::<[u64; 150]>(), PageSize::SIZE_4K, 1).unwrap();
    assert_eq!(geometry.objects(), 3);
    let mut machine = Machine::new(4);
    for sequence in 0..5_u32.pow(STEPS) {
        let (source, window) = machine.start();
        let mut cache: Fronted<_, 4> = Fronted::new(RawCache::new("objects", geometry, &source, window));
        let mut live: Vec<NonNull<_>> = Vec::new();
        for step in 0..STEPS {
            match sequence / 5_u32.pow(step) % 5 {
                0 | 1 => match cache.allocate() {
                    Ok(object) => {
                        assert!(!live.contains(&object), "handed out twice");
                        live.push(object);
                    }
                    Err(_) => assert_eq!(live.len() + cache.held(), 12, "refused with objects free"),
                },
                2 if !live.is_empty() => {
                    let object = live.remove(0);
                    // SAFETY: a live object.
                    unsafe { cache.free(object) };
                    assert_eq!(cache.allocate(), Ok(object), "the last one freed comes first");
                    live.push(object);
                }
                3 => {
                    let object = live.pop();
                    // SAFETY: a live object.
                    object.into_iter().for_each(|object| unsafe { cache.free(object) });
                }
                4 => {
                    cache.flush();
                    assert_eq!(
                        (cache.held(), cache.info().active_objects),
                        (0, live.len()),
                        "exact after a flush"
                    );
                }
                _ => {}
            }
            cache.check_invariants().unwrap();
            assert_eq!(cache.info().active_objects, live.len() + cache.held());
        }
        // SAFETY: live objects.
        live.into_iter().for_each(|object| unsafe { cache.free(object) });
        cache.shrink();
        assert_eq!((free(&source), cache.rejected()), (4, 0));
    }
    machine.check();
}

#[test]
fn objects_in_the_array_stay_constructed_and_slabs_are_exact_after_a_flush() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let made = Cell::new(0_u32);
    let new = || {
        made.set(made.get() + 1);
        [made.get(); 64]
    };
    let objects: ObjectCache<[u32; 64], _, _, _> = ObjectCache::new("objects", new, &source, window);
    let mut cache: Fronted<_, 32> = Fronted::new(objects);
    for _ in 0..3 {
        let all: Vec<_> = (0..200).map(|_| cache.allocate().unwrap()).collect();
        // SAFETY: live objects.
        all.into_iter().for_each(|object| unsafe { cache.free(object) });
    }
    // SAFETY: a live object is a valid one.
    let again = unsafe { cache.allocate().unwrap().read() };
    assert!(again[0] > 0 && again.iter().all(|word| *word == again[0]), "as it was constructed");
    assert!(cache.held() > 0 && cache.info().active_objects == cache.held() + 1);
    cache.flush();
    assert_eq!((cache.held(), cache.info().active_objects), (0, 1));
    let constructed = made.get();
    cache.shrink();
    assert_eq!((made.get(), cache.info().slabs), (constructed, 1));
}

#[test]
fn what_was_freed_twice_is_dropped_when_it_comes_to_its_slab() {
    let geometry = Geometry::new(Layout::new::<[u64; 8]>(), PageSize::SIZE_4K).unwrap();
    let mut machine = Machine::new(4);
    let (source, window) = machine.start();
    let mut cache: Fronted<_, 8> = Fronted::new(RawCache::new("objects", geometry, &source, window));
    let object = cache.allocate().unwrap();
    // SAFETY: a live object; then none: what this test is about.
    (0..2).for_each(|_| unsafe { cache.free(object) });
    cache.flush();
    assert_eq!((cache.rejected(), cache.info().active_objects), (1, 0));
}
