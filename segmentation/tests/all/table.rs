//! Segment tables: the chapter's example, every cause of refusal, and equality with sets of bytes.
use hectare_core::{Access, Permissions, VirtAddr};
use hectare_segmentation::table::TableError;
use hectare_segmentation::{Absence, Cause, Segment, SegmentNumber, Slot, Table};
use proptest::prelude::*;

const RW: Permissions = Permissions::READ.union(Permissions::WRITE).union(Permissions::USER);
const RX: Permissions = Permissions::READ.union(Permissions::EXECUTE).union(Permissions::USER);

fn number(index: u32) -> SegmentNumber {
    SegmentNumber::new(index)
}

fn up(start: u64, length: u64, permissions: Permissions) -> Segment {
    Segment::up(VirtAddr::new(start), length, permissions).expect("does not wrap")
}

fn chapter() -> Table<[Slot; 8]> {
    let mut table = Table::EMPTY;
    for segment in [
        up(0x40_0000, 0x1_0000, RX),
        up(0x60_0000, 0x5000, RW),
        up(0x7FFF_0000, 0x1_0000, RW),
        up(0x80_0000, 0x2_0000, RW),
    ] {
        table.insert(segment).expect("room");
    }
    table
}

#[test]
fn the_chapters_table() {
    let table = chapter();
    let read = |segment, offset| {
        table.translate(number(segment), offset, 1, Access::user_read()).map(VirtAddr::value)
    };
    let cause =
        |segment, offset, access| table.translate(number(segment), offset, 1, access).unwrap_err().cause;
    assert_eq!(read(1, 0x1234), Ok(0x0060_1234));
    assert_eq!(read(1, 0x4FFF), Ok(0x0060_4FFF));
    assert_eq!(read(0, 0xFFFF), Ok(0x0040_FFFF));
    assert_eq!(read(2, 0xFFFF), Ok(0x7FFF_FFFF));
    assert_eq!(read(3, 0x1_FFFF), Ok(0x0081_FFFF));
    assert_eq!(cause(1, 0x5000, Access::user_read()), Cause::Limit { first: 0, length: 0x5000 });
    assert_eq!(cause(0, 0, Access::user_write()), Cause::Protection { permissions: RX });
    assert_eq!(cause(1, 0, Access::user_execute()), Cause::Protection { permissions: RW });
    assert_eq!(cause(4, 0, Access::user_read()), Cause::NoSegment);
    assert_eq!(cause(400, 0, Access::user_read()), Cause::NoSegment);
}

#[test]
fn a_fault_tells_address_access_and_cause() {
    let fault = chapter().translate(number(1), 0x5000, 4, Access::user_write()).unwrap_err();
    let text = fault.to_string();
    assert_eq!(
        text,
        "user write of 4 bytes at segment 1, offset 0x5000: outside the segment's 0x5000 bytes from offset 0x0"
    );
}

#[test]
fn causes_in_their_order() {
    let mut table = Table::<[Slot; 2]>::EMPTY;
    let kernel = up(0x1000, 0x10, RW - Permissions::USER);
    table.insert(kernel.absent(Absence::Unallocated)).expect("room");
    let cause = |table: &Table<_>, offset, bytes, access| {
        table.translate(number(0), offset, bytes, access).unwrap_err().cause
    };
    assert_eq!(cause(&table, 0x99, 1, Access::user_execute()), Cause::Privilege);
    assert_eq!(
        cause(&table, 0x99, 1, Access::kernel_execute()),
        Cause::Protection { permissions: kernel.permissions() }
    );
    assert_eq!(cause(&table, 0x99, 1, Access::kernel_read()), Cause::NotPresent(Absence::Unallocated));
    table.replace(number(0), kernel).expect("there");
    assert_eq!(cause(&table, u64::MAX, 2, Access::kernel_read()), Cause::Overflow);
    assert_eq!(cause(&table, 0xF, 2, Access::kernel_read()), Cause::Limit { first: 0, length: 0x10 });
}

