//! Addresses, frames, runs, extents, rights and ratios: arithmetic that never wraps, against wider arithmetic.

use hectare_core::{
    Access, AccessKind, Extent, Fragmentation, Frame, FrameRequest, FrameRun, Order, PageRun, PageSize,
    Permissions, PhysAddr, Privilege, Ratio, Usage, VirtAddr,
};
use proptest::prelude::*;

/// Numbers near the borders as often as anywhere.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..16_u64,
        (0..16_u64).prop_map(|n| u64::MAX - n),
        (0..64_u32).prop_map(|n| 1 << n)
    ]
}

fn wide(value: Option<u64>) -> Option<u128> {
    value.map(u128::from)
}

fn fits(value: u128) -> Option<u128> {
    (value <= u128::from(u64::MAX)).then_some(value)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn addresses(a in number(), b in number(), log2 in 0_u8..64) {
        let (address, size) = (VirtAddr::new(a), PageSize::from_log2(log2).unwrap());
        let (wide_a, wide_b, bytes) = (u128::from(a), u128::from(b), 1_u128 << log2);
        prop_assert_eq!(wide(address.checked_add(b).map(VirtAddr::value)), fits(wide_a + wide_b));
        prop_assert_eq!(address.checked_sub(b).map(VirtAddr::value), a.checked_sub(b));
        prop_assert_eq!(address.checked_offset_from(VirtAddr::new(b)), a.checked_sub(b));
        prop_assert_eq!(u128::from(address.align_down(size).value()), wide_a / bytes * bytes);
        prop_assert_eq!(wide(address.align_up(size).map(VirtAddr::value)), fits(wide_a.div_ceil(bytes) * bytes));
        prop_assert_eq!(address.is_aligned(size), wide_a % bytes == 0);
        let (page, offset) = address.split(size);
        prop_assert_eq!(page.start(size).and_then(|start| start.checked_add(offset)), Some(address));
        prop_assert!(u128::from(offset) < bytes);
        prop_assert_eq!(VirtAddr::from(u64::from(address)), address);
    }

    #[test]
    fn frames(number in number(), count in number(), log2 in 0_u8..64) {
        let (frame, size) = (Frame::new(number), PageSize::from_log2(log2).unwrap());
        let (wide_number, bytes) = (u128::from(number), 1_u128 << log2);
        prop_assert_eq!(wide(frame.start(size).map(PhysAddr::value)), fits(wide_number * bytes));
        let order = Order::new(log2).unwrap();
        prop_assert_eq!(frame.is_aligned(order), wide_number % bytes == 0);
        prop_assert_eq!(frame.checked_add(count).map(Frame::number), number.checked_add(count));
        prop_assert_eq!(frame.checked_sub(count).map(Frame::number), number.checked_sub(count));
        let run = FrameRun::new(frame, count);
        prop_assert_eq!(run.is_some(), count != 0 && number.checked_add(count).is_some());
        if let Some(run) = run {
            prop_assert_eq!((run.first(), run.count(), run.end().number()), (frame, count, number + count));
            prop_assert_eq!(run.iter().next(), Some(frame));
            prop_assert_eq!(run.iter().next_back(), Some(Frame::new(number + count - 1)));
        }
        prop_assert_eq!(FrameRun::of_order(frame, order), FrameRun::new(frame, 1 << log2));
    }

    #[test]
    fn orders(frames in number()) {
        match Order::holding(frames) {
            Some(order) => {
                prop_assert!(order.frames() >= frames);
                prop_assert!(order == Order::ZERO || order.frames() / 2 < frames);
                prop_assert_eq!(FrameRequest::order(order).count.get(), order.frames());
            }
            None => prop_assert!(frames == 0 || frames > 1 << 63),
        }
        prop_assert_eq!(PageSize::from_bytes(frames).is_some(), frames.is_power_of_two());
        prop_assert_eq!(PageSize::from_bytes(frames).map_or(frames, PageSize::bytes), frames);
    }

    /// Runs and extents share units exactly as sets of numbers do.
    #[test]
    fn overlap_is_that_of_sets(a in 0..12_u64, m in 1..6_u64, b in 0..12_u64, n in 1..6_u64) {
        let (left, right) = ((a..a + m).collect::<Vec<_>>(), (b..b + n).collect::<Vec<_>>());
        let meet = left.iter().any(|unit| right.contains(unit));
        let inside = right.iter().all(|unit| left.contains(unit));
        let (x, y) = (Extent::new(a, m).unwrap(), Extent::new(b, n).unwrap());
        prop_assert_eq!((x.overlaps(y), x.contains(y)), (meet, inside));
        let (x, y) = (
            PageRun::new(hectare_core::Page::new(a), m).unwrap(),
            PageRun::new(hectare_core::Page::new(b), n).unwrap(),
        );
        prop_assert_eq!((x.overlaps(y), x.contains(y)), (meet, inside));
        prop_assert!(x.iter().map(hectare_core::Page::number).eq(left));
    }

    #[test]
    fn extents(start in number(), length in number()) {
        let extent = Extent::new(start, length);
        prop_assert_eq!(extent.is_some(), length != 0 && start.checked_add(length).is_some());
        if let Some(extent) = extent {
            prop_assert_eq!((extent.start(), extent.length(), extent.end()), (start, length, start + length));
            prop_assert!(extent.overlaps(extent) && extent.contains(extent));
        }
    }

    #[test]
    fn ratios(part in number(), whole in number(), factor in 1..1000_u64) {
        let ratio = Ratio::new(part, whole);
        prop_assert!(ratio.permille() <= 1000);
        if whole != 0 && part <= whole {
            prop_assert_eq!(u128::from(ratio.permille()), u128::from(part) * 1000 / u128::from(whole));
            prop_assert!((0.0..=1.0).contains(&ratio.as_f64()));
        }
        if let (Some(part), Some(whole)) = (part.checked_mul(factor), whole.checked_mul(factor)) {
            prop_assert_eq!(ratio, Ratio::new(part, whole));
        }
        if let (true, Some(more)) = (whole != 0, part.checked_add(1)) {
            prop_assert_ne!(ratio, Ratio::new(more, whole));
        }
    }
}

