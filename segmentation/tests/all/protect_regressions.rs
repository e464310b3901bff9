//! Faults of other systems' protection code, each as a test of ours.
//!
//! | project | fault | test |
//! |---|---|---|
//! | Tock, ARMv8-M | the start is rounded up after the room was checked: a region that ends behind what is available | `a_start_that_is_rounded_up_still_fits` |
//! | Tock #2076 | a PMP range one byte too long | `the_byte_behind_a_range_is_not_readable` |
//! | Tock #2435, ARMv7-M | a length that is a multiple of a subregion gets one more | `an_exact_multiple_gets_no_further_subregion` |
//! | Tock #3544 | up to three bytes behind a PMP range are granted | `the_byte_behind_a_range_is_not_readable` |
//! | uVisor #369, #388 | region numbers from 8 on | `numbers_beyond_the_set_are_refused` |
//! | xv6 #154 | a top-of-range entry that should cover everything misses the last word | `top_of_range_cannot_reach_the_last_word` |
//! | Spike #2187 | the largest NAPOT range overflows | `everything_is_a_range` |
//! | OpenC910 #60 | ranges finer than the grain are ignored by the hardware | `nothing_finer_than_the_grain` |
//! | Hubris #2492 | a buffer over two regions is refused, or checked against one of them only | `region_map::an_access_may_span_regions_that_touch` |
use core::num::NonZero;

use hectare_core::{AccessKind, Extent, Permissions};
use hectare_segmentation::protect::{
    Growable, Pmp, PmpEntry, PmpMode, Pmsa7, Pmsa8, RegionFormat, RegionSet,
};

const R: Permissions = Permissions::READ;

fn extent(start: u64, length: u64) -> Extent {
    Extent::new(start, length).expect("not empty")
}

fn some(count: u64) -> NonZero<u64> {
    NonZero::new(count).expect("some")
}

#[test]
fn a_start_that_is_rounded_up_still_fits() {
    let available = extent(0x2000_0010, 0x40);
    assert_eq!(Pmsa8.fit(available, some(0x40)), None);
    assert_eq!(Pmsa8.fit(available, some(0x20)), Some(extent(0x2000_0020, 0x20)));
}

#[test]
fn the_byte_behind_a_range_is_not_readable() {
    for length in (4..0x100).step_by(4) {
        let range = extent(0x8000_0000, length);
        let mut set = RegionSet::<PmpEntry, 4>::EMPTY;
        for entry in Pmp::RV32.from_to(range, R, false).expect("words") {
            set.push(entry);
        }
        assert!(set.permits(extent(range.end() - 1, 1), AccessKind::Read));
        assert!(!set.permits(extent(range.end(), 1), AccessKind::Read));
        assert!(!set.permits(extent(range.end() - 2, 4), AccessKind::Read), "an access over the end");
    }
}

#[test]
fn an_exact_multiple_gets_no_further_subregion() {
    let place = Growable::new(&Pmsa7::V7, extent(0x2000_0000, 0x2000), some(0x1000)).expect("one region");
    for eighths in 1..=8 {
        let length = eighths * place.step().get();
        assert_eq!(place.region(some(length), u64::MAX).map(Extent::length), Some(length));
    }
}

#[test]
fn numbers_beyond_the_set_are_refused() {
    let mut set = RegionSet::<u32, 16>::EMPTY;
    for number in 0..16 {
        assert_eq!(set.push(7), Some(number));
    }
    assert_eq!((set.push(7), set.get(16), set.set(16, Some(7))), (None, None, None));
}

#[test]
fn top_of_range_cannot_reach_the_last_word() {
    let everything = extent(0, 1 << 34);
    assert_eq!(Pmp::RV32.from_to(everything, R, false), None);
    let whole = Pmp::RV32.power_of_two(everything, R, false).expect("one power of two is everything");
    assert_eq!(whole.encode(), (0x19, 0x7FFF_FFFF));
    assert_eq!(Pmp::RV32.fit(everything, some(1 << 34)), Some(everything));
}

#[test]
fn everything_is_a_range() {
    let entry = PmpEntry::new(PmpMode::PowerOfTwo, u64::MAX, R, false).expect("not reserved");
    let mut set = RegionSet::<PmpEntry, 1>::EMPTY;
    set.push(entry);
    for address in [0, 1 << 33, u64::MAX - 8] {
        assert!(set.permits(extent(address, 4), AccessKind::Read), "{address:#x}");
    }
}

#[test]
fn nothing_finer_than_the_grain() {
    let coarse = Pmp::RV64.with_grain(11).expect("2 KiB");
    assert_eq!(coarse.from_to(extent(0x400, 0x1000), R, false), None);
    assert_eq!(coarse.power_of_two(extent(0x400, 0x400), R, false), None);
    assert_eq!(coarse.fit(extent(0x400, 0x2000), some(8)), Some(extent(0x800, 0x800)));
}
