//! A root that links itself, on a machine that is simulated: an address is what a walk by hand makes of it.

#![expect(unsafe_code, reason = "implements an unsafe trait")]
#![expect(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]

use core::cell::Cell;
use core::ptr::NonNull;
use std::rc::Rc;

use hectare_core::{CheckInvariants, Locked, Page, Permissions, PhysAddr, PhysWindow, SpinLock, VirtAddr};
use hectare_paging::format::{AArch64, Pae, Sv39, X86, X86_64};
use hectare_paging::table::{AddressedMemory, MapOptions, Recursive, SelfMap, TableError};
use hectare_paging::{Attributes, Entry, Format, PageTable, TableFormat};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use world::{frames, pages, read, tlb, walk};

#[path = "all/tables/world.rs"]
#[allow(dead_code, reason = "the tests of tables use the rest")]
mod world;

/// Runs under whichever root is loaded, and says how often it walked.
#[derive(Clone)]
struct Machine<F> {
    memory: ArenaWindow,
    root: Rc<Cell<u64>>,
    walks: Rc<Cell<u64>>,
    format: core::marker::PhantomData<F>,
}

// SAFETY: the arena's pointer to what the walk finds.
unsafe impl<F: Format> AddressedMemory for Machine<F> {
    fn pointer(&self, address: VirtAddr) -> Option<NonNull<u8>> {
        self.walks.set(self.walks.get() + 1);
        let (_, _, found) = walk::<F>(&self.memory, PhysAddr::new(self.root.get()), address)?;
        let rest = F::PAGE.bytes() - (found.value() & F::PAGE.offset_mask());
        self.memory.pointer(found, rest)
    }
}

fn user<F: Format>() -> Attributes {
    F::nearest(Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER))
}

/// Where each entry is seen, against a walk by hand that counts down the levels.
fn seen<F: TableFormat>(slot: usize, probes: &[u64]) {
    let plain = PlainFrames::<12>::new(0x100, 64);
    let memory = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut table = PageTable::<F, _, _>::new(memory.clone(), &source).unwrap();
    let map = SelfMap::<F>::new(slot).expect("this format can");
    for page in probes {
        table.map(Page::new(*page), frames(7, 1), user::<F>(), MapOptions::DEFAULT).unwrap().later();
    }
    table.link_self(map).unwrap();
    assert!(matches!(table.link_self(map), Err(TableError::Occupied { .. })), "it is there");
    for page in probes {
        let address = Page::new(*page).start(F::PAGE).unwrap();
        let (mut at, mut level) = (table.root(), F::LEVELS - 1);
        loop {
            let index = F::index(address, level);
            let place = PhysAddr::new(at.value() + (index * F::Entry::BYTES) as u64);
            let (_, end, found) = walk::<F>(&memory, table.root(), map.entry(address, level)).expect("seen");
            assert_eq!((found, end), (place, 0), "the entry of level {level} for page {page:#x}");
            let (_, _, first) = walk::<F>(&memory, table.root(), map.table(address, level)).expect("seen");
            assert_eq!(first, at);
            assert!(map.pages().contains(pages(map.table(address, level).value() >> F::PAGE.log2(), 1)));
            let hit = table.find(map.entry(address, level)).expect("mapped");
            let entry =
                read::<F>(&memory, PhysAddr::new(table.root().value() + (slot * F::Entry::BYTES) as u64));
            assert!(
                !F::attributes(entry, 0).permissions.contains(Permissions::USER),
                "tables are the kernel's"
            );
            assert_eq!(hit.address, place);
            if level == 0 {
                break;
            }
            at = F::table_address(read::<F>(&memory, place), level);
            level -= 1;
        }
    }
    // Nothing else goes there, and nothing is lost.
    let inside = table.map(map.pages().first(), frames(7, 1), user::<F>(), MapOptions::DEFAULT);
    assert!(matches!(inside, Err(TableError::Shared { .. })), "{inside:?}");
    assert!(matches!(table.forget(map.pages()), Err(TableError::Shared { .. })));
    table.check_invariants().unwrap();
    table.destroy(&tlb());
    assert_eq!(source.with(|source| source.free()), Ok(64));
}

