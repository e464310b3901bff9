use super::*;
use crate::heap::shape::{Small, Standard};

fn classes_are_monotone_and_bound_their_sizes<S: Shape>(max: usize) {
    let mut size = 1;
    while size <= max {
        let (bin, certain) = (bin_of::<S>(size), bin_at_least::<S>(size));
        assert!(bin < S::BINS && certain < S::BINS, "size {size}");
        assert!(bin <= certain && certain <= bin + 1, "size {size}");
        // Every size in a certain bin is large enough; the one below may hold smaller ones.
        assert!(bin_of::<S>(size - 1) <= bin, "size {size}");
        if bin != certain {
            assert_eq!(bin_of::<S>(size - 1), bin, "the floor bin holds a smaller size than {size}");
        }
        if size < exact::<S>() {
            assert_eq!((bin, certain), (size, size));
        }
        size += 1 + size / 1000;
    }
}

#[test]
fn size_classes() {
    classes_are_monotone_and_bound_their_sizes::<Standard>(u32::MAX as usize);
    classes_are_monotone_and_bound_their_sizes::<Small>(u16::MAX as usize);
}

#[test]
fn occupied_bins_are_found_in_order() {
    let mut bins = Bins::<Standard>::EMPTY;
    assert_eq!(bins.next_occupied(0), 512);
    for bin in [3, 63, 64, 200, 511] {
        *bins.head_mut(bin) = 7;
        bins.occupy(bin);
    }
    let (mut found, mut count) = ([0; 5], 0);
    let mut bin = bins.next_occupied(0);
    while bin < 512 {
        found[count] = bin;
        count += 1;
        bin = bins.next_occupied(bin + 1);
    }
    assert_eq!((found, count), ([3, 63, 64, 200, 511], 5));
    assert!(!bins.none_from(511) && bins.is_consistent(200));
    *bins.head_mut(511) = 0;
    assert!(!bins.is_consistent(511));
    bins.vacate_if(511, true);
    assert_eq!(bins.next_occupied(201), 512);
    assert!(bins.none_from(201) && !bins.none_from(200) && bins.is_consistent(511));
}
