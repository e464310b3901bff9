//! Where Linux is particular: what stays free around heaps and stacks, and advice about pages that are not all mapped.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::format::X86_64;
use hectare_paging::space::{
    AddressSpace, Advice, AreaFlags, Backing, HugePages, MapRequest, ObjectId, Place, Settings, SpaceError,
};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use crate::machine::{Handle, Machine};
use crate::processes::machine;

type F = X86_64<4>;
type Space<'m> = AddressSpace<F, Handle<'m, PlainFrames<12>, ArenaWindow>>;
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

fn space(machine: &Machine<PlainFrames<12>, ArenaWindow>) -> Space<'_> {
    let window = PageRun::new(Page::new(16), 1 << 20).unwrap();
    let settings = Settings { stack_guard: 8, huge: HugePages::Advised, ..Settings::new(window) };
    AddressSpace::new(machine.kernel(), settings).unwrap()
}

fn map(space: &mut Space<'_>, first: u64, count: u64, flags: AreaFlags) {
    let request = MapRequest::anonymous(NonZero::new(count).unwrap(), RW).with(flags);
    space.map(request.at(Place::Fixed(Page::new(first)))).unwrap();
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(page << 12)
}

#[test]
fn a_heap_leaves_a_page_free_behind_it_and_the_guard_of_a_stack() {
    let machine = machine(64);
    for (flags, free) in [(AreaFlags::empty(), 1), (AreaFlags::GROWS_DOWN, 9)] {
        let mut space = space(&machine);
        space.set_heap(at(100));
        map(&mut space, 200, 2, flags);
        // The last end that leaves so many pages free, and the first that does not; nothing is changed by a refusal.
        let most = 200 - free;
        let refused = space.brk(VirtAddr::new((most << 12) + 1));
        assert!(matches!(refused, Err(SpaceError::Occupied { .. })), "{refused:?}");
        assert_eq!((space.heap(), space.areas().len()), ((at(100), at(100)), 1));
        space.brk(VirtAddr::new((most << 12) - 1)).unwrap();
        assert!(space.brk(at(most + 1)).is_err());
        // Within its last page it may always move, and shrink too.
        space.brk(at(most)).unwrap();
        assert_eq!(space.areas().find(Page::new(100)).unwrap().end(), Page::new(most));
        space.brk(at(100)).unwrap();
        assert_eq!(space.areas().len(), 1);
        space.check_invariants().unwrap();
        space.destroy();
    }
}

#[test]
fn a_hint_in_a_stack_s_guard_is_not_followed_and_a_fixed_place_is() {
    let machine = machine(64);
    let mut space = space(&machine);
    map(&mut space, 200, 2, AreaFlags::GROWS_DOWN);
    let request = MapRequest::anonymous(NonZero::new(4).unwrap(), RW);
    let hinted = |space: &mut Space<'_>, page| space.map(request.at(Place::Hint(Page::new(page)))).unwrap();
    assert_eq!(hinted(&mut space, 188), Page::new(188), "eight pages stay free");
    assert_ne!(hinted(&mut space, 193), Page::new(193));
    assert_eq!(space.map(request.at(Place::NoReplace(Page::new(194)))), Ok(Page::new(194)));
    space.destroy();
}

#[test]
fn a_stack_needs_no_guard_above_another_stack() {
    let machine = machine(64);
    for (below, grows) in [(AreaFlags::empty(), false), (AreaFlags::GROWS_DOWN, true)] {
        let mut space = space(&machine);
        map(&mut space, 100, 2, below);
        map(&mut space, 120, 2, AreaFlags::GROWS_DOWN);
        assert_eq!(space.handle_fault(at(104), Access::user_write()).is_ok(), grows);
        space.check_invariants().unwrap();
        space.destroy();
    }
    assert_eq!(machine.used().0, 0);
}

#[test]
fn advice_skips_holes_and_reports_the_first() {
    let machine = machine(64);
    let mut space = space(&machine);
    for first in [100, 110, 120] {
        map(&mut space, first, 4, AreaFlags::empty());
        (first..first + 4).for_each(|page| {
            space.handle_fault(at(page), Access::user_write()).unwrap();
        });
    }
    assert_eq!(space.resident(), 12);
    let hole = |page| Err(SpaceError::Hole { page: Page::new(page) });
    assert_eq!(space.advise(Page::new(102), 20, Advice::DontNeed), hole(104));
    assert_eq!(space.resident(), 4, "two below, two above");
    assert_eq!(space.advise(Page::new(98), 3, Advice::Free), hole(98));
    assert_eq!(space.resident(), 3);
    assert_eq!(space.advise(Page::new(130), 3, Advice::DontNeed), hole(130), "nothing at all is mapped");
    // Flags as well: the parts of areas in the range, split off.
    assert_eq!(space.advise(Page::new(102), 20, Advice::NoHuge), hole(104));
    let no_huge = space.areas().iter().filter(|area| area.flags().contains(AreaFlags::NO_HUGE));
    let no_huge: Vec<_> = no_huge.map(|area| (area.first().number(), area.end().number())).collect();
    assert_eq!(no_huge, [(102, 104), (110, 114), (120, 122)]);
    assert_eq!(space.areas().len(), 5);
    assert_eq!(space.advise(Page::new(100), 24, Advice::Huge), hole(104));
    assert_eq!(space.areas().len(), 3, "alike again, so joined");
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn advice_that_does_not_suit_is_followed_below() {
    let machine = machine(64);
    let mut space = space(&machine);
    let backings =
        [Backing::Object { id: ObjectId::new(1).unwrap(), offset: 0 }, Backing::Device { frame: 0xfee00 }];
    for (backing, advice) in backings.into_iter().zip([Advice::Free, Advice::DontNeed]) {
        map(&mut space, 100, 4, AreaFlags::empty());
        let request = MapRequest::anonymous(NonZero::new(4).unwrap(), RW).over(backing);
        space.map(request.at(Place::Fixed(Page::new(106)))).unwrap();
        map(&mut space, 110, 4, AreaFlags::empty());
        for page in (100..104).chain(106..114) {
            space.handle_fault(at(page), Access::user_write()).unwrap();
        }
        // The hole between is no matter once something else is wrong.
        let unsuitable = SpaceError::Unsuitable { page: Page::new(106) };
        assert_eq!(space.advise(Page::new(101), 12, advice), Err(unsuitable));
        assert_eq!(space.resident(), 9, "three pages below");
        space.check_invariants().unwrap();
        space.clear();
    }
    space.destroy();
    machine.drop_cache();
    assert_eq!(machine.used().0, 0);
}
