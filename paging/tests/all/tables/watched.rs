//! What others see and do between any two stores: a walker, a processor that sets bits, and the order of a flush.
#![expect(unsafe_code, reason = "implements the traits of windows and translation caches")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "runs on hosts only")]

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::collections::BTreeSet;

use hectare_core::{Locked, NoLock, Page, Permissions, PhysAddr, PhysWindow};
use hectare_paging::format::X86_64;
use hectare_paging::table::{Invalidation, MapOptions, TableWindow, Tlb};
use hectare_paging::{Attributes, Decoded, Format, PageTable, Touched};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use super::world::{frames, pages, read, tlb, write_entry};

type X = X86_64<4>;
type Source = Locked<NoLock, PlainFrames>;

/// A window at whose every step the tree is walked, and, if so wished, the hardware writes to a page.
struct Watched {
    memory: ArenaWindow,
    root: Cell<Option<PhysAddr>>,
    steps: Cell<u64>,
    /// Whether each leaf that is about to change is written to just before.
    writes: bool,
    written: RefCell<BTreeSet<u64>>,
}

impl Watched {
    fn walk(&self, table: PhysAddr, level: usize) {
        for index in 0..X::entries(level) {
            let at = PhysAddr::new(table.value() + 8 * index as u64);
            match X::decode(read::<X>(&self.memory, at), level, index) {
                Decoded::Absent { .. } => {}
                Decoded::Table { address } if self.memory.pointer(address, 4096).is_some() => {
                    self.walk(address, level - 1);
                }
                Decoded::Leaf { address, .. } if (0x4000_0000..0x8000_0000).contains(&address.value()) => {}
                other => panic!("a walker meets {other:?} at {at}, level {level}"),
            }
        }
    }
}

// SAFETY: the arena's pointers; the hook sets accessed and dirty bits of writable leaves only.
unsafe impl TableWindow for &Watched {
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.memory.pointer(address, bytes)
    }

    fn step(&self, address: PhysAddr) {
        self.steps.set(self.steps.get() + 1);
        let Some(root) = self.root.get() else { return };
        if !self.writes {
            self.walk(root, X::LEVELS - 1);
            return;
        }
        // Which level the entry is of does not matter to the bits; leaves of this test say where they are.
        let entry = read::<X>(&self.memory, address);
        let leaf = X::kind(entry, 0) == hectare_paging::Kind::Leaf
            && (0x4000_0000..0x8000_0000).contains(&X::leaf_address(entry, 0, 0).value());
        if leaf && X::attributes(entry, 0).permissions.contains(Permissions::WRITE) {
            write_entry::<X>(&self.memory, address, X::with_touched(entry, Touched::DIRTY, 0));
            self.written.borrow_mut().insert(X::leaf_address(entry, 0, 0).value() >> 12);
        }
    }
}

fn user() -> Attributes {
    Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER)
}

/// The frames' memory holds garbage with the present bit set (the arena's canaries), as real memory may.
fn watched(writes: bool) -> (Watched, Source) {
    let plain = PlainFrames::new(0x100, 64);
    let memory = plain.window();
    let watched =
        Watched { memory, root: Cell::new(None), steps: Cell::new(0), writes, written: RefCell::default() };
    (watched, Locked::new(plain))
}

#[test]
fn a_walker_between_any_two_stores_meets_nothing_unfinished() {
    let (window, source) = watched(false);
    let mut table = PageTable::<X, _, _>::new(&window, &source).unwrap();
    let mut other = PageTable::<X, _, _>::new(&window, &source).unwrap();
    window.root.set(Some(table.root()));
    let memory = 0x4_0000;
    table.map(Page::new(0x5), frames(memory, 1), user(), MapOptions::DEFAULT).unwrap().later();
    table.map(Page::new(0x1FE), frames(memory + 0x1FE, 5), user(), MapOptions::DEFAULT).unwrap().later();
    table.map(Page::new(0x400), frames(memory + 0x400, 1024), user(), MapOptions::DEFAULT).unwrap().later();
    let token = table.protect(pages(0x1FF, 0x300), Permissions::READ).unwrap();
    table.finish(token, &tlb()).unwrap();
    let (token, _) = {
        let (token, fresh) = table.copy_into(pages(0, 0x800), &mut other, true, |_| {}).unwrap();
        (token, fresh.later())
    };
    table.finish(token, &tlb()).unwrap();
    for (first, count) in [(0x5, 1), (0x1FF, 2), (0x401, 3), (0x600, 512), (0, 0x800)] {
        let token = table.unmap(pages(first, count), |_| {}).unwrap();
        window.walk(table.root(), 3);
        table.finish(token, &tlb()).unwrap();
    }
    assert!(window.steps.get() > 30, "the seam is there: {} steps", window.steps.get());
}

#[test]
fn a_write_between_any_two_stores_is_reported() {
    let (window, source) = watched(true);
    let mut table = PageTable::<X, _, _>::new(&window, &source).unwrap();
    let memory = 0x4_0000;
    table.map(Page::new(0), frames(memory, 1500), user(), MapOptions::BASE_PAGES).unwrap().later();
    window.root.set(Some(table.root()));
    let token = table.protect(pages(0, 100), Permissions::READ).unwrap();
    assert_eq!(window.written.borrow().len(), 100);
    table.finish(token, &tlb()).unwrap();
    // A bit that was cleared was reported; one that came too late for that is still there for the unmap.
    let mut gone = BTreeSet::new();
    let token = table.harvest(pages(0, 300), Touched::DIRTY, |run| {
        if run.touched().dirty {
            gone.extend(run.frames().iter().map(|frame| frame.number()));
        }
    });
    table.finish(token.unwrap(), &tlb()).unwrap();
    assert!(gone.len() >= 100, "a harvest tells what was written");
    let token = table.unmap(pages(0, 1500), |run| {
        if run.touched().dirty {
            gone.extend(run.frames().iter().map(|frame| frame.number()));
        }
    });
    table.finish(token.unwrap(), &tlb()).unwrap();
    assert_eq!(window.written.borrow().len(), 1500);
    assert!(gone == *window.written.borrow(), "an unmap tells what was written: {} pages of it", gone.len());
}

/// A cache that looks at the source when it is asked to forget.
struct Ordered<'s> {
    source: &'s Source,
    free: Cell<Option<u64>>,
}

// SAFETY: no CPU of the test uses the table.
unsafe impl Tlb for Ordered<'_> {
    fn invalidate(&self, what: &Invalidation<'_>) {
        assert!(what.tables);
        self.free.set(Some(self.source.with(|plain| plain.free()).unwrap()));
    }
}

#[test]
fn tables_return_after_the_invalidation() {
    let (window, source) = watched(false);
    let mut table = PageTable::<X, _, _>::new(&window, &source).unwrap();
    table.map(Page::new(0), frames(0x4_0000, 2000), user(), MapOptions::BASE_PAGES).unwrap().later();
    let before = source.with(|plain| plain.free()).unwrap();
    let token = table.unmap(pages(0, 2000), |_| {}).unwrap();
    assert_eq!(source.with(|plain| plain.free()).unwrap(), before);
    let cache = Ordered { source: &source, free: Cell::new(None) };
    table.finish(token, &cache).unwrap();
    let at_the_flush = cache.free.get().expect("nobody was told to forget");
    assert_eq!(at_the_flush, before, "tables came back before the invalidation");
    assert_eq!(source.with(|plain| plain.free()).unwrap(), 63, "and all of them after it");
}
