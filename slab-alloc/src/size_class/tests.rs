use super::*;

#[test]
#[cfg_attr(miri, ignore = "no unsafe code, and too long")]
fn every_size_and_alignment_has_the_right_class() {
    for size in 0..=LARGEST {
        for align_log2 in 0..16 {
            let layout = Layout::from_size_align(size, 1 << align_log2).unwrap();
            let rounded = rounded(layout);
            assert!(rounded >= size.max(1) && rounded % layout.align() == 0);
            let Some(class) = class_of_layout(layout) else {
                assert!(rounded > LARGEST);
                continue;
            };
            let bytes = size_of_class(class);
            assert!(bytes >= rounded, "{size} bytes do not fit into {bytes}");
            assert!(bytes % layout.align() == 0, "{bytes} is not aligned to {}", layout.align());
            assert!(class == 0 || size_of_class(class - 1) < rounded, "a smaller class would do for {size}");
            // Rounding to the class, apart from the alignment's: at most 1/9 above 128 bytes, 15 bytes below.
            let waste = bytes - rounded;
            assert!(if rounded > 128 { waste * 9 <= bytes } else { waste < 16 }, "{rounded} → {bytes}");
        }
    }
}

#[test]
fn the_table_is_the_formula() {
    assert_eq!(computed(LARGEST), CLASSES - 1);
    assert_eq!(size_of_class(CLASSES - 1), LARGEST);
    for size in 1..=LARGEST {
        assert_eq!(class_of_layout(Layout::from_size_align(size, 1).unwrap()), Some(computed(size)));
    }
    assert_eq!(class_of_layout(Layout::from_size_align(LARGEST + 1, 1).unwrap()), None);
    assert!(SIZES.iter().enumerate().all(|(class, size)| usize::from(*size) == size_of_class(class)));
}
