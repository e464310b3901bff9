//! The CPU's checks, in the cases that a CPU was seen to decide.
use hectare_core::AccessKind;
use hectare_segmentation::x86::{
    Exception, Kind, Limit, Loaded, Ring, Rule, SegmentDescriptor, Selector, TableView, audit,
};

fn data(last: u32, expand_down: bool, writable: bool, big: bool) -> SegmentDescriptor {
    let limit = Limit::from_last(last).expect("exact");
    SegmentDescriptor {
        limit,
        big,
        kind: Kind::Data { expand_down, writable },
        ..SegmentDescriptor::flat_data(Ring::Ring3)
    }
}

#[test]
fn accesses_at_the_limit() {
    let legal =
        |segment: SegmentDescriptor, offset, bytes, kind| segment.access(offset, bytes, kind).is_some();
    let (read, write) = (AccessKind::Read, AccessKind::Write);
    let up = data(0xFFF, false, true, true);
    assert!(legal(up, 0xFFF, 1, read) && !legal(up, 0x1000, 1, read));
    assert!(legal(up, 0xFFC, 4, read) && !legal(up, 0xFFD, 4, read));
    assert!(!legal(data(0xFFF, false, false, true), 0, 1, write));
    let down = data(0xFFF, true, true, true);
    assert!(!legal(down, 0xFFF, 1, read) && legal(down, 0x1000, 1, read) && legal(down, u32::MAX, 1, read));
    let small = data(0xFFF, true, true, false);
    assert!(
        legal(small, 0xFFFF, 1, read) && !legal(small, 0x1_0000, 1, read) && !legal(small, 0xFFFD, 4, read)
    );
    let pages = SegmentDescriptor { limit: Limit::new(1, true).expect("20 bits"), ..up };
    assert!(legal(pages, 0x1FFF, 1, read) && !legal(pages, 0x2000, 1, read));
    assert!(!legal(data(0xFFF, true, true, true), u32::MAX, 2, read), "wraps");
}

#[test]
fn loading() {
    let good = data(0xFFF, false, true, true);
    let execute_only =
        SegmentDescriptor { kind: Kind::Code { conforming: false, readable: false }, present: false, ..good };
    let kernel = SegmentDescriptor { ring: Ring::Ring0, ..good };
    let absent = SegmentDescriptor { present: false, ..good };
    let local = [good, absent, execute_only, kernel].map(SegmentDescriptor::encode);
    let tables = TableView { global: &[0], local: &local };
    let load = |bits| tables.load_data(Selector::from_bits(bits), Ring::Ring3);
    assert_eq!(load(0x07), Ok(Loaded::Segment(good)));
    assert_eq!(load(0x0F), Err(Exception::NotPresent(0x0C)));
    assert_eq!(load(0x17), Err(Exception::Protection(0x14)), "the type is tested before presence");
    assert_eq!(load(0x1F), Err(Exception::Protection(0x1C)), "privilege");
    assert_eq!(load(0x27), Err(Exception::Protection(0x24)), "beyond the table");
    assert_eq!(load(3), Ok(Loaded::Null));
    assert_eq!(Loaded::Null.access(0, 1, AccessKind::Read), Err(Exception::Protection(0)));
    let stack = |bits, ring| tables.load_stack(Selector::from_bits(bits), ring);
    assert_eq!(stack(0x0F, Ring::Ring3), Err(Exception::Stack(0x0C)));
    assert_eq!(stack(0x07, Ring::Ring0), Err(Exception::Protection(4)));
    assert_eq!(stack(0, Ring::Ring0), Err(Exception::Protection(0)));
    assert_eq!(Exception::Stack(4).vector(), (12, 4));
}

#[test]
fn jumps() {
    let code = SegmentDescriptor::flat_code32(Ring::Ring0);
    let conforming = SegmentDescriptor { kind: Kind::Code { conforming: true, readable: true }, ..code };
    let global = [0, code.encode(), conforming.encode()];
    let tables = TableView { global: &global, local: &[] };
    let jump = |bits, ring| tables.load_code(Selector::from_bits(bits), ring);
    assert_eq!(jump(0x08, Ring::Ring0), Ok(code));
    assert_eq!(jump(0x0B, Ring::Ring3), Err(Exception::Protection(8)));
    assert_eq!(jump(0x13, Ring::Ring3), Ok(conforming));
    assert_eq!(jump(0, Ring::Ring0), Err(Exception::Protection(0)));
}

#[test]
fn audits() {
    let rules = |entries: &[u64], long| {
        audit(entries, true, long).map(|finding| (finding.index, finding.rule)).collect::<Vec<_>>()
    };
    let user_code = SegmentDescriptor::flat_code32(Ring::Ring3).encode();
    let user_data = SegmentDescriptor::flat_data(Ring::Ring3).encode();
    assert_eq!(rules(&[0, user_code, user_data], false), [(1, Rule::WritableCode)]);
    assert_eq!(rules(&[0, user_code, user_data], true), []);
    assert_eq!(rules(&[7, 0x00EF_9A00_0000_FFFF], true), [(0, Rule::NullEntry), (1, Rule::LongAndBig)]);
    let task = [0x0000_8900_0000_0067, 0];
    assert_eq!(rules(&[0, task[0], task[1], user_data], true), []);
    assert_eq!(rules(&[0, task[0]], true), [(1, Rule::SecondHalf)]);
    assert_eq!(rules(&[0, 0x0000_8900_0000_0066, 0], true), [(1, Rule::ShortTaskState)]);
    assert_eq!(rules(&[0, 0x0000_8A00_0000_0000], true), [(1, Rule::ReservedType)]);
    assert_eq!(rules(&[0, 0x0000_8100_0000_0067], true), [(1, Rule::NotInLongMode)]);
    // A call gate for ring 3 (type C, DPL 3) to the kernel's code at selector 8.
    let kernel_code = SegmentDescriptor::flat_code32(Ring::Ring0).encode();
    assert_eq!(rules(&[0, kernel_code, 0x0000_EC00_0008_0000], false), [(2, Rule::OpenCallGate)]);
}
