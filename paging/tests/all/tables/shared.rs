//! One kernel half under two roots, from one source.
#![expect(unsafe_code, reason = "says that a half is not shared any more")]

use hectare_core::{Access, CheckInvariants, Locked, Page, Permissions, SpinLock, Translate, VirtAddr};
use hectare_paging::format::{Sv39, X86_64};
use hectare_paging::table::{MapOptions, TableError};
use hectare_paging::{Attributes, PageTable, Touched};
use hectare_testkit::stand_in::PlainFrames;

use super::world::{frames, pages, tlb};

type X = X86_64<4>;

const KERNEL: u64 = 0xF_FFFF_8000_0000;

#[test]
fn a_shared_half_is_seen_by_all_and_changed_by_one() {
    let plain = PlainFrames::<12>::new(0x100, 64);
    let window = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut kernel = PageTable::<X, _, _>::new(window.clone(), &source).unwrap();
    let mut process = PageTable::<X, _, _>::new(window.clone(), &source).unwrap();
    let rights = Permissions::READ | Permissions::WRITE;
    let global = Attributes::new(rights).with_global(true);
    kernel.pin(pages(KERNEL, 512)).unwrap().later();
    kernel.map(Page::new(KERNEL), frames(1, 4), global, MapOptions::DEFAULT).unwrap().later();
    process.share(&kernel).unwrap();
    // Before and after: whatever the kernel maps below its half.
    kernel.map(Page::new(KERNEL + 9), frames(9, 1), global, MapOptions::DEFAULT).unwrap().later();
    let at = |page: u64| VirtAddr::new(page << 12);
    for page in [0, 3, 9] {
        let found = process.find(at(KERNEL + page)).map(|hit| hit.address);
        assert_eq!(found, kernel.find(at(KERNEL + page)).map(|hit| hit.address));
        assert!(found.is_some());
    }
    assert!(process.translate(at(KERNEL), Access::user_read()).is_err());
    // The process cannot change it.
    let shared = |result: Result<(), TableError>| matches!(result, Err(TableError::Shared { .. }));
    assert!(shared(
        process
            .map(Page::new(KERNEL + 20), frames(1, 1), global, MapOptions::DEFAULT)
            .map(|fresh| fresh.later())
    ));
    assert!(shared(
        process
            .map(Page::new(KERNEL + 20), frames(1, 2), global, MapOptions::DEFAULT)
            .map(|fresh| fresh.later())
    ));
    assert!(shared(process.unmap(pages(KERNEL, 1), |_| {}).map(drop)));
    assert!(shared(process.protect(pages(KERNEL - 1, 2), rights).map(drop)));
    assert!(shared(process.share(&kernel)));
    // The kernel empties its half: the tables stay, for the process's root links them.
    let before = kernel.tables();
    let token = kernel.unmap(pages(KERNEL, 512), |_| {}).unwrap();
    assert!(!token.owns_tables() && token.invalidation().global);
    kernel.finish(token, &tlb()).unwrap();
    let token = kernel.forget(pages(KERNEL, 512)).unwrap();
    assert!(!token.owns_tables());
    kernel.finish(token, &tlb()).unwrap();
    assert_eq!(kernel.tables(), before);
    assert!(process.find(at(KERNEL)).is_none());
    process.check_invariants().unwrap();
    kernel.check_invariants().unwrap();
    let mut user = frames(7, 1);
    process.map(Page::new(5), user, global, MapOptions::DEFAULT).unwrap().later();
    user = frames(8, 1);
    assert!(matches!(
        kernel.map(Page::new(KERNEL), user, global, MapOptions::DEFAULT).map(|fresh| fresh.later()),
        Ok(())
    ));
    process.destroy(&tlb());
    assert!(kernel.find(at(KERNEL)).is_some(), "the kernel's half outlives the process");
    // Another one's; it changes nothing that the first has.
    let mut again = PageTable::<X, _, _>::new(window, &source).unwrap();
    again.share(&kernel).unwrap();
    again.destroy(&tlb());
    // Tables that are empty stay while it is pinned, no longer.
    let token = kernel.unmap(pages(KERNEL, 512), |_| {}).unwrap();
    kernel.finish(token, &tlb()).unwrap();
    // SAFETY: nobody shares it any more.
    let token = unsafe { kernel.unpin() };
    assert!(token.owns_tables());
    kernel.finish(token, &tlb()).unwrap();
    kernel.check_invariants().unwrap();
    assert_eq!(kernel.tables(), 1);
    kernel.map(Page::new(KERNEL), frames(8, 1), global, MapOptions::DEFAULT).unwrap().later();
    kernel.destroy(&tlb());
    source.with(|plain| assert_eq!(plain.free(), 64)).unwrap();
}

#[test]
fn a_half_that_stays_pinned_outlives_its_root() {
    let plain = PlainFrames::<12>::new(0x100, 64);
    let window = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut kernel = PageTable::<X, _, _>::new(window, &source).unwrap();
    kernel.pin(pages(KERNEL, 512)).unwrap().later();
    let tables = kernel.tables();
    kernel.destroy(&tlb());
    source.with(|plain| assert_eq!(64 - plain.free(), tables - 1)).unwrap();
}

#[test]
fn a_dump_has_a_line_for_each_run() {
    let mut world = super::world::World::<X>::new(16);
    let user = Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER);
    world.map(0x400, 0x200, 512, user, MapOptions::DEFAULT).unwrap();
    world.map(0x601, 0x7, 2, Attributes::new(Permissions::READ), MapOptions::DEFAULT).unwrap();
    world.access(0x400, true);
    let text = world.table.to_string();
    assert!(text.starts_with("x86-64 at 0x100000, 4 tables\n"), "{text}");
    assert!(text.contains("\n00400000-00600000 00200000 rw-u 1x2M ad\n"), "{text}");
    assert!(text.ends_with("\n00601000-00603000 00007000 r-- 2x4K\n"), "{text}");
}

