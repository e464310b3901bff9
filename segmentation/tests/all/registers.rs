//! Loaded segments: a register translates as the table did when it was loaded, and refuses once the table changed.
use hectare_core::{Access, Permissions, VirtAddr};
use hectare_segmentation::{Absence, Cause, Segment, SegmentNumber, Slot, Table};

const RW: Permissions = Permissions::READ.union(Permissions::WRITE).union(Permissions::USER);

fn segment(start: u64) -> Segment {
    Segment::up(VirtAddr::new(start), 0x100, RW).expect("does not wrap")
}

#[test]
fn a_stale_register_refuses() {
    let mut table = Table::<[Slot; 4]>::EMPTY;
    let number = table.insert(segment(0x1000)).expect("room");
    let other = table.insert(segment(0x2000)).expect("room");
    let register = table.load(number, Access::user_read()).expect("present");
    let read = |table: &Table<_>| {
        table.translate_loaded(&register, 0x10, 4, Access::user_read()).map(VirtAddr::value)
    };
    assert_eq!(read(&table), Ok(0x1010));

    table.replace(other, segment(0x3000)).expect("there");
    assert_eq!(read(&table), Ok(0x1010), "another segment's change is none of its business");

    table.replace(number, segment(0x4000)).expect("there");
    assert_eq!(read(&table).unwrap_err().cause, Cause::Stale, "a moved segment");
    assert_eq!(
        register.translate(0x10, 4, Access::user_read()).map(VirtAddr::value),
        Ok(0x1010),
        "the hidden part stays"
    );

    let register = table.load(number, Access::user_read()).expect("present");
    table.remove(number).expect("there");
    table.insert_at(number, segment(0x4000)).expect("empty");
    assert!(!table.is_current(&register), "another segment at the same place");
}

#[test]
fn loading_refuses_what_no_access_can_do() {
    let mut table = Table::<[Slot; 4]>::EMPTY;
    let number = table.insert(segment(0x1000).absent(Absence::Swapped(7))).expect("room");
    let cause = |table: &Table<_>, number, access| table.load(number, access).unwrap_err().cause;
    assert_eq!(cause(&table, number, Access::user_read()), Cause::NotPresent(Absence::Swapped(7)));
    assert_eq!(cause(&table, number, Access::user_execute()), Cause::Protection { permissions: RW });
    assert_eq!(cause(&table, SegmentNumber::new(3), Access::user_read()), Cause::NoSegment);
    assert_eq!(cause(&table, SegmentNumber::new(9), Access::user_read()), Cause::NoSegment);
}

#[test]
fn a_program_may_pick_its_storage() {
    let mut slots = [Slot::EMPTY; 3];
    let mut borrowed = Table::new(&mut slots[..]);
    assert_eq!(borrowed.insert(segment(0)), Ok(SegmentNumber::new(0)));
    let mut owned = Table::new(vec![Slot::EMPTY; 2]);
    assert_eq!(owned.insert(segment(0)), Ok(SegmentNumber::new(0)));
    assert_eq!(owned.places(), 2);
}
