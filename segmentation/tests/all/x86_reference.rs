//! Reference values of descriptors: from manuals, other systems' tables, and read back from a CPU.
use hectare_core::{Permissions, VirtAddr};
use hectare_segmentation::Segment;
use hectare_segmentation::x86::{
    Descriptor, DescriptorTable, EncodeError, Limit, LongSystem, Ring, SegmentDescriptor, Selector,
    SelectorTable, SystemDescriptor, TableError,
};

const RW: Permissions = Permissions::READ.union(Permissions::WRITE);
const RX: Permissions = Permissions::READ.union(Permissions::EXECUTE);

fn accessed(segment: SegmentDescriptor) -> u64 {
    SegmentDescriptor { accessed: true, ..segment }.encode()
}

#[test]
fn flat_segments() {
    assert_eq!(SegmentDescriptor::flat_code32(Ring::Ring0).encode(), 0x00CF_9A00_0000_FFFF);
    assert_eq!(SegmentDescriptor::flat_data(Ring::Ring0).encode(), 0x00CF_9200_0000_FFFF);
    assert_eq!(SegmentDescriptor::flat_code32(Ring::Ring3).encode(), 0x00CF_FA00_0000_FFFF);
    assert_eq!(SegmentDescriptor::flat_data(Ring::Ring3).encode(), 0x00CF_F200_0000_FFFF);
    assert_eq!(SegmentDescriptor::code64(Ring::Ring0).encode(), 0x00AF_9A00_0000_FFFF);
    for raw in [0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0x00AF_9A00_0000_FFFF] {
        assert_eq!(Descriptor::decode(raw).encode(), raw);
    }
    let Descriptor::Segment(code) = Descriptor::decode(0x00AF_9A00_0000_FFFF) else { panic!("a segment") };
    assert!(code.long && !code.big && code.present && code.limit.last() == u32::MAX);
}

/// Linux's tables, which have the accessed bit set beforehand.
#[test]
fn linux_segments() {
    assert_eq!(accessed(SegmentDescriptor::code64(Ring::Ring0)), 0x00AF_9B00_0000_FFFF);
    assert_eq!(accessed(SegmentDescriptor::flat_code32(Ring::Ring0)), 0x00CF_9B00_0000_FFFF);
    assert_eq!(accessed(SegmentDescriptor::flat_data(Ring::Ring0)), 0x00CF_9300_0000_FFFF);
    assert_eq!(accessed(SegmentDescriptor::code64(Ring::Ring3)), 0x00AF_FB00_0000_FFFF);
    assert_eq!(accessed(SegmentDescriptor::flat_code32(Ring::Ring3)), 0x00CF_FB00_0000_FFFF);
    assert_eq!(accessed(SegmentDescriptor::flat_data(Ring::Ring3)), 0x00CF_F300_0000_FFFF);
}

/// The chapter's segments for ring 3. A CPU read each back with the accessed bit and with the same last offset.
#[test]
fn the_chapters_segments() {
    let encode = |segment: Result<Segment, _>| {
        SegmentDescriptor::from_segment(&segment.expect("does not wrap"), Ring::Ring3)
            .map(SegmentDescriptor::encode)
    };
    let up = |start, length, rights| Segment::up(VirtAddr::new(start), length, rights);
    assert_eq!(encode(up(0x40_0000, 0x1_0000, RX)), Ok(0x0040_FA40_0000_FFFF));
    assert_eq!(encode(up(0x60_0000, 0x5000, RW)), Ok(0x0040_F260_0000_4FFF));
    assert_eq!(encode(up(0x7FFF_0000, 0x1_0000, RW)), Ok(0x7F40_F2FF_0000_FFFF));
    assert_eq!(encode(up(0x80_0000, 0x2_0000, RW)), Ok(0x0041_F280_0000_FFFF));
    let stack = Segment::down(VirtAddr::new(0x7FFF_0000), 0x1_0000, 0xFFFF_FFFF, RW);
    assert_eq!(encode(stack), Ok(0x80CF_F600_0000_FFEF));
    let Descriptor::Segment(stack) = Descriptor::decode(0x80CF_F600_0000_FFEF) else { panic!("a segment") };
    assert_eq!((stack.base, stack.limit.last()), (0x8000_0000, 0xFFFE_FFFF));
}

