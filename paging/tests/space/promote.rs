//! Huge pages made of small ones.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Page, PageRun, PageSize, Permissions, VirtAddr};
use hectare_paging::format::X86_64;
use hectare_paging::space::{
    AddressSpace, Advice, AreaFlags, How, HugePages, MapRequest, Move, Place, Promoted, Settings, SpaceError,
};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use crate::machine::{Handle, Machine, access};
use crate::processes::machine;

type F = X86_64<4>;
type Space<'m> = AddressSpace<F, Handle<'m, PlainFrames<12>, ArenaWindow>>;
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);
/// The first page of a group.
const FIRST: Page = Page::new(0x400);
const COUNT: u64 = 512;

fn space(machine: &Machine<PlainFrames<12>, ArenaWindow>, settings: fn(Settings) -> Settings) -> Space<'_> {
    let window = PageRun::new(Page::new(16), 1 << 30).unwrap();
    let settings = settings(Settings { huge: HugePages::Never, ..Settings::new(window) });
    let mut space = AddressSpace::new(machine.kernel(), settings).unwrap();
    let request = MapRequest::anonymous(NonZero::new(2 * COUNT).unwrap(), RW);
    space.map(request.at(Place::Fixed(FIRST))).unwrap();
    space
}

fn at(nth: u64) -> VirtAddr {
    VirtAddr::new((FIRST.number() + nth) << 12)
}

fn write(machine: &Machine<PlainFrames<12>, ArenaWindow>, space: &mut Space<'_>, nth: u64, value: u64) {
    let (place, _) = access(space, at(nth), Access::user_write()).unwrap();
    machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[..8].copy_from_slice(&value.to_le_bytes()));
}

fn read(machine: &Machine<PlainFrames<12>, ArenaWindow>, space: &mut Space<'_>, nth: u64) -> u64 {
    let (place, _) = access(space, at(nth), Access::user_read()).unwrap();
    machine
        .bytes(place.split(PageSize::SIZE_4K).0, |bytes| u64::from_le_bytes(bytes[..8].try_into().unwrap()))
}