#[test]
fn a_cursor_stops_where_its_caller_wants() {
    let mut world = super::world::World::<X>::new(16);
    let user = Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER);
    world.map(0x10, 0x100, 5, user, MapOptions::DEFAULT).unwrap();
    world.map(0x400, 0x800, 512, user, MapOptions::DEFAULT).unwrap();
    world.map(0x700, 0x30, 1, user, MapOptions::DEFAULT).unwrap();
    let mut cursor = world.table.cursor(pages(0x12, 0x4FE)).unwrap();
    let mut tokens = vec![];
    let mut take = |cursor: &mut hectare_paging::table::Cursor<'_, X, _, _>, most| {
        let mut taken = None;
        tokens.push(cursor.take(most, |run| taken = Some(run)).unwrap()?);
        taken.map(|run| (run.pages(), run.frames().first().number()))
    };
    assert_eq!(take(&mut cursor, 2), Some((pages(0x12, 2), 0x102)));
    assert_eq!(cursor.position(), Some(VirtAddr::new(0x14_000)));
    assert_eq!(take(&mut cursor, 2), Some((pages(0x14, 1), 0x104)));
    assert_eq!(cursor.peek().unwrap().pages(), pages(0x400, 512));
    assert_eq!(take(&mut cursor, 1), Some((pages(0x400, 1), 0x800)));
    assert!(cursor.skip() && cursor.peek().is_none(), "the range ends in what was a huge page");
    assert!(cursor.jump(Page::new(0x600)).is_err());
    cursor.jump(Page::new(0x500)).unwrap();
    tokens.push(cursor.protect(4, Permissions::READ).unwrap().unwrap());
    assert_eq!(cursor.position(), Some(VirtAddr::new(0x504_000)));
    for token in tokens {
        world.finish(token);
    }
    for page in [0x12, 0x13, 0x14, 0x400] {
        world.model.remove(&page);
    }
    for page in 0x500..0x504 {
        world.model.get_mut(&page).unwrap().attributes.permissions = Permissions::READ;
    }
    world.check([0x11, 0x12, 0x400, 0x401, 0x504, 0x700]);
}

#[test]
fn leaves_of_the_root_are_shared_and_stay_as_they_are() {
    // The upper half of Sv39, whose root has leaves of 1 GiB.
    const KERNEL: u64 = 0xF_FFFF_FC00_0000;
    const GIB: u64 = 1 << 18;
    let plain = PlainFrames::<12>::new(0x100, 64);
    let window = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut kernel = PageTable::<Sv39, _, _>::new(window.clone(), &source).unwrap();
    let rights = Permissions::READ | Permissions::WRITE;
    let global = Attributes::new(rights).with_global(true);
    let map = |kernel: &mut PageTable<Sv39, _, _>, page: u64, frame: u64, count: u64| {
        let mapped = kernel.map(Page::new(page), frames(frame, count), global, MapOptions::DEFAULT);
        mapped.map(|fresh| fresh.later())
    };
    map(&mut kernel, KERNEL, 4 * GIB, 2 * GIB).unwrap();
    map(&mut kernel, KERNEL + 3 * GIB + 7, 7, 1).unwrap();
    map(&mut kernel, 0, 8 * GIB, GIB).unwrap();
    // Two leaves, an empty place, a table.
    kernel.pin(pages(KERNEL, 4 * GIB)).unwrap().later();
    kernel.pin(pages(KERNEL, 1)).unwrap().later();
    let mut process = PageTable::<Sv39, _, _>::new(window, &source).unwrap();
    process.share(&kernel).unwrap();
    map(&mut kernel, KERNEL + 2 * GIB + 5, 5, 1).unwrap();
    let at = |page: u64| VirtAddr::new((KERNEL + page) << 12);
    for (page, frame) in [(0, 4 * GIB), (2 * GIB - 1, 6 * GIB - 1), (2 * GIB + 5, 5), (3 * GIB + 7, 7)] {
        for table in [&kernel, &process] {
            assert_eq!(table.find(at(page)).unwrap().address.value() >> 12, frame);
        }
    }
    // Nothing that would change a leaf of which the process has a copy.
    let refused = |result: Result<(), TableError>, page: u64| {
        assert_eq!(result, Err(TableError::Shared { address: at(page) }));
    };
    refused(kernel.unmap(pages(KERNEL, GIB), |_| {}).map(drop), 0);
    refused(kernel.unmap(pages(KERNEL + GIB - 1, 1), |_| {}).map(drop), GIB - 1);
    refused(kernel.protect(pages(KERNEL + GIB + 1, 4 * GIB - 1), Permissions::READ).map(drop), GIB + 1);
    refused(kernel.harvest(pages(KERNEL, 4 * GIB), Touched::DIRTY, |_| {}).map(drop), 0);
    refused(kernel.forget(pages(KERNEL + GIB, 1)).map(drop), GIB);
    assert!(matches!(map(&mut kernel, KERNEL + 5, 5, 1), Err(TableError::Mapped { .. })));
    // What lies beside them, and leaves of its own half, it changes as before.
    for run in [pages(KERNEL + 2 * GIB, GIB), pages(0, GIB)] {
        let token = kernel.unmap(run, |_| {}).unwrap();
        kernel.finish(token, &tlb()).unwrap();
    }
    assert!(process.find(at(2 * GIB + 5)).is_none() && process.find(at(5)).is_some());
    kernel.check_invariants().unwrap();
    process.check_invariants().unwrap();
    process.destroy(&tlb());
    assert!(kernel.find(at(5)).is_some());
}