#[test]
fn an_expand_down_stack() {
    let stack = Segment::down(VirtAddr::new(0x7FFF_0000), 0x1_0000, 0xFFFF_FFFF, RW).expect("fits");
    let at = |offset, bytes| stack.translate(offset, bytes, Access::user_write()).map(VirtAddr::value);
    assert_eq!(at(0xFFFF_0000, 1), Some(0x7FFF_0000));
    assert_eq!(at(0xFFFF_FFFF, 1), Some(0x7FFF_FFFF));
    assert_eq!(at(0xFFFE_FFFF, 1), None);
    assert_eq!(at(0xFFFF_FFFF, 2), None);
    assert!(Segment::down(VirtAddr::new(0), 0x1_0001, 0xFFFF, RW).is_err(), "longer than its offsets");
}

#[test]
fn places() {
    let mut table = Table::<[Slot; 2]>::EMPTY;
    let segment = up(0, 1, RW);
    assert_eq!(table.insert_at(number(2), segment), Err(TableError::NoSuchPlace));
    assert_eq!(table.remove(number(0)), Err(TableError::Empty));
    assert_eq!(table.replace(number(0), segment), Err(TableError::Empty));
    assert_eq!(table.insert_at(number(1), segment), Ok(()));
    assert_eq!(table.insert_at(number(1), segment), Err(TableError::Occupied));
    assert_eq!(table.insert(segment), Ok(number(0)));
    assert_eq!(table.insert(segment), Err(TableError::Full));
    assert_eq!(table.remove(number(1)), Ok(segment));
    assert_eq!(table.iter().count(), 1);
}

#[test]
fn shared_memory_has_every_holder() {
    let mut table = chapter();
    let reader = up(0x60_1000, 0x100, RX);
    table.insert(reader).expect("room");
    let holders: Vec<_> = table.holders(VirtAddr::new(0x60_1004)).collect();
    assert_eq!(holders, [(number(1), 0x1004), (number(4), 4)]);
    assert_eq!(table.holders(VirtAddr::new(0x60_5000)).count(), 0);
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let place = (0_u64..200, 0_u64..100, 0_u8..16, any::<bool>(), 0_u64..4);
    place.prop_map(|(start, length, rights, down, absence)| {
        // Near the top of the address space, where sums wrap.
        let start = VirtAddr::new(u64::MAX - 299 + start);
        let rights = Permissions::from_bits_truncate(rights);
        let segment = if down {
            Segment::down(start, length, u64::MAX - 7, rights)
        } else {
            Segment::up(start, length, rights)
        };
        let segment = segment.expect("ends below the top");
        if absence == 0 { segment.absent(Absence::Swapped(3)) } else { segment }
    })
}

proptest! {
    /// Legal is exactly: present, permitted, and every byte one of the segment's.
    #[test]
    fn equal_to_a_set_of_bytes(segment in any_segment(), offset in prop_oneof![0_u64..220, (0_u64..220).prop_map(|x| u64::MAX - x)],
                               bytes in 1_u64..8, kind in 0..6) {
        let access = [Access::kernel_read(), Access::kernel_write(), Access::kernel_execute(),
                      Access::user_read(), Access::user_write(), Access::user_execute()][kind as usize];
        let first = u128::from(segment.first());
        let has = |byte: u128| byte >= first && byte < first + u128::from(segment.length());
        let inside = (0..u128::from(bytes)).all(|byte| has(u128::from(offset) + byte));
        let legal = inside && segment.permissions().allow(access) && segment.absence().is_none();
        let expected = legal.then(|| VirtAddr::new(segment.start().value() + (offset - segment.first())));
        prop_assert_eq!(segment.translate(offset, bytes, access), expected);
        prop_assert_eq!(segment.refusal(offset, bytes, access).is_none(), legal);
        if let Some(address) = expected {
            prop_assert_eq!(segment.offset_of(address), Some(offset));
        }
    }
}