fn huge(space: &Space<'_>) -> u64 {
    space.usage(&space.areas().find(FIRST).unwrap()).huge
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn scattered_pages_are_copied_to_one_run_and_their_frames_given_up() {
    let machine = machine(4096);
    let mut space = space(&machine, |settings| settings);
    for nth in 0..COUNT {
        write(&machine, &mut space, nth * 7 % COUNT, nth * 7 % COUNT + 5);
    }
    let used = machine.used().0;
    assert_eq!(space.promote(Page::new(FIRST.number() + 77)), Ok(Promoted::Copied));
    assert_eq!((huge(&space), space.resident(), space.counts().promoted), (COUNT, COUNT, 1));
    assert_eq!(machine.used().0, used - 1, "the table is free");
    space.check_invariants().unwrap();
    for nth in 0..COUNT {
        assert_eq!(read(&machine, &mut space, nth), nth + 5);
    }
    assert_eq!(space.promote(FIRST), Ok(Promoted::Already));
    // Whoever shares it copies single pages.
    let mut child = space.fork().unwrap();
    write(&machine, &mut child, 9, 99);
    assert_eq!((read(&machine, &mut space, 9), read(&machine, &mut child, 9)), (14, 99));
    child.destroy();
    space.destroy();
    assert_eq!((machine.used().0, machine.users()), (0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn frames_that_are_consecutive_stay() {
    let machine = machine(4096);
    let mut space = space(&machine, |settings| Settings { huge: HugePages::Always, ..settings });
    write(&machine, &mut space, 3, 33);
    assert_eq!(huge(&space), COUNT);
    // A part with other rights, which come back: small pages on the frames of a huge one.
    space.protect(FIRST, 10, Permissions::READ).unwrap();
    assert_eq!(space.promote(FIRST), Err(SpaceError::Unsuitable { page: FIRST }), "two areas");
    space.protect(FIRST, 10, RW).unwrap();
    assert_eq!(huge(&space), 0);
    let used = machine.used().0;
    assert_eq!(space.promote(FIRST), Ok(Promoted::InPlace));
    assert_eq!((huge(&space), machine.used().0), (COUNT, used - 1));
    assert_eq!(read(&machine, &mut space, 3), 33);
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn what_does_not_suit_stays_small() {
    let machine = machine(4096);
    let zero = machine.zero_frame();
    let mut space = space(&machine, |settings| settings);
    let page = |nth: u64| Page::new(FIRST.number() + nth);
    assert_eq!(space.promote(page(0)), Err(SpaceError::Hole { page: page(0) }), "nothing is there");
    assert_eq!(space.promote(Page::new(0x10)), Err(SpaceError::Hole { page: Page::new(0x10) }), "no area");
    for nth in (0..COUNT).filter(|nth| *nth != 300) {
        write(&machine, &mut space, nth, nth);
    }
    assert_eq!(space.promote(page(4)), Err(SpaceError::Hole { page: page(300) }));
    write(&machine, &mut space, 300, 300);
    let child = space.fork().unwrap();
    assert_eq!(space.promote(page(4)), Err(SpaceError::Unsuitable { page: page(0) }), "shared");
    child.destroy();
    machine.ration(Some(0));
    let refused = space.promote(page(4));
    assert!(matches!(refused, Err(SpaceError::Frames(_))), "{refused:?}");
    machine.ration(None);
    space.evict(page(8)).unwrap();
    assert_eq!(space.promote(page(4)), Err(SpaceError::Hole { page: page(8) }), "swapped out");
    assert_eq!(read(&machine, &mut space, 8), 8);
    space.advise(page(0), COUNT, Advice::NoHuge).unwrap();
    assert_eq!(space.promote(page(4)), Err(SpaceError::Unsuitable { page: page(4) }), "not wanted");
    space.advise(page(0), COUNT, Advice::Huge).unwrap();
    assert_eq!(space.promote(page(4)), Ok(Promoted::Copied));
    assert!((0..COUNT).all(|nth| read(&machine, &mut space, nth) == nth));
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!((machine.used().0, machine.users()), (1, 0), "{zero:?} is the kernel's");
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_step_of_the_background_finds_what_is_welcome() {
    let machine = machine(4096);
    let zero = machine.zero_frame();
    let mut space = space(&machine, |settings| settings);
    space.set(Settings { huge: HugePages::Advised, ..*space.settings() });
    for nth in 0..2 * COUNT {
        write(&machine, &mut space, nth * 11 % (2 * COUNT), 1);
    }
    assert_eq!(space.promote_some(Page::new(0), 10).promoted, 0, "nobody asked");
    space.advise(FIRST, 2 * COUNT, Advice::Huge).unwrap();
    let scan = space.promote_some(Page::new(0), 1);
    assert_eq!((scan.promoted, scan.next), (1, Some(Page::new(FIRST.number() + COUNT))));
    let scan = space.promote_some(scan.next.unwrap(), 5);
    assert_eq!((scan.promoted, scan.next), (1, None));
    assert_eq!(huge(&space), 2 * COUNT);
    // Pages of the zero frame become zeros of the huge page.
    space.set(Settings { huge: HugePages::Never, ..*space.settings() });
    space.destroy();
    let window = PageRun::new(Page::new(16), 1 << 30).unwrap();
    let settings = Settings { huge: HugePages::Never, zero_frame: Some(zero), ..Settings::new(window) };
    let mut space = AddressSpace::<F, _>::new(machine.kernel(), settings).unwrap();
    let request = MapRequest::anonymous(NonZero::new(COUNT).unwrap(), RW).with(AreaFlags::HUGE);
    space.map(request.at(Place::Fixed(FIRST))).unwrap();
    for nth in 0..COUNT {
        if nth % 9 == 0 {
            write(&machine, &mut space, nth, nth)
        } else {
            assert_eq!(read(&machine, &mut space, nth), 0)
        }
    }
    assert_eq!(space.promote(FIRST), Ok(Promoted::Copied));
    for nth in 0..COUNT {
        assert_eq!(read(&machine, &mut space, nth), if nth % 9 == 0 { nth } else { 0 });
    }
    space.destroy();
    assert_eq!((machine.used().0, machine.users()), (1, 0));
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_move_takes_tables_and_huge_pages_whole() {
    let machine = machine(4096);
    let mut space = space(&machine, |settings| settings);
    for nth in 0..2 * COUNT {
        write(&machine, &mut space, nth, nth + 1);
    }
    space.advise(FIRST, COUNT, Advice::Huge).unwrap();
    space.promote(FIRST).unwrap();
    space.advise(FIRST, COUNT, Advice::NoHuge).unwrap();
    space.advise(FIRST, 2 * COUNT, Advice::NoHuge).unwrap();
    let count = NonZero::new(2 * COUNT + 40).unwrap();
    // Something just behind, so that it cannot grow in place.
    let behind = MapRequest::anonymous(NonZero::new(1).unwrap(), RW)
        .at(Place::Fixed(Page::new(FIRST.number() + 2 * COUNT)));
    space.map(behind).unwrap();
    let calls = machine.tlb.calls.get();
    let used = machine.used().0;
    let new = space.remap(FIRST, 2 * COUNT, count, Move::May).unwrap();
    assert_eq!(new.number() % COUNT, FIRST.number() % COUNT, "aligned alike");
    assert!(machine.used().0 <= used + 2, "a table for its place, no more");
    assert!(machine.tlb.calls.get() - calls <= 3, "no page by itself");
    space.check_invariants().unwrap();
    let area = space.areas().find(new).unwrap();
    assert_eq!((space.usage(&area).huge, space.usage(&area).resident), (COUNT, 2 * COUNT));
    for nth in 0..2 * COUNT {
        let address = VirtAddr::new((new.number() + nth) << 12);
        let (place, faults) = access(&mut space, address, Access::user_read()).unwrap();
        assert_eq!(faults, 0);
        let value = machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[0]);
        assert_eq!(value, (nth + 1) as u8);
    }
    let fresh =
        space.handle_fault(VirtAddr::new((new.number() + 2 * COUNT) << 12), Access::user_read()).unwrap();
    assert!(matches!(fresh, hectare_paging::space::Handled::Mapped { how: How::Zeroed, .. }));
    space.destroy();
    assert_eq!((machine.used().0, machine.users()), (0, 0));
}
