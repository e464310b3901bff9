//! Faults of other page-table crates, each as a test of ours.
//!
//! | crate | version | fault | test |
//! |---|---|---|---|
//! | x86_64 | 0.15.5 | "already mapped" names the new frame instead of the one that is there | `a_conflict_names_what_is_there` |
//! | x86_64 | 0.15.5 | an emptied table is in the way of a huge page until a sweep | `an_emptied_table_is_in_nobodys_way` |
//! | x86_64 | 0.15.5 | bit 7 of a 4 KiB leaf (PAT) panics; bit 12 of a huge leaf counts as address (#613) | `the_pat_bit_is_no_size_and_no_address` |
//! | x86_64 | 0.15.5 | a change of rights overwrites accessed and dirty bits | `rights_change_and_history_stays`, and `hostile` |
//! | x86_64 | 0.15.5 | a refused mapping leaves the user bit in upper entries | `a_refusal_leaves_no_trace` |
//! | x86_64 | 0.15.5, 0.16 | a table is linked before it is zeroed | plant `table_link_early` in `hostile` |
//! | x86_64 | 0.15.5 | freed tables owe no flush | `freed_tables_are_owed_a_flush` |
//! | x86_64 | #554 | rights without "present" panic | `what_cannot_be_said_is_refused` (formats) |
//! | x86_64 | 0.15.5 | a reserved bit in the root panics | `a_reserved_entry_is_no_table` |
//! | page_table_multiarch | 0.6.2 | 4 KiB of a 2 MiB page: protect panics, unmap clears all of it | `a_part_of_a_huge_page` |
//! | page_table_multiarch | 0.6.2 | a conflict in the middle leaves the first pages mapped | `a_refusal_leaves_no_trace` |
//! | page_table_multiarch | 0.6.2 | a hole costs a step for each page in it | `a_hole_costs_nothing` |
//! | page_table_multiarch | 0.6.2 | addresses that are not canonical alias others | `addresses_beyond_reach_are_refused` |
//! | page-table-generic | 0.9.1 | unmapping a part of a huge page unmaps all of it | `a_part_of_a_huge_page` |
//! | page-table-generic | 0.9.1 | an empty table is freed before the flush | plant `table_free_early` in `hostile` |
//! | page-table-generic | 0.9.1 | unmapped frames are not told | `every_unmapped_frame_is_told` |
//! | aarch64-paging | 0.12.2 | a range that ends at 2^64 overflows | `the_last_page_of_all` |
//! | aarch64-paging | 0.12.2 | a subtree is freed before it is invalidated | plant `table_free_early` in `hostile` |
//! | rmm | 2026-11 | an existing mapping is overwritten silently | `a_conflict_names_what_is_there` |
//! | rmm | 2026-11 | a huge leaf is walked as a table | `a_part_of_a_huge_page` |
//! | asterinas | #3731 | a range of exactly one huge page panics | `exactly_a_huge_page` |
//! | coconut-svsm | #1118 | unmapping unmapped pages never ends | `a_hole_costs_nothing` |
//! | nanvix | #2244 | a change without an invalidation | plant `table_no_flush` in `hostile` |

#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::cell::Cell;
use core::ptr::NonNull;

use hectare_core::{
    Access, Frame, FrameRun, Page, PageRun, Permissions, PhysAddr, PhysWindow, Translate, VirtAddr,
};
use hectare_paging::format::{AArch64, X86_64, aarch64};
use hectare_paging::table::{Invalidation, MapOptions, TableError, TableWindow, Tlb};
use hectare_paging::{Attributes, Format, Kind, PageTable, TableFormat, Touched};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

type X = X86_64<4>;
const DATA: Attributes =
    Attributes::new(Permissions::READ.union(Permissions::WRITE).union(Permissions::USER));
const FIXED: Attributes = Attributes::new(Permissions::READ);

/// Counts how often a table is reached.
struct Counting(ArenaWindow, Cell<u64>);

// SAFETY: the arena's pointers.
unsafe impl TableWindow for Counting {
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.1.set(self.1.get() + 1);
        self.0.pointer(address, bytes)
    }
}

/// No CPU uses the tables of these tests; it remembers whether it was asked.
#[derive(Default)]
struct Asked(Cell<bool>);

// SAFETY: nothing is cached anywhere.
unsafe impl Tlb for Asked {
    fn invalidate(&self, what: &Invalidation<'_>) {
        self.0.set(self.0.get() || what.tables);
    }
}

