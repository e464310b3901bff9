//! The facade re-exports the crates of the family, and its types are theirs.

/// Compiles only if both names stand for one type.
fn same<T>(facade: T, own: T) -> (T, T) {
    (facade, own)
}

#[test]
fn the_vocabulary_stands_at_the_root() {
    let (facade, own) = same(hectare::Frame::new(7), hectare_core::Frame::new(7));
    assert_eq!(facade, own);
    let (facade, own) = same(hectare::AllocError::Fragmented, hectare_core::AllocError::Fragmented);
    assert_eq!(facade, own);
}

#[test]
fn the_modules_of_core_are_reachable() {
    let (facade, own) = same(
        hectare::frame_source::FrameRequest::order(hectare::Order::ZERO),
        hectare_core::FrameRequest::order(hectare_core::Order::ZERO),
    );
    assert_eq!(facade, own);
}

#[test]
fn the_traits_are_one() {
    fn by_own_trait(lock: &impl hectare_core::RawLock) -> Result<u32, hectare::Reentered> {
        lock.with(|| 7)
    }
    assert_eq!(by_own_trait(&hectare::NoLock::new()), Ok(7));
}

#[cfg(feature = "fit")]
#[test]
fn fit_is_the_crate_of_that_name() {
    let (facade, own) = same(hectare::fit::range::Node::<u64>::NEW, hectare_fit::range::Node::<u64>::NEW);
    assert_eq!(size_of_val(&facade), size_of_val(&own));
}

#[cfg(feature = "buddy")]
#[test]
fn buddy_is_the_crate_of_that_name() {
    let (facade, own) = same(hectare::buddy::Rows64, hectare_buddy::Rows64);
    assert_eq!(format!("{facade:?}"), format!("{own:?}"));
}

#[cfg(feature = "slab")]
#[test]
fn slab_is_the_crate_of_that_name() {
    let (facade, own) = same(hectare::slab::ByDefault, hectare_slab::ByDefault);
    assert_eq!(format!("{facade:?}"), format!("{own:?}"));
}

#[cfg(feature = "segmentation")]
#[test]
fn segmentation_is_the_crate_of_that_name() {
    let (facade, own) =
        same(hectare::segmentation::SegmentNumber::new(1), hectare_segmentation::SegmentNumber::new(1));
    assert_eq!(facade, own);
}