#[test]
fn where_every_entry_is_seen() {
    seen::<X86_64<4>>(510, &[0, 1, 0x3_FE00, 0x7_FFFF_FFFF, 0xF_FFFF_8000_0000]);
    seen::<X86_64<4>>(0, &[0x800_0000, 0xF_FFFF_FFFF_FFFF]);
    seen::<X86_64<5>>(511, &[0, 0x3_FE00, 0xFFF_FFFF_FFFF]);
    seen::<X86>(1023, &[0, 1, 0x400, 0xC_0000]);
    seen::<X86>(512, &[0x7_FFFF, 0xF_FFFF]);
}

#[test]
fn formats_whose_links_are_no_leaves_have_no_self_map() {
    assert_eq!(SelfMap::<Pae>::new(3), None);
    assert_eq!(SelfMap::<Sv39>::new(3), None);
    assert_eq!(SelfMap::<AArch64<12>>::new(3), None);
    assert_eq!(SelfMap::<X86>::new(1024), None);
}

/// Tables of other address spaces through the window, without a direct map of anything.
fn without_a_direct_map<F: TableFormat>(slot: usize, scratch: u64) {
    let plain = PlainFrames::<12>::new(0x100, 64);
    let memory = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut boot = PageTable::<F, _, _>::new(memory.clone(), &source).unwrap();
    let map = SelfMap::<F>::new(slot).unwrap();
    boot.link_self(map).unwrap();
    // The page before makes the table of level 0 that the window needs.
    boot.map(Page::new(scratch - 1), frames(7, 1), user::<F>(), MapOptions::DEFAULT).unwrap().later();
    let machine = Machine::<F> {
        memory: memory.clone(),
        root: Rc::new(Cell::new(boot.root().value())),
        walks: Rc::default(),
        format: core::marker::PhantomData,
    };
    let first = PhysAddr::new(0x100 << 12);
    // SAFETY: nobody else maps these pages, and the root is loaded as long as the window is used.
    let window = |pages| unsafe { Recursive::new(map, machine.clone(), first, pages) };
    assert!(window(map.pages()).is_none(), "these pages show tables");
    let window = window(pages(scratch, 64)).unwrap();
    let outside = PhysAddr::new((0x100 + 64) << 12);
    assert!(window.pointer(outside, 1).is_none() && window.pointer(first, 64 * 4096 + 1).is_none());
    let mut table = PageTable::<F, _, _>::new(window.clone(), &source).unwrap();
    let places = [0x10, 0x20, 0x410, 0x9_0000];
    for place in places {
        let run = frames(0x5000 + place, 3);
        table.map(Page::new(place + 4), run, user::<F>(), MapOptions::DEFAULT).unwrap().later();
    }
    let token = table.unmap(pages(0x9_0000, 16), |run| assert_eq!(run.count(), 3)).unwrap();
    table.finish(token, &tlb()).unwrap();
    table.check_invariants().unwrap();
    for place in places {
        let address = Page::new(place + 5).start(F::PAGE).unwrap();
        let found = walk::<F>(&memory, table.root(), address).map(|(_, _, found)| found.value() >> 12);
        assert_eq!(found, Some(0x5000 + place + 1).filter(|_| place != 0x9_0000), "page {place:#x}");
    }
    // What the machine itself translates.
    let (entry, level) = window.find(Page::new(scratch - 1).start(F::PAGE).unwrap()).unwrap();
    assert_eq!((F::leaf_address(entry, level, 0), level), (PhysAddr::new(7 << 12), 0));
    assert!(machine.walks.get() > 100, "all of it through the machine's own addresses");
    table.destroy(&tlb());
    let shown = boot.runs(pages(scratch, 64)).unwrap();
    shown.for_each(|run| {
        assert_eq!(run.frames().first().number() - 0x100, run.pages().first().number() - scratch)
    });
    boot.destroy(&tlb());
    assert_eq!(source.with(|source| source.free()), Ok(64));
}

#[test]
fn tables_without_a_direct_map() {
    without_a_direct_map::<X86_64<4>>(510, 0xF_FFFF_8000_0001);
    without_a_direct_map::<X86_64<5>>(300, 0x3_FE01);
    without_a_direct_map::<X86>(1023, 0xC_0001);
}
