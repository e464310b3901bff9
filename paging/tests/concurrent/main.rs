//! Transactions: against a map of pages in one thread, and many threads on one table.
//!
//! `HECTARE_STRESS` is the number of transactions of each thread, 2000 by default.
#![expect(unsafe_code, reason = "makes lock words; fills freed frames")]
#![expect(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]

use core::sync::atomic::AtomicU32;

use hectare_core::{
    AllocError, CheckInvariants, FrameRequest, FrameRun, FrameSource, FreeError, Locked, NoCpu, Page,
    PageSize, Permissions, PhysAddr, PhysWindow, SpinLock,
};
use hectare_paging::format::X86_64;
use hectare_paging::table::{MapOptions, Readers, SharedTable, TableError, TableLocks, TableWords};
use hectare_paging::{Attributes, PageTable, TableFormat};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use world::{frames, pages, tlb};

mod sequences;
mod threads;
#[path = "../all/tables/world.rs"]
#[allow(dead_code, reason = "the tests of tables use the rest")]
mod world;

/// Frames that are full of leaves to nowhere as soon as they are free.
struct Poisoned(PlainFrames);

// SAFETY: the inner source; what is free is nobody's.
unsafe impl FrameSource for Poisoned {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.0.allocate_frames(request)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let start = run.first().start(Self::FRAME_SIZE).expect("an address");
        let bytes = run.count() << 12;
        let pointer = self.0.window().pointer(start, bytes).expect("in the arena");
        // SAFETY: the frames are given back.
        unsafe { pointer.write_bytes(0xE7, usize::try_from(bytes).expect("small")) };
        // SAFETY: the caller's promise.
        unsafe { self.0.free_frames(run) }
    }
}

type Source = Locked<SpinLock, Poisoned>;
type Table<'s, F> = SharedTable<'s, F, ArenaWindow, Source, TableWords<'s>, Readers<'s, NoCpu>>;

const FIRST: u64 = 0x100;

fn source(count: u64) -> (ArenaWindow, Source) {
    let plain = PlainFrames::new(FIRST, count);
    (plain.window(), Locked::new(Poisoned(plain)))
}

fn words(count: u64, memory: &mut Vec<AtomicU32>) -> TableWords<'_> {
    memory.resize_with(usize::try_from(count).expect("small"), || AtomicU32::new(0xDEAD));
    // SAFETY: one source.
    unsafe { TableWords::new(PhysAddr::new(FIRST << 12), PageSize::SIZE_4K, memory) }
}

fn free(source: &Source) -> u64 {
    source.with(|source| source.0.free()).expect("not nested")
}

/// Runs a body with a table that is shared over so many frames, and looks at what it leaves.
fn with_table<F: TableFormat>(count: u64, body: impl FnOnce(&Table<'_, F>, &Source)) {
    let (window, source) = source(count);
    let mut memory = vec![];
    let words = words(count, &mut memory);
    let table = PageTable::new(window, &source).expect("a root");
    let shared = SharedTable::new(table, words, Readers::new(&[], NoCpu)).unwrap_or_else(|_| panic!("words"));
    body(&shared, &source);
    let (mut table, token) = shared.into_table();
    table.finish(token, &tlb()).expect("its own token");
    table.check_invariants().expect("invariants");
    let _ = table.destroy(&tlb());
    assert_eq!(free(&source), count, "all frames came back");
}
fn rights(index: usize) -> Permissions {
    let user = Permissions::READ | Permissions::USER;
    [user | Permissions::WRITE, user, user | Permissions::EXECUTE][index % 3]
}

fn user() -> Attributes {
    Attributes::new(rights(0))
}

#[test]
fn ranges_under_different_tables_are_open_at_once() {
    with_table::<X86_64<4>>(16, |shared, _| {
        for first in [0, 512] {
            let mut transaction = shared.transaction(pages(first, 1)).unwrap();
            transaction.map(Page::new(first), frames(7, 1), user(), MapOptions::DEFAULT).unwrap();
            shared.finish(transaction.commit(), &tlb()).unwrap();
        }
        let one = shared.try_transaction(pages(0, 512)).unwrap().expect("free");
        let two = shared.try_transaction(pages(512, 512)).unwrap().expect("free");
        assert!(shared.try_transaction(pages(3, 1)).unwrap().is_none(), "the first table is locked");
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_none(), "both are");
        let far = shared.try_transaction(pages(1 << 30, 1)).unwrap().expect("the root is free");
        drop(far);
        // A wide one that met a locked table left nothing locked.
        drop(two);
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_none(), "the first one is still locked");
        let two = shared.try_transaction(pages(512, 512)).unwrap().expect("free");
        drop((one, two));
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_some());
    });
}

