//! Region maps against a plain list, below and above the size where the search changes.
use hectare_core::Extent;
use hectare_segmentation::RegionMap;
use hectare_segmentation::region_map::RegionMapError;
use proptest::prelude::*;

fn extent(start: u64, length: u64) -> Extent {
    Extent::new(start, length).expect("not empty")
}

fn equal_to_a_list<const N: usize>(ops: &[(bool, u64, u64)]) -> Result<(), TestCaseError> {
    let mut map = RegionMap::<u64, N>::EMPTY;
    let mut list: Vec<Extent> = Vec::new();
    for (at, &(insert, start, length)) in ops.iter().enumerate() {
        if insert {
            let new = extent(start, length);
            let overlap =
                list.iter().copied().filter(|other| other.overlaps(new)).min_by_key(|other| other.start());
            let expected = match overlap {
                Some(other) => Err(RegionMapError::Overlap(other)),
                None if list.len() == N => Err(RegionMapError::Full),
                None => Ok(()),
            };
            prop_assert_eq!(map.insert(new, at as u64), expected);
            if expected.is_ok() {
                list.push(new);
            }
        } else {
            let found = list.iter().position(|other| other.start() <= start && start < other.end());
            prop_assert_eq!(map.remove(start).map(|(region, _)| region), found.map(|at| list.remove(at)));
        }
        list.sort_by_key(|region| region.start());
        prop_assert!(map.iter().map(|(region, _)| region).eq(list.iter().copied()));
        for probe in (0..300).chain([u64::MAX]) {
            let expected = list.iter().copied().find(|other| other.start() <= probe && probe < other.end());
            prop_assert_eq!(map.find(probe).map(|(region, _)| region), expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn few(ops in prop::collection::vec((any::<bool>(), 0_u64..280, 1_u64..40), 0..40)) {
        equal_to_a_list::<6>(&ops)?;
    }

    #[test]
    fn many(ops in prop::collection::vec((prop::bool::weighted(0.8), 0_u64..290, 1_u64..6), 0..120)) {
        equal_to_a_list::<64>(&ops)?;
    }
}

#[test]
fn an_access_may_span_regions_that_touch() {
    let mut map = RegionMap::<(), 4>::EMPTY;
    for (start, length) in [(0x1000, 0x1000), (0x2000, 0x800), (0x3000, 0x1000)] {
        map.insert(extent(start, length), ()).expect("room");
    }
    assert!(map.covers(extent(0x1FFF, 2)));
    assert!(!map.covers(extent(0x2700, 0x200)));
}