type Table<F> = PageTable<F, Counting, PlainFrames>;

fn table<F: TableFormat>() -> Table<F> {
    let source = PlainFrames::new(0x100, 256);
    PageTable::new(Counting(source.window(), Cell::new(0)), source).unwrap()
}

fn pages(first: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(first), count).unwrap()
}

fn map<F: TableFormat>(table: &mut Table<F>, page: u64, frame: u64, count: u64) -> Result<(), TableError> {
    let frames = FrameRun::new(Frame::new(frame), count).unwrap();
    table
        .map(Page::new(page), frames, F::nearest(DATA), MapOptions::DEFAULT)
        .map(|fresh| fresh.finish(&Asked::default()))
}

fn unmap<F: TableFormat>(table: &mut Table<F>, page: u64, count: u64) -> Vec<(u64, u64)> {
    let mut told = vec![];
    let token = table.unmap(pages(page, count), |run| {
        told.extend(run.pages().iter().map(Page::number).zip(run.frames().iter().map(Frame::number)));
    });
    table.finish(token.unwrap(), &Asked::default()).unwrap();
    told
}

fn frame<F: TableFormat>(table: &Table<F>, page: u64) -> Option<u64> {
    let address = Page::new(page).start(F::PAGE).unwrap();
    table.find(address).map(|hit| hit.address.value() >> F::PAGE.log2())
}

#[test]
fn a_conflict_names_what_is_there() {
    let mut table = table::<X>();
    map(&mut table, 7, 1, 1).unwrap();
    let existing = PhysAddr::new(0x1000);
    assert_eq!(
        map(&mut table, 7, 2, 1),
        Err(TableError::Mapped { address: VirtAddr::new(0x7000), existing })
    );
    assert_eq!(frame(&table, 7), Some(1), "and it is still there");
}

#[test]
fn an_emptied_table_is_in_nobodys_way() {
    let mut table = table::<X>();
    map(&mut table, 512, 3, 1).unwrap();
    unmap(&mut table, 512, 1);
    map(&mut table, 512, 1024, 512).unwrap();
    assert_eq!(table.find(VirtAddr::new(0x20_0000)).unwrap().leaf_size().bytes(), 0x20_0000);
}

#[test]
fn the_pat_bit_is_no_size_and_no_address() {
    let combining = FIXED.with_memory(hectare_paging::MemoryType::WriteCombining);
    for (level, address) in [(0, 0x5000), (1, 0x40_0000), (2, 0x8000_0000)] {
        let entry = X::leaf(PhysAddr::new(address), combining, Touched::NO, level).unwrap();
        assert_eq!(X::kind(entry, level), Kind::Leaf);
        assert_eq!(X::leaf_address(entry, level, 0), PhysAddr::new(address));
        assert_eq!(X::attributes(entry, level), combining);
    }
    let mut table = table::<X>();
    let frames = FrameRun::new(Frame::new(0), 513).unwrap();
    table.map(Page::new(0), frames, combining, MapOptions::DEFAULT).unwrap().later();
    assert_eq!((frame(&table, 1), frame(&table, 512)), (Some(1), Some(512)));
}

#[test]
fn rights_change_and_history_stays() {
    let mut table = table::<X>();
    let frames = FrameRun::new(Frame::new(9), 1).unwrap();
    let options = MapOptions::DEFAULT.with_touched(Touched::DIRTY);
    table.map(Page::new(4), frames, DATA, options).unwrap().later();
    let token = table.protect(pages(4, 1), Permissions::READ).unwrap();
    table.finish(token, &Asked::default()).unwrap();
    let hit = table.find(VirtAddr::new(0x4000)).unwrap();
    assert_eq!((hit.touched(), hit.attributes()), (Touched::DIRTY, FIXED));
}

#[test]
fn a_refusal_leaves_no_trace() {
    let mut table = table::<X>();
    map(&mut table, 100, 50, 1).unwrap();
    let (tables, free) = (table.tables(), table.source().free());
    assert!(matches!(map(&mut table, 0, 1000, 4096), Err(TableError::Mapped { .. })));
    assert_eq!((table.tables(), table.source().free()), (tables, free), "no table more");
    assert_eq!((0..99).find_map(|page| frame(&table, page)), None, "no prefix is mapped");
    let kernel = Attributes::new(Permissions::READ);
    let frames = FrameRun::new(Frame::new(1), 1).unwrap();
    table.map(Page::new(101), frames, kernel, MapOptions::DEFAULT).unwrap().later();
    assert!(table.translate(VirtAddr::new(0x65_000), Access::user_read()).is_err(), "the leaf decides");
}

