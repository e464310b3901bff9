//! The index of areas beside a sorted vector.

use core::num::NonZero;

use hectare_core::{AllocError, CheckInvariants, Order, Page, PageRun, Permissions};
use hectare_paging::space::index::{
    AreaIndex, Direction, GapRequest, HeapNodes, IndexError, Node, NodeStore,
};
use hectare_paging::space::{Area, Backing, ObjectId};
use hectare_testkit::stand_in::{Failing, NaiveHeap, Schedule};
use proptest::prelude::*;

const RIGHTS: Permissions = Permissions::READ.union(Permissions::USER);

fn area(first: u64, count: u64) -> Area {
    Area::new(PageRun::new(Page::new(first), count).unwrap(), RIGHTS)
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    Find(u64),
    Split(u64),
    Join(u64),
    Gap { count: u64, align: u8, low: u64, high: u64, down: bool },
}

fn op(space: u64) -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..space, 1..12u64).prop_map(|(first, count)| Op::Insert(first, count)),
        3 => (0..space).prop_map(Op::Remove),
        1 => (0..space).prop_map(Op::Find),
        2 => (0..space).prop_map(Op::Split),
        2 => (0..space).prop_map(Op::Join),
        2 => (1..40u64, 0..5u8, 0..space, 0..space, any::<bool>())
            .prop_map(|(count, align, low, high, down)| Op::Gap { count, align, low, high, down }),
    ]
}

/// Every place, one after the other.
fn gap_by_trying(
    model: &[(u64, u64)],
    count: u64,
    align: u64,
    low: u64,
    high: u64,
    down: bool,
) -> Option<u64> {
    let free = |start: u64| model.iter().all(|(first, end)| start + count <= *first || *end <= start);
    let mut starts = (low..high).filter(|start| start % align == 0 && start + count <= high && free(*start));
    if down { starts.next_back() } else { starts.next() }
}

fn run<N: NodeStore>(mut index: AreaIndex<N>, ops: Vec<Op>, space: u64) -> Result<(), TestCaseError> {
    let mut model: Vec<(u64, u64)> = vec![];
    for op in ops {
        match op {
            Op::Insert(first, count) => {
                let overlaps = model.iter().any(|(f, e)| first < *e && *f < first + count);
                match index.insert(area(first, count)) {
                    Ok(()) => {
                        prop_assert!(!overlaps);
                        let at = model.partition_point(|(f, _)| *f < first);
                        model.insert(at, (first, first + count));
                    }
                    Err(IndexError::Overlap) => prop_assert!(overlaps),
                    Err(error) => {
                        prop_assert!(!overlaps && error == IndexError::NoNode(AllocError::OutOfMemory))
                    }
                }
            }
            Op::Remove(near) => {
                // The area at or above, so that most removals find one.
                let Some(at) = model.iter().position(|(_, e)| *e > near) else { continue };
                let (first, end) = model.remove(at);
                let removed = index.remove(Page::new(first)).unwrap();
                prop_assert_eq!((removed.first().number(), removed.end().number()), (first, end));
                prop_assert!(index.remove(Page::new(first)).is_none());
            }
            Op::Split(page) => {
                let inside = model.iter().position(|(f, e)| *f < page && page < *e);
                match (index.split(Page::new(page)), inside) {
                    (Ok(()), Some(at)) => {
                        model.insert(at + 1, (page, model[at].1));
                        model[at].1 = page;
                    }
                    (split, inside) => prop_assert!(split.is_ok() || inside.is_some()),
                }
            }
            Op::Join(near) => {
                // The first place at or above where two areas meet, so that most joins find one.
                let Some(at) = model.windows(2).position(|w| w[0].1 == w[1].0 && w[1].0 >= near) else {
                    continue;
                };
                index.join(Page::new(model[at].1));
                model[at].1 = model.remove(at + 1).1;
            }
            Op::Find(page) => {
                let pair = |area: Area| (area.first().number(), area.end().number());
                let found = index.find(Page::new(page)).map(pair);
                prop_assert_eq!(found, model.iter().copied().find(|(f, e)| *f <= page && page < *e));
                let after = index.at_or_after(Page::new(page)).map(pair);
                prop_assert_eq!(after, model.iter().copied().find(|(_, e)| page < *e));
                let before = index.before(Page::new(page)).map(pair);
                prop_assert_eq!(before, model.iter().copied().rfind(|(f, _)| *f < page));
            }
            Op::Gap { count, align, low, high, down } => {
                let Some(window) = PageRun::new(Page::new(low.min(high)), low.abs_diff(high)) else {
                    continue;
                };
                let request = GapRequest {
                    count: NonZero::new(count).unwrap(),
                    align: Order::new(align).unwrap(),
                    window,
                    direction: if down { Direction::TopDown } else { Direction::BottomUp },
                };
                let found = index.gap(&request).map(Page::number);
                let (low, high) = (low.min(high), low.max(high));
                let tried = |count| gap_by_trying(&model, count, 1, low, high, down);
                if align == 0 {
                    prop_assert_eq!(found, tried(count));
                } else if let Some(start) = found {
                    let roomy = gap_by_trying(&model, count, 1 << align, start, start + count, true);
                    prop_assert_eq!(Some(start), roomy, "a place that is not free or not aligned");
                    prop_assert!(low <= start && start + count <= high);
                } else {
                    prop_assert_eq!(gap_by_trying(&model, count, 1 << align, low, high, down), None);
                }
            }
        }
        index.check_invariants().map_err(|violation| TestCaseError::fail(violation.to_string()))?;
        prop_assert_eq!(index.len(), model.len());
    }
    let all: Vec<_> = index.iter().map(|area| (area.first().number(), area.end().number())).collect();
    prop_assert_eq!(all, model);
    let _ = space;
    Ok(())
}

