//! Faults of other crates, each as a test of ours.
//!
//! | crate | version | fault | test |
//! |---|---|---|---|
//! | x86 | 0.52 | printing a selector tests for ring 0 by a mask of zero bits: always "Ring 0" | `a_selector_prints_its_own_ring` |
//! | x86 | 0.52 | a limit above 20 bits is cut silently | `a_limit_is_never_cut` |
//! | x86_64 | 0.15.5 | base and limit of a raw table cannot be read | `a_raw_table_can_be_read` |
//! | x86_64 | 0.15.5 | appending to a full table panics | `a_full_table_refuses` (reference values) |
use hectare_core::{Permissions, VirtAddr};
use hectare_segmentation::Segment;
use hectare_segmentation::x86::{Descriptor, EncodeError, Limit, Ring, SegmentDescriptor, Selector};

#[test]
fn a_selector_prints_its_own_ring() {
    for ring in 0..4 {
        let text = format!("{:?}", Selector::from_bits(0x18 | ring));
        assert!(text.ends_with(&format!("(GDT[3], RPL {ring})")), "{text}");
    }
}

#[test]
fn a_limit_is_never_cut() {
    assert_eq!(Limit::new(0x10_0000, false), None);
    let segment = Segment::up(VirtAddr::new(0), 0x12_3456, Permissions::READ).expect("does not wrap");
    assert_eq!(SegmentDescriptor::from_segment(&segment, Ring::Ring3), Err(EncodeError::Length));
}

#[test]
fn a_raw_table_can_be_read() {
    let Descriptor::Segment(segment) = Descriptor::decode(0x12CA_FB34_5678_BCDE) else { panic!("a segment") };
    assert_eq!((segment.base, segment.limit.last()), (0x1234_5678, 0xABCD_EFFF));
}