#[test]
fn freed_tables_are_owed_a_flush() {
    let mut table = table::<X>();
    map(&mut table, 0, 64, 1).unwrap();
    let free = table.source().free();
    let token = table.unmap(pages(0, 1), |_| ()).unwrap();
    assert!(token.owns_tables());
    assert_eq!(table.source().free(), free, "not before the flush");
    let asked = Asked::default();
    table.finish(token, &asked).unwrap();
    assert!(asked.0.get() && table.source().free() == free + 3);
}

#[test]
fn a_reserved_entry_is_no_table() {
    for level in 3..5 {
        let entry = X86_64::<5>::table(PhysAddr::new(0x1000), level).unwrap() | 1 << 7;
        assert_eq!(X86_64::<5>::kind(entry, level), Kind::Reserved);
    }
}

#[test]
fn a_part_of_a_huge_page() {
    let mut table = table::<X>();
    map(&mut table, 512, 1024, 512).unwrap();
    let token = table.protect(pages(520, 1), Permissions::READ).unwrap();
    table.finish(token, &Asked::default()).unwrap();
    assert_eq!(unmap(&mut table, 512, 1), [(512, 1024)]);
    assert_eq!(unmap(&mut table, 700, 2), [(700, 1212), (701, 1213)]);
    for page in 513..1024 {
        let expected = (page != 700 && page != 701).then_some(512 + page);
        assert_eq!(frame(&table, page), expected, "page {page}");
        let writable = table.translate(VirtAddr::new(page << 12), Access::user_write()).is_ok();
        assert_eq!(writable, expected.is_some() && page != 520, "page {page}");
    }
}

#[test]
fn a_hole_costs_nothing() {
    let mut table = table::<X>();
    map(&mut table, 0, 64, 1).unwrap();
    let whole = pages(0, 1 << 34);
    table.window().1.set(0);
    let token = table.protect(whole, Permissions::READ).unwrap();
    table.finish(token, &Asked::default()).unwrap();
    assert!(table.window().1.get() < 64, "64 TiB of holes cost {} looks at tables", table.window().1.get());
    table.window().1.set(0);
    assert_eq!(unmap(&mut table, 1, (1 << 34) - 1), []);
    assert!(table.window().1.get() < 64, "64 TiB of holes cost {} looks at tables", table.window().1.get());
}

#[test]
fn addresses_beyond_reach_are_refused() {
    let mut table = table::<X>();
    assert!(matches!(map(&mut table, 0x9_0000_0000, 1, 1), Err(TableError::Range { .. })), "not canonical");
    assert!(matches!(map(&mut table, 0x7_FFFF_FFFF, 1, 2), Err(TableError::Range { .. })), "over the hole");
    assert!(matches!(table.unmap(pages(0x9_0000_0000, 1), |_| ()), Err(TableError::Range { .. })));
    assert!(table.find(VirtAddr::new(0x9000_0000_0000)).is_none());
}

#[test]
fn every_unmapped_frame_is_told() {
    let mut table = table::<X>();
    map(&mut table, 510, 3, 1028).unwrap();
    let expected: Vec<_> = (0..1028).map(|nth| (510 + nth, 3 + nth)).collect();
    assert_eq!(unmap(&mut table, 0, 4096), expected);
}

#[test]
fn the_last_page_of_all() {
    let mut table = table::<AArch64<12, 48, { aarch64::UPPER }>>();
    let last = u64::MAX >> 12;
    map(&mut table, last, 5, 1).unwrap();
    assert_eq!(frame(&table, last), Some(5));
    let hit = table.find(VirtAddr::new(u64::MAX)).unwrap();
    assert_eq!(hit.address, PhysAddr::new(0x5FFF));
    assert_eq!(unmap(&mut table, last, 1), [(last, 5)]);
}

#[test]
fn exactly_a_huge_page() {
    let mut table = table::<X>();
    for size in [512, 512 * 512] {
        map(&mut table, size, size * 2, size).unwrap();
        let token = table.protect(pages(size, size), Permissions::READ).unwrap();
        table.finish(token, &Asked::default()).unwrap();
        assert_eq!(
            table.find(VirtAddr::new(size << 12)).unwrap().leaf_size().bytes(),
            size << 12,
            "not split"
        );
        assert_eq!(unmap(&mut table, size, size).len() as u64, size);
    }
}