/// Under Miri, which takes a thousand times as long, a few short cases: what counts there is how nodes are reached.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    if cfg!(miri) { ProptestConfig { cases: 3, failure_persistence: None, ..usual } } else { usual }
}

/// How many operations a case may have.
const fn most(usual: usize) -> usize {
    if cfg!(miri) { 48 } else { usual }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn the_index_is_a_sorted_vector(ops in prop::collection::vec(op(900), 1..most(600))) {
        run(AreaIndex::new([Node::EMPTY; 64]), ops, 900)?;
    }

    #[test]
    fn a_store_that_is_full_or_refuses_changes_nothing(
        ops in prop::collection::vec(op(300), 1..most(300)), nodes in 1usize..6, period in 0u64..4,
    ) {
        let mut store = vec![Node::EMPTY; nodes];
        run(AreaIndex::new(&mut store[..]), ops.clone(), 300)?;
        let (_arena, region) = hectare_testkit::arena::Arena::with_region(1 << 16, 4096, 0);
        let mut heap = NaiveHeap::new();
        // SAFETY: the region is the arena's, given away once, and the arena outlives the heap.
        unsafe { hectare_core::RegionHeap::add_region(&mut heap, region) }.unwrap();
        run(AreaIndex::new(HeapNodes::new(Failing::new(&mut heap, Schedule::Every(period)))), ops, 300)?;
        prop_assert!(hectare_testkit::drive::HeapUnderTest::check_empty(&heap).is_ok(), "the nodes went back");
    }
}

#[test]
fn ten_thousand_areas_in_any_order() {
    for order in 0..3u64 {
        let mut store = vec![Node::EMPTY; 4096];
        let mut index = AreaIndex::new(&mut store[..]);
        let place = |nth: u64| match order {
            0 => nth,
            1 => 9_999 - nth,
            _ => nth * 7_919 % 10_000,
        };
        for nth in 0..10_000 {
            index.insert(area(place(nth) * 4, 3)).unwrap();
        }
        index.check_invariants().unwrap();
        assert_eq!(index.find(Page::new(4_000)).unwrap().first(), Page::new(4_000));
        assert!(index.find(Page::new(4_003)).is_none());
        for nth in 0..10_000 {
            assert!(index.remove(Page::new(place(nth * 3_333 % 10_000) * 4)).is_some());
            if nth % 999 == 0 {
                index.check_invariants().unwrap();
            }
        }
        assert!(index.is_empty());
        index.check_invariants().unwrap();
    }
}

#[test]
fn an_area_knows_what_lies_behind_its_parts() {
    let pages = PageRun::new(Page::new(16), 4).unwrap();
    let id = ObjectId::new(7).unwrap();
    let file = Area::new(pages, RIGHTS).with_backing(Backing::Object { id, offset: 3 }).unwrap();
    assert_eq!(file.backing(), Backing::Object { id, offset: 3 });
    assert!(Area::new(pages, RIGHTS).with_backing(Backing::Device { frame: u64::MAX - 3 }).is_none());
    assert_eq!(Area::new(pages, RIGHTS).backing(), Backing::Anonymous);
}
