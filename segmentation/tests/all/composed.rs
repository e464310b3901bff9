//! Segmentation followed by paging, in both manners.
use core::num::NonZero;
use std::collections::BTreeMap;

use hectare_core::{Access, Permissions, PhysAddr, Translate, Translation, VirtAddr};
use hectare_segmentation::{
    Cause, PagedSegments, Segment, SegmentNumber, Segmented, SegmentedFault, Slot, Table, Unpaged,
};

const RW: Permissions = Permissions::READ.union(Permissions::WRITE).union(Permissions::USER);
const PAGE: u64 = 4096;

#[derive(Clone, Debug, Default)]
struct Pages(BTreeMap<u64, (u64, bool)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {0:#x} refuses")]
struct Refused(u64);

impl Translate for Pages {
    type Fault = Refused;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, Refused> {
        let (page, offset) = (address.value() / PAGE, address.value() % PAGE);
        match self.0.get(&page) {
            Some(&(frame, writable)) if writable || access != Access::user_write() => Ok(Translation {
                address: PhysAddr::new(frame * PAGE + offset),
                length: NonZero::new(PAGE - offset).expect("within the page"),
            }),
            _ => Err(Refused(page)),
        }
    }
}

fn bytes(count: u64) -> NonZero<u64> {
    NonZero::new(count).expect("some bytes")
}

fn one_segment(start: u64, length: u64) -> Table<[Slot; 2]> {
    let mut table = Table::EMPTY;
    table.insert(Segment::up(VirtAddr::new(start), length, RW).expect("does not wrap")).expect("room");
    table
}

const FIRST: SegmentNumber = SegmentNumber::new(0);

#[test]
fn segment_then_page() {
    // The chapter's segment 1 at linear 0x1000 and page 1 at frame 7.
    let both = Segmented { segments: one_segment(0x1000, 0x1800), paging: Pages([(1, (7, true))].into()) };
    let at = |offset, count| both.translate(FIRST, offset, bytes(count), Access::user_read());
    assert_eq!(at(0x234, 4).map(|run| run.address), Ok(PhysAddr::new(0x7234)));
    assert_eq!(at(0xFFE, 4).map(|run| run.length.get()), Ok(2), "the run ends with the page");
    assert!(
        matches!(at(0x17FE, 4), Err(SegmentedFault::Segment(fault)) if matches!(fault.cause, Cause::Limit { .. }))
    );
    assert_eq!(
        at(0x1000, 1),
        Err(SegmentedFault::Page { segment: FIRST, offset: 0x1000, fault: Refused(2) })
    );
}

#[test]
fn an_access_over_pages_is_a_row_of_runs() {
    let paging = Pages([(1, (7, true)), (2, (3, true))].into());
    let both = Segmented { segments: one_segment(0x1000, 0x4000), paging };
    let runs: Vec<_> = both.runs(FIRST, 0xFFE, bytes(4), Access::user_read()).collect();
    let run = |address, length| Ok(Translation { address: PhysAddr::new(address), length: bytes(length) });
    assert_eq!(runs, [run(0x7FFE, 2), run(0x3000, 2)]);
    let runs: Vec<_> = both.runs(FIRST, 0x1FFF, bytes(2), Access::user_read()).collect();
    let fault = Err(SegmentedFault::Page { segment: FIRST, offset: 0x2000, fault: Refused(3) });
    assert_eq!(runs, [run(0x3FFF, 1), fault]);
    assert_eq!(
        both.runs(FIRST, 0x3FFF, bytes(2), Access::user_read()).count(),
        1,
        "refused by the segment as a whole"
    );
}

#[test]
fn a_page_table_for_each_segment() {
    let mut segments = one_segment(0, 0x1004);
    segments.insert(Segment::up(VirtAddr::new(0), 0x10, RW).expect("fits")).expect("room");
    let page_tables = vec![Pages([(0, (5, true)), (1, (9, true))].into())];
    let both = PagedSegments { segments, page_tables };
    let at = |segment, offset, count| {
        both.translate(SegmentNumber::new(segment), offset, bytes(count), Access::user_read())
    };
    assert_eq!(at(0, 0x1000, 4).map(|run| run.address), Ok(PhysAddr::new(0x9000)));
    // The last page is mapped whole, the segment ends within it.
    assert!(matches!(at(0, 0x1001, 4), Err(SegmentedFault::Segment(_))));
    assert!(matches!(at(1, 0, 1), Err(SegmentedFault::Segment(fault)) if fault.cause == Cause::NoSegment));
}

#[test]
fn without_paging_the_memory_ends() {
    let both = Segmented { segments: one_segment(0xF00, 0x200), paging: Unpaged::new(bytes(0x1000)) };
    let at = |offset| both.translate(FIRST, offset, bytes(1), Access::user_read());
    assert_eq!(at(0xFF).map(|run| run.address), Ok(PhysAddr::new(0xFFF)));
    assert!(matches!(at(0x100), Err(SegmentedFault::Page { offset: 0x100, .. })));
}