#[test]
fn a_large_limit() {
    let segment = SegmentDescriptor {
        base: 0x1234_5678,
        limit: Limit::new(0xA_BCDE, true).expect("20 bits"),
        accessed: true,
        ..SegmentDescriptor::flat_code32(Ring::Ring3)
    };
    let raw = 0x12CA_FB34_5678_BCDE;
    assert_eq!(segment.encode(), raw);
    assert_eq!(Descriptor::decode(raw), Descriptor::Segment(segment));
    assert_eq!(segment.limit.last(), 0xABCD_EFFF);
}

#[test]
fn sixteen_bit_segments() {
    let small = Limit::from_last(0xFFFF).expect("in bytes");
    let code = SegmentDescriptor { limit: small, big: false, ..SegmentDescriptor::flat_code32(Ring::Ring0) };
    let data = SegmentDescriptor { limit: small, big: false, ..SegmentDescriptor::flat_data(Ring::Ring0) };
    assert_eq!((code.encode(), data.encode()), (0x0000_9A00_0000_FFFF, 0x0000_9200_0000_FFFF));
    assert_eq!(
        SegmentDescriptor { limit: small, ..SegmentDescriptor::flat_code32(Ring::Ring0) }.encode(),
        0x0040_9A00_0000_FFFF
    );
}

#[test]
fn a_task_state_of_64_bits() {
    let task = LongSystem::tss(0xFFFF_8000_1234_5678, 0x67).expect("long enough");
    assert_eq!(task.encode(), [0x1200_8934_5678_0067, 0x0000_0000_FFFF_8000]);
    assert_eq!(LongSystem::decode(task.encode()), Some(task));
    assert_eq!(LongSystem::decode([0x1200_8934_5678_0067, 1 << 40]), None, "bits that the CPU checks");
    assert_eq!(LongSystem::tss(0, 0x66), None);
    assert_eq!(SystemDescriptor::ldt(0, 8193), None);
}

#[test]
fn selectors() {
    let selector = |index, table, ring| Selector::new(index, table, ring).map(Selector::bits);
    assert_eq!(selector(1, SelectorTable::Global, Ring::Ring0), Some(0x08));
    assert_eq!(selector(3, SelectorTable::Global, Ring::Ring3), Some(0x1B));
    assert_eq!(selector(4, SelectorTable::Global, Ring::Ring3), Some(0x23));
    assert_eq!(selector(0, SelectorTable::Local, Ring::Ring3), Some(0x07));
    assert_eq!(selector(0x2000, SelectorTable::Local, Ring::Ring0), None);
    assert!((0..4).all(|bits| Selector::from_bits(bits).is_null()) && !Selector::from_bits(4).is_null());
}

#[test]
fn what_no_descriptor_gives_is_refused() {
    let refuse = |segment: Result<Segment, _>| {
        SegmentDescriptor::from_segment(&segment.expect("does not wrap"), Ring::Ring3).unwrap_err()
    };
    let up = |start, length, rights| Segment::up(VirtAddr::new(start), length, rights);
    assert_eq!(refuse(up(0, 0, RW)), EncodeError::Empty);
    assert_eq!(refuse(up(0, 0x10_0001, RW)), EncodeError::Length);
    assert_eq!(refuse(up(0xFFFF_FFFF, 2, RW)), EncodeError::Base);
    assert_eq!(
        refuse(up(0, 1, RW | Permissions::EXECUTE)),
        EncodeError::Permissions(RW | Permissions::EXECUTE)
    );
    assert_eq!(refuse(up(0, 1, Permissions::WRITE)), EncodeError::Permissions(Permissions::WRITE));
    assert_eq!(refuse(Segment::down(VirtAddr::new(0), 0x100, 0xFFF, RW)), EncodeError::Last);
}

#[test]
fn a_full_table_refuses() {
    let mut table = DescriptorTable::<3>::global();
    let data = SegmentDescriptor::flat_data(Ring::Ring3);
    assert_eq!(table.push(data).map(Selector::bits), Ok(0x0B));
    assert_eq!(
        table.push_long_system(LongSystem::tss(0, 103).expect("long enough")),
        Err(TableError::Full),
        "half fits"
    );
    assert_eq!(table.entries().len(), 2);
    assert_eq!(table.set(0, Descriptor::Segment(data)), Err(TableError::NoSuchEntry), "the null entry stays");
    assert_eq!(table.set(2, Descriptor::Segment(data)), Err(TableError::NoSuchEntry));
    assert_eq!(table.limit(), 15);
    let mut local = DescriptorTable::<1>::local();
    assert_eq!(local.checked_limit(), None);
    assert_eq!(local.push(data).map(Selector::bits), Ok(0x07));
    assert_eq!(local.push(data), Err(TableError::Full));
}