#[test]
fn a_ratio_of_nothing_is_zero() {
    for nothing in [Ratio::new(0, 0), Ratio::new(5, 0), Ratio::new(0, 5)] {
        assert_eq!((nothing, nothing.permille()), (Ratio::new(0, 1), 0));
        assert!(nothing.as_f64().abs() < f64::EPSILON);
    }
    assert_ne!(Ratio::new(5, 0), Ratio::new(5, 1));
    assert_eq!(Ratio::new(1, 3).to_string(), "33.3 %");
    assert_eq!(Ratio::new(u64::MAX, u64::MAX).to_string(), "100.0 %");
    assert_eq!(Ratio::new(u64::MAX, 1).permille(), 1000);
}

#[test]
fn figures_of_extremes() {
    assert_eq!(Usage::new(1, 10, 4).free, 6);
    assert_eq!(Usage::new(1, 10, 11).free, 0, "never wraps");
    assert_eq!(Fragmentation::new(8, 6, 2).external(), Ratio::new(1, 4));
    assert_eq!(Fragmentation::new(0, 0, 0).external(), Ratio::new(0, 1));
}

/// Every right against every access: 16 × 6, by the rule in words.
#[test]
fn rights_are_what_they_say() {
    for rights in (0..16).map(Permissions::from_bits_truncate) {
        for kind in [AccessKind::Read, AccessKind::Write, AccessKind::Execute] {
            let letter = match kind {
                AccessKind::Read => 'r',
                AccessKind::Write => 'w',
                AccessKind::Execute => 'x',
            };
            let kernel = rights.to_string().contains(letter);
            let user = kernel && format!("{rights:?}").ends_with('u');
            assert_eq!(rights.allow(Access { kind, privilege: Privilege::Kernel }), kernel);
            assert_eq!(rights.allow(Access { kind, privilege: Privilege::User }), user);
        }
    }
    assert_eq!((Permissions::READ | Permissions::EXECUTE).to_string(), "r-x");
    assert_eq!(Access::user_write().to_string(), "user write");
}

#[test]
fn sizes_have_borders() {
    assert_eq!((PageSize::from_log2(64), Order::new(64)), (None, None));
    assert_eq!(Order::holding((1 << 63) + 1), None);
    assert_eq!(Order::holding(1 << 63).map(Order::get), Some(63));
    assert_eq!(format!("{:?}", PhysAddr::new(0x1000)), "PhysAddr(0x1000)");
    assert_eq!(format!("{:?}", FrameRun::new(Frame::new(1), 2)), "Some(FrameRun[0x1, 0x3))");
}
