//! Address spaces: the chapter's examples, and what others got wrong.

use core::num::NonZero;

use hectare_core::{
    Access, CheckInvariants, Frame, FrameRun, Page, PageRun, PageSize, Permissions, PhysAddr, Translate,
    VirtAddr,
};
use hectare_paging::format::X86_64;
use hectare_paging::space::maps::{Label, MapsLine, lines};
use hectare_paging::space::{
    AddressSpace, Advice, Area, AreaFlags, Backing, Cause, FrameRefs, Handled, How, HugePages, Kernel,
    MapRequest, Move, ObjectId, Place, Settings, Signal, SpaceError,
};
use hectare_paging::table::{MapOptions, NotLoaded, PageTable, TableError};
use hectare_paging::{Attributes, Format};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use crate::machine::{Handle, Machine, access};
use crate::processes::machine;

type F = X86_64<4>;
type Space<'m> = AddressSpace<F, Handle<'m, PlainFrames<12>, ArenaWindow>>;

const RW: Permissions = Permissions::READ.union(Permissions::WRITE);
const RX: Permissions = Permissions::READ.union(Permissions::EXECUTE);
/// User space below 2^47.
const WINDOW: (u64, u64) = (0x10, 0x7_ffff_fff0);

fn settings() -> Settings {
    Settings::new(PageRun::new(Page::new(WINDOW.0), WINDOW.1 - WINDOW.0).unwrap())
}

fn space(machine: &Machine<PlainFrames<12>, ArenaWindow>) -> Space<'_> {
    AddressSpace::new(machine.kernel(), settings()).unwrap()
}

fn anonymous(count: u64, permissions: Permissions) -> MapRequest {
    MapRequest::anonymous(NonZero::new(count).unwrap(), permissions)
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(page << 12)
}

