use super::*;

#[test]
fn a_region_is_as_misaligned_as_asked() {
    for misalign in [0, 1, 3, 8, 13] {
        let (arena, region) = Arena::with_region(100, 64, misalign);
        assert_eq!((region.len(), region.addr().get() % 64), (100, misalign % 64));
        assert!(arena.contains(region.addr().get(), 100));
        assert!(!arena.contains(region.addr().get(), 101));
        assert!(!arena.contains(region.addr().get() - 1, 2));
        assert!(!arena.contains(usize::MAX, 2));
    }
}

#[test]
fn a_write_next_to_a_region_is_seen_and_one_inside_is_not() {
    for offset in -8..=107 {
        let (arena, region) = Arena::with_region(100, 16, 0);
        // SAFETY: 8 bytes before and after the region lie in the guards.
        let byte = unsafe { region.cast::<u8>().offset(offset) };
        // SAFETY: as above.
        unsafe { byte.write(0) };
        let expected = if (0..100).contains(&offset) { Ok(()) } else { Err(Damage { offset }) };
        assert_eq!(arena.check(), expected);
    }
}

#[test]
fn what_is_taken_back_is_watched_again() {
    let mut arena = Arena::new(100, 16);
    let region = arena.give(10..50);
    // SAFETY: the region is ours.
    unsafe { region.cast::<u8>().write_bytes(7, 40) };
    arena.reshape(0, 20..60);
    assert_eq!(arena.check(), Ok(()));
    arena.reshape(0, 30..40);
    assert_eq!(arena.check(), Ok(()));
    // SAFETY: offset 50 lies in the arena.
    let byte = unsafe { region.cast::<u8>().add(40) };
    // SAFETY: as above.
    unsafe { byte.write(0) };
    assert_eq!(arena.check(), Err(Damage { offset: 50 }));
    arena.reshape(0, 30..60);
    arena.take_back(0);
    assert_eq!(arena.check(), Ok(()));
}

#[test]
#[should_panic(expected = "is not free")]
fn a_byte_is_given_once() {
    let mut arena = Arena::new(100, 16);
    arena.give(0..50);
    arena.give(49..60);
}
