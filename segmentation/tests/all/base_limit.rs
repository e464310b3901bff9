//! Base and limit: the first and last legal byte, the first illegal one, straddling, empty, the top of the space.
use hectare_core::VirtAddr;
use hectare_segmentation::BaseLimit;
use proptest::prelude::*;

fn range(base: u64, length: u64) -> BaseLimit {
    BaseLimit::new(VirtAddr::new(base), length).expect("does not wrap")
}

#[test]
fn process_b_of_the_chapter() {
    let process = range(0x30_0000, 0x40_0000);
    let legal = |address| process.contains(VirtAddr::new(address));
    assert!(!legal(0x2F_FFFF) && legal(0x30_0000) && legal(0x6F_FFFF) && !legal(0x70_0000));
}

#[test]
fn an_access_that_straddles_the_limit_is_refused() {
    let process = range(0x1000, 0x1000);
    assert_eq!(process.relocate(0xFFC, 4), Some(VirtAddr::new(0x1FFC)));
    assert_eq!(process.relocate(0xFFD, 4), None);
    assert!(!process.contains_range(VirtAddr::new(0xFFF), 2), "straddles the base");
}

#[test]
fn limit_zero_permits_nothing() {
    let empty = range(0x1000, 0);
    assert!(!empty.contains(VirtAddr::new(0x1000)));
    assert_eq!(empty.relocate(0, 0), None);
}

#[test]
fn the_top_of_the_address_space_does_not_overflow() {
    let top = range(u64::MAX - 0xF, 0x10);
    assert_eq!(top.relocate(0xF, 1), Some(VirtAddr::new(u64::MAX)));
    assert_eq!(top.relocate(0xF, 2), None);
    assert_eq!(top.relocate(0x10, 1), None);
    assert!(!top.contains(VirtAddr::new(0)));
    assert_eq!(BaseLimit::new(VirtAddr::new(u64::MAX - 0xF), 0x11), None);
    assert!(BaseLimit::new(VirtAddr::new(u64::MAX), 0).is_some(), "empty ranges do not wrap");
}

proptest! {
    #[test]
    fn equal_to_arithmetic_without_wrapping(base: u64, length: u64, offset: u64, bytes in 0_u64..64) {
        let legal = u128::from(offset) < u128::from(length) && u128::from(offset) + u128::from(bytes) <= u128::from(length);
        match BaseLimit::new(VirtAddr::new(base), length) {
            Some(range) => {
                let sum = u128::from(base) + u128::from(offset);
                prop_assert_eq!(range.relocate(offset, bytes).map(|a| u128::from(a.value())), legal.then_some(sum));
            }
            None => prop_assert!(u128::from(base) + u128::from(length) > 1 << 64),
        }
    }
}