fn how(handled: Result<Handled, hectare_paging::space::SpaceFault>) -> How {
    match handled.unwrap() {
        Handled::Mapped { how, .. } => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn e01_two_processes_use_one_address_and_reach_their_own_frames() {
    let frames = PlainFrames::<12>::new(0x40, 0x60);
    let window = frames.window();
    let frames = hectare_core::Locked::<hectare_core::NoLock, _>::new(frames);
    let mut processes = [0x50_u64, 0x80].map(|frame| {
        let mut table = PageTable::<F, _, _>::new(window.clone(), &frames).unwrap();
        let run = FrameRun::new(Frame::new(frame), 1).unwrap();
        let attributes = Attributes::new(RW | Permissions::USER);
        table.map(Page::new(1), run, attributes, MapOptions::DEFAULT).unwrap().later();
        table
    });
    let to = |process: &PageTable<F, _, _>, address| {
        process.translate(VirtAddr::new(address), Access::user_read()).map(|hit| hit.address.value())
    };
    assert_eq!(to(&processes[0], 0x1000), Ok(0x50000));
    assert_eq!(to(&processes[1], 0x1000), Ok(0x80000));
    assert_eq!(to(&processes[1], 0x1abc), Ok(0x80abc));
    // Neither reaches the other's: there is one page in each.
    for (process, other) in [(0, 0x80), (1, 0x50)] {
        let runs: Vec<_> = processes[process].all_runs().map(|run| run.frames()).collect();
        assert_eq!(runs.len(), 1);
        assert!(!runs[0].contains(FrameRun::new(Frame::new(other), 1).unwrap()));
        assert!(to(&processes[process], 0x2000).is_err());
    }
    // A machine whose addresses have 52 bits has none of 60.
    let run = FrameRun::new(Frame::new(1 << 48), 1).unwrap();
    let refused =
        processes[0].map(Page::new(2), run, Attributes::new(RW | Permissions::USER), MapOptions::DEFAULT);
    assert!(
        matches!(refused, Err(TableError::Entry(hectare_paging::EntryError::TooWide { .. }))),
        "{refused:?}"
    );
    // Nor has it a table in memory that its window does not show.
    let beyond = hectare_core::Locked::<hectare_core::NoLock, _>::new(PlainFrames::<12>::new(0x1000, 4));
    let refused = PageTable::<F, _, _>::new(window.clone(), &beyond).map(drop);
    assert_eq!(refused, Err(TableError::Unreachable { table: PhysAddr::new(0x100_0000) }));
    for process in processes {
        // SAFETY: no CPU uses the tables.
        let tlb = unsafe { NotLoaded::new() };
        process.destroy(&tlb);
    }
}

/// The chapter's map: text, rodata, data, a library, the stack, the vdso.
const MAPS: &str = "\
00400000-00401000 r-xp 00000000 08:01 42                                 /bin/program
00600000-00601000 r--p 00000000 08:01 42                                 /bin/program
00601000-00602000 rw-p 00001000 08:01 42                                 /bin/program
7f0000000000-7f0000100000 r-xp 00000000 08:01 77                         /lib/libc.so.6
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
7ffc00100000-7ffc00102000 r-xp 00000000 00:00 0                          [vdso]
";

#[test]
fn e02_an_address_space_prints_as_maps_and_maps_read_back() {
    let machine = machine(64);
    let mut space = space(&machine);
    for line in lines(MAPS).map(Result::unwrap) {
        let backing = ObjectId::new(line.label.inode)
            .map_or(Backing::Anonymous, |id| Backing::Object { id, offset: 0 });
        let area = line.area(PageSize::SIZE_4K, backing).unwrap();
        let request = anonymous(area.count(), area.permissions()).over(area.backing()).with(area.flags());
        assert_eq!(space.map(request.at(Place::NoReplace(area.first()))), Ok(area.first()));
    }
    let label = |area: &Area| match area.backing() {
        Backing::Object { id, .. } if id.0.get() == 42 => {
            Label { device: (8, 1), inode: 42, name: "/bin/program" }
        }
        Backing::Object { id, .. } => Label { device: (8, 1), inode: id.0.get(), name: "/lib/libc.so.6" },
        _ if area.flags().contains(AreaFlags::GROWS_DOWN) => Label::special("[stack]"),
        _ => Label::special("[vdso]"),
    };
    assert_eq!(space.maps(label).to_string(), MAPS);
    assert_eq!(MapsLine::read(MAPS.lines().next().unwrap()).unwrap().start, VirtAddr::new(0x40_0000));
    assert_eq!(space.resident(), 0, "nothing was used");
    space.destroy();
}

#[test]
fn e03_an_access_that_is_forbidden_is_a_fault_with_address_access_and_cause() {
    let machine = machine(64);
    let mut space = space(&machine);
    space.map(anonymous(1, RX).at(Place::Fixed(Page::new(0x400)))).unwrap();
    space.map(anonymous(1, RW).at(Place::Fixed(Page::new(0x500)))).unwrap();
    let mut refused = |address: u64, access: Access, text: &str| {
        for touched in [false, true] {
            if touched && address != 0xdead_0000 {
                space.handle_fault(VirtAddr::new(address), Access::user_read()).unwrap();
            }
            let fault = space.handle_fault(VirtAddr::new(address), access).unwrap_err();
            assert_eq!((fault.address.value(), fault.access), (address, access));
            assert_eq!(fault.cause.signal(), Signal::Segmentation);
            assert_eq!(fault.to_string(), text);
        }
    };
    refused(0x40_0008, Access::user_write(), "user write at 0x400008: the area permits r-xu only");
    refused(0x50_0010, Access::user_execute(), "user execute at 0x500010: the area permits rw-u only");
    refused(0xdead_0000, Access::user_read(), "user read at 0xdead0000: no area holds the address");
    // Kernel space has no areas, and the tables refuse a user's access to a kernel page.
    let kernel = VirtAddr::new(0xffff_8000_0000_0000);
    assert_eq!(space.handle_fault(kernel, Access::user_read()).unwrap_err().cause, Cause::NoArea);
    // What the kernel does for the program is the program's.
    let fault = space.handle_fault(VirtAddr::new(0x40_0000), Access::kernel_write()).unwrap_err();
    assert!(matches!(fault.cause, Cause::Forbidden { .. }));
    space.destroy();
}

#[test]
fn a_read_of_zeros_then_a_write() {
    let machine = machine(64);
    let zero = machine.zero_frame();
    let settings = Settings { zero_frame: Some(zero), ..settings() };
    let mut space: Space<'_> = AddressSpace::new(machine.kernel(), settings).unwrap();
    let first = space.map(anonymous(4, RW)).unwrap().number();
    let idle = machine.used().0;
    assert_eq!(how(space.handle_fault(at(first), Access::user_read())), How::ZeroFrame);
    assert_eq!(how(space.handle_fault(at(first + 1), Access::user_read())), How::ZeroFrame);
    assert_eq!(machine.used().0, idle + 3, "three tables, no page");
    assert_eq!(how(space.handle_fault(at(first), Access::user_write())), How::Copied);
    assert_eq!(how(space.handle_fault(at(first + 2), Access::user_write())), How::Zeroed);
    assert_eq!(machine.used().0, idle + 5);
    space.check_invariants().unwrap();
    space.unmap(Page::new(first), 4).unwrap();
    assert_eq!(machine.used().0, idle, "pages and empty tables are back, the zero frame is not");
    space.destroy();
}

#[test]
fn two_cpus_fault_on_one_page_and_the_second_finds_it() {
    // StarryOS PR 91: both copied, and one write was lost. Here the second comes to the lock when the first is done.
    let machine = machine(64);
    let mut parent = space(&machine);
    let page = parent.map(anonymous(1, RW)).unwrap().number();
    let write = |space: &mut Space<'_>, value: u8| {
        let (place, faults) = access(space, at(page), Access::user_write()).unwrap();
        machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[0] = value);
        faults
    };
    write(&mut parent, 7);
    let mut child = parent.fork().unwrap();
    // Two CPUs of the child took the same write fault; the handler runs twice.
    assert_eq!(how(child.handle_fault(at(page), Access::user_write())), How::Copied);
    assert_eq!(write(&mut child, 8), 0);
    assert_eq!(child.handle_fault(at(page), Access::user_write()), Ok(Handled::Spurious));
    let read = |space: &mut Space<'_>| {
        let (place, _) = access(space, at(page), Access::user_read()).unwrap();
        machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[0])
    };
    assert_eq!((read(&mut parent), read(&mut child)), (7, 8));
    // Only the parent uses the frame now: it takes it over instead of copying.
    assert_eq!(how(parent.handle_fault(at(page), Access::user_write())), How::Reused);
    assert_eq!((parent.counts().copied, child.counts().copied), (0, 1));
    parent.destroy();
    child.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn a_terabyte_that_nobody_uses_costs_nothing() {
    // axmm wrote an empty entry for every page: 2 GiB of tables. tgoskits PR 2261: a fork looked at each of them.
    let machine = machine(64);
    let mut space = space(&machine);
    let count = 1 << 28;
    let first = space.map(anonymous(count, RW)).unwrap();
    assert_eq!(machine.used().0, 1, "the root");
    space.protect(first, count, Permissions::READ).unwrap();
    let child = space.fork().unwrap();
    assert_eq!(machine.used().0, 2);
    child.destroy();
    let half = Page::new(first.number() + count / 2);
    space.unmap(half, 1).unwrap();
    assert_eq!(space.areas().len(), 2);
    space.unmap(first, count).unwrap();
    assert!(space.areas().is_empty());
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn a_stack_grows_to_its_limit_and_keeps_its_guard() {
    let machine = machine(64);
    let settings = Settings { stack_limit: 32, stack_guard: 8, ..settings() };
    let mut space: Space<'_> = AddressSpace::new(machine.kernel(), settings).unwrap();
    space.map(anonymous(2, RW).at(Place::Fixed(Page::new(1000))).with(AreaFlags::GROWS_DOWN)).unwrap();
    assert_eq!(how(space.handle_fault(at(990), Access::user_write())), How::Zeroed);
    assert_eq!(space.areas().find(Page::new(990)).unwrap().first(), Page::new(990));
    assert_eq!(space.handle_fault(at(969), Access::user_write()).unwrap_err().cause, Cause::StackLimit);
    // Something below: the guard between stays free, by faults and by maps.
    space.map(anonymous(1, RW).at(Place::Fixed(Page::new(975)))).unwrap();
    assert_eq!(space.handle_fault(at(983), Access::user_write()).unwrap_err().cause, Cause::StackLimit);
    assert_eq!(how(space.handle_fault(at(984), Access::user_write())), How::Zeroed);
    let window = PageRun::new(Page::new(960), 60).unwrap();
    let mut narrow: Space<'_> = AddressSpace::new(machine.kernel(), Settings { window, ..settings }).unwrap();
    narrow.map(anonymous(2, RW).at(Place::Fixed(Page::new(1010))).with(AreaFlags::GROWS_DOWN)).unwrap();
    // A fault that cannot be served leaves the stack as it was.
    machine.ration(Some(0));
    assert_eq!(
        narrow.handle_fault(at(1005), Access::user_write()).unwrap_err().cause.signal(),
        Signal::OutOfMemory
    );
    assert_eq!(narrow.areas().find(Page::new(1010)).unwrap().first(), Page::new(1010));
    machine.ration(None);
    assert_eq!(narrow.map(anonymous(8, RW)), Ok(Page::new(1012)));
    assert_eq!(narrow.map(anonymous(8, RW)), Ok(Page::new(994)), "eight pages below the stack stay free");
    narrow.destroy();
    space.destroy();
}

#[test]
fn neighbours_are_mapped_around_a_read_fault_as_one_run() {
    let machine = machine(256);
    machine.cache.cluster.set(16);
    let mut space = space(&machine);
    let id = ObjectId::new(1).unwrap();
    let first = Page::new(0x1000 - 4);
    let request = anonymous(40, RX).over(Backing::Object { id, offset: 0 }).at(Place::Fixed(first));
    space.map(request).unwrap();
    // Offsets 16..32 lie together; the group of pages is 0x1000 + 0..16, offsets 4..20.
    let handled = space.handle_fault(at(0x1000 + 13), Access::user_execute()).unwrap();
    assert_eq!(handled, Handled::Mapped { how: How::Object, pages: 4, flushed: false }, "offsets 16 to 19");
    let handled = space.handle_fault(at(0x1000), Access::user_read()).unwrap();
    assert_eq!(handled, Handled::Mapped { how: How::Object, pages: 12, flushed: false }, "offsets 4 to 15");
    assert_eq!((space.resident(), space.counts().around), (16, 14));
    // A write to a private mapping copies one page and leaves the cache's alone.
    space.protect(first, 40, RW).unwrap();
    assert_eq!(how(space.handle_fault(at(0x1000), Access::user_write())), How::Copied);
    assert_eq!(how(space.handle_fault(at(0x1000 + 20), Access::user_write())), How::ObjectCopied);
    space.check_invariants().unwrap();
    // Behind the end of the object is nothing.
    machine.cache.length.set(38);
    let fault = space.handle_fault(at(first.number() + 39), Access::user_read()).unwrap_err();
    assert_eq!(fault.cause.signal(), Signal::Bus);
    space.destroy();
    machine.drop_cache();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn huge_pages_come_at_once_and_are_split_only_where_they_must_be() {
    let machine = machine(4096);
    let mut space: Space<'_> =
        AddressSpace::new(machine.kernel(), Settings { huge: HugePages::Advised, ..settings() }).unwrap();
    let first = Page::new(0x200);
    space.map(anonymous(1024, RW).at(Place::Fixed(first))).unwrap();
    space.advise(first, 512, Advice::Huge).unwrap();
    assert_eq!(space.areas().len(), 2);
    assert_eq!(how(space.handle_fault(at(0x2ff), Access::user_write())), How::ZeroedHuge);
    assert_eq!(how(space.handle_fault(at(0x4ff), Access::user_write())), How::Zeroed, "not advised");
    assert_eq!((space.resident(), space.counts().huge), (513, 1));
    let area = space.areas().find(first).unwrap();
    assert_eq!(space.usage(&area).huge, 512);
    // After a fork that ended, the whole page is one's own again.
    space.fork().unwrap().destroy();
    assert_eq!(how(space.handle_fault(at(0x2ff), Access::user_write())), How::Reused);
    assert_eq!(space.usage(&space.areas().find(first).unwrap()).huge, 512);
    // With the child alive one page is copied, the others stay shared.
    let child = space.fork().unwrap();
    assert_eq!(how(space.handle_fault(at(0x2ff), Access::user_write())), How::Copied);
    assert_eq!((space.counts().copied, space.usage(&space.areas().find(first).unwrap()).private), (1, 1));
    child.destroy();
    space.unmap(Page::new(0x210), 16).unwrap();
    assert_eq!(space.resident(), 513 - 16);
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn what_is_evicted_comes_back() {
    let machine = machine(64);
    let mut parent = space(&machine);
    let page = parent.map(anonymous(2, RW)).unwrap();
    let address = at(page.number());
    let (place, _) = access(&mut parent, address, Access::user_write()).unwrap();
    machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[5] = 55);
    parent.evict(page).unwrap();
    assert_eq!((parent.resident(), machine.slots()), (0, 1));
    assert_eq!(parent.usage(&parent.areas().find(page).unwrap()).swapped, 1);
    let mut child = parent.fork().unwrap();
    for space in [&mut parent, &mut child] {
        assert_eq!(how(space.handle_fault(address, Access::user_read())), How::SwappedIn);
        let (place, _) = access(space, address, Access::user_read()).unwrap();
        assert_eq!(machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[5]), 55);
    }
    assert_eq!(machine.slots(), 0, "each has its own page now");
    assert_eq!(
        parent.evict(Page::new(page.number() + 1)),
        Err(SpaceError::Hole { page: Page::new(page.number() + 1) })
    );
    child.destroy();
    parent.evict(page).unwrap();
    // A slot moves with its page, and goes with it.
    let new = parent.remap(page, 2, NonZero::new(2).unwrap(), Move::To(Page::new(0x9000))).unwrap();
    assert_eq!(machine.slots(), 1);
    assert_eq!(how(parent.handle_fault(at(new.number()), Access::user_read())), How::SwappedIn);
    parent.evict(new).unwrap();
    parent.destroy();
    assert_eq!((machine.slots(), machine.used().0), (0, 0));
}

#[test]
fn a_device_s_frames_are_mapped_and_never_given_back() {
    let machine = machine(64);
    let mut space = space(&machine);
    let backing = Backing::Device { frame: 0xfee00 };
    let page = space.map(anonymous(4, RW).over(backing).with(AreaFlags::SHARED)).unwrap();
    assert_eq!(how(space.handle_fault(at(page.number() + 2), Access::user_write())), How::Device);
    let hit = space.table().find(at(page.number() + 2)).unwrap();
    assert_eq!(hit.address, PhysAddr::new(0xfee0_2000));
    assert_eq!(F::nearest(hit.attributes()), hit.attributes());
    let child = space.fork().unwrap();
    assert!(child.table().find(at(page.number() + 2)).is_none(), "mapped again when it is used");
    child.destroy();
    assert_eq!(
        space.evict(Page::new(page.number() + 2)),
        Err(SpaceError::Unsuitable { page: Page::new(page.number() + 2) })
    );
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn shared_pages_that_were_written_to_are_reported() {
    let machine = machine(64);
    let mut space = space(&machine);
    let id = ObjectId::new(2).unwrap();
    let request = anonymous(4, RW).over(Backing::Object { id, offset: 8 }).with(AreaFlags::SHARED);
    let page = space.map(request).unwrap().number();
    access(&mut space, at(page), Access::user_write()).unwrap();
    access(&mut space, at(page + 1), Access::user_read()).unwrap();
    space.harvest(|_| {}).unwrap();
    assert_eq!(machine.cache.dirty.get(), 1);
    space.harvest(|visit| assert!(!visit.touched.accessed && !visit.touched.dirty)).unwrap();
    assert_eq!(machine.cache.dirty.get(), 1, "once");
    access(&mut space, at(page + 1), Access::user_write()).unwrap();
    space.unmap(Page::new(page), 4).unwrap();
    assert_eq!(machine.cache.dirty.get(), 2);
    assert!(!space.kernel().refs().is_sole(Frame::new(64)));
    space.destroy();
    machine.drop_cache();
}

#[test]
fn pages_that_move_beside_an_area_that_nobody_used_are_still_known() {
    let machine = machine(64);
    let mut space = space(&machine);
    space.map(anonymous(4, RW).at(Place::Fixed(Page::new(0x100)))).unwrap();
    let page = space.map(anonymous(1, RW).at(Place::Fixed(Page::new(0x200)))).unwrap();
    access(&mut space, at(0x200), Access::user_write()).unwrap();
    space.remap(page, 1, NonZero::new(1).unwrap(), Move::To(Page::new(0x104))).unwrap();
    assert_eq!(space.areas().len(), 1, "joined with the area below");
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}

#[test]
fn a_move_that_shrinks_takes_a_part_of_a_huge_page() {
    let machine = machine(2048);
    let mut space = space(&machine);
    let first = Page::new(0x400);
    space.map(anonymous(512, RW).at(Place::Fixed(first)).with(AreaFlags::HUGE)).unwrap();
    assert_eq!(how(space.handle_fault(at(0x400), Access::user_write())), How::ZeroedHuge);
    space.remap(first, 512, NonZero::new(100).unwrap(), Move::To(Page::new(0x900))).unwrap();
    assert_eq!(space.resident(), 100, "nothing beyond the area");
    space.check_invariants().unwrap();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}