#[test]
fn asterinas_3731_a_range_of_exactly_a_huge_page() {
    with_table::<X86_64<4>>(16, |shared, _| {
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.map(Page::new(512), frames(1024, 512), user(), MapOptions::DEFAULT).unwrap();
        assert_eq!(transaction.runs(pages(512, 512)).unwrap().next().map(|run| run.leaves()), Some(1));
        shared.finish(transaction.commit(), &tlb()).unwrap();
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.protect(pages(513, 1), Permissions::READ).unwrap();
        assert_eq!(transaction.runs(pages(512, 512)).unwrap().count(), 3, "it was split");
        shared.finish(transaction.commit(), &tlb()).unwrap();
        let mut gone = 0;
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.unmap(pages(512, 512), |run| gone += run.count()).unwrap();
        shared.finish(transaction.commit(), &tlb()).unwrap();
        assert_eq!(gone, 512);
        // Its table stays, and makes way for a larger leaf when the table above is locked too.
        let mut transaction = shared.transaction(pages(512, 1024)).unwrap();
        transaction.map(Page::new(512), frames(1024, 1024), user(), MapOptions::DEFAULT).unwrap();
        assert_eq!(transaction.runs(pages(512, 1024)).unwrap().next().map(|run| run.leaves()), Some(2));
        let token = transaction.commit();
        assert!(token.owns_tables());
        shared.finish(token, &tlb()).unwrap();
    });
}

#[test]
fn a_table_without_a_word_is_refused() {
    let (window, source) = source(8);
    let mut memory = vec![];
    let mut table = PageTable::<X86_64<4>, _, _>::new(window, &source).unwrap();
    table.map(Page::new(0), frames(1, 1), user(), MapOptions::DEFAULT).unwrap().later();
    let Err(table) = SharedTable::new(table, words(3, &mut memory), Readers::new(&[], NoCpu)) else {
        panic!("four tables, three words");
    };
    let mut memory = vec![];
    let Ok(shared) = SharedTable::new(table, words(4, &mut memory), Readers::new(&[], NoCpu)) else {
        panic!("four tables, four words");
    };
    let mut transaction = shared.transaction(pages(512, 1)).unwrap();
    let refused = transaction.map(Page::new(512), frames(1, 1), user(), MapOptions::DEFAULT);
    assert!(matches!(refused, Err(TableError::Frames(AllocError::OutOfMemory))), "{refused:?}");
    assert_eq!(free(&source), 4);
}

#[test]
fn each_frame_has_a_word_of_its_own() {
    for count in [1, 255, 256, 700] {
        let mut memory = vec![];
        let words = words(count, &mut memory);
        let word = |nth: u64| words.word(PhysAddr::new((FIRST + nth) << 12)).map(|word| &raw const *word);
        let all: std::collections::BTreeSet<_> = (0..count).map(|nth| word(nth).expect("a word")).collect();
        assert_eq!(all.len() as u64, count);
        assert!(word(count).is_none());
        if count >= 256 {
            let apart = word(0).unwrap().addr().abs_diff(word(1).unwrap().addr());
            assert_eq!(apart, 128, "neighbours are in different cache lines");
        }
    }
}
