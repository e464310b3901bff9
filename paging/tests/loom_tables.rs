//! The concurrent page table under loom, which runs every interleaving and every allowed outcome of weak memory within the
//! bound on preemptions. Two levels of two entries: four pages.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test -p hectare-paging --test loom_tables`. The words of tables are loom's atomics,
//! and each frame has a cell that whoever walks into it reads and whoever takes or frees it writes: a walk that may still
//! be under way when its table is freed is reported as a race. Every model names the planted fault that it must catch.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use hectare_core::sync::atomic::{AtomicU32, Ordering};
use hectare_core::{Frame, FrameRun, NoCpu, Page, PageSize, Permissions, PhysAddr, VirtAddr};
use hectare_paging::format::Toy;
use hectare_paging::table::{Grace, MapOptions, NotLoaded, Readers, SharedTable, TableWords, Transaction};
use hectare_paging::{PageTable, Touched};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use memory::{BASE, pages, user};

#[path = "support/loom_memory.rs"]
#[allow(dead_code, reason = "each model uses its part")]
mod memory;

type Small = Toy<2, 1, 0>;
type Memory = memory::Memory<FRAMES>;
type Shared =
    SharedTable<'static, Small, &'static Memory, Memory, TableWords<'static>, Readers<'static, NoCpu>>;
type Under<'t> =
    Transaction<'t, 'static, Small, &'static Memory, Memory, TableWords<'static>, Readers<'static, NoCpu>>;

/// Frames: a root, two tables, one more.
const FRAMES: usize = 4;

fn tlb() -> NotLoaded {
    // SAFETY: no CPU uses these tables.
    unsafe { NotLoaded::new() }
}

/// A shared table that maps these pages, each to the frame of its number.
fn shared(mapped: &[u64]) -> Arc<Shared> {
    let memory = Memory::new();
    let mut table = PageTable::<Small, _, _>::new(memory, memory).unwrap();
    for page in mapped {
        map_alone(&mut table, *page);
    }
    let words = (0..FRAMES).map(|_| AtomicU32::new(7)).collect::<Vec<_>>().leak();
    // SAFETY: one table, of one memory.
    let words = unsafe { TableWords::new(PhysAddr::new(BASE << 12), PageSize::SIZE_4K, words) };
    Arc::new(SharedTable::new(table, words, Readers::new(&[], NoCpu)).unwrap_or_else(|_| panic!("words")))
}

fn options() -> MapOptions {
    MapOptions::BASE_PAGES.with_touched(Touched::DIRTY)
}

fn map_alone(table: &mut PageTable<Small, &'static Memory, &'static Memory>, page: u64) {
    let run = FrameRun::new(Frame::new(page), 1).unwrap();
    table.map(Page::new(page), run, user(), options()).unwrap().later();
}

fn map(transaction: &mut Under<'_>, first: u64, frame: u64, count: u64) -> bool {
    let frames = FrameRun::new(Frame::new(frame), count).unwrap();
    transaction.map(Page::new(first), frames, user(), options()).is_ok()
}

fn finish(shared: &Shared, transaction: Under<'_>) {
    let token = transaction.commit();
    shared.finish(token, &tlb()).unwrap();
}

/// The frame of a page.
fn find(shared: &Shared, page: u64) -> Option<u64> {
    shared.find(VirtAddr::new(page << 12)).map(|hit| hit.address.value() >> 12)
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(4));
    builder.check(run);
}

/// Two that want the same pages: one gets both. (`shared_unlock_relaxed`)
#[test]
fn a_two_on_the_same_pages() {
    model(|| {
        let shared = shared(&[3]);
        let other = Arc::clone(&shared);
        let claim = |shared: &Shared, frame| {
            let mut transaction = shared.transaction(pages(0, 2)).unwrap();
            let mapped = map(&mut transaction, 0, frame, 2);
            finish(shared, transaction);
            mapped
        };
        let child = thread::spawn(move || claim(&other, 0x10));
        let ours = claim(&shared, 0x20);
        let theirs = child.join().unwrap();
        assert!(ours != theirs, "one of both has the pages: {ours} {theirs}");
        let frame = if ours { 0x20 } else { 0x10 };
        assert_eq!([find(&shared, 0), find(&shared, 1)], [Some(frame), Some(frame + 1)]);
    });
}

/// Pages under different lowest tables: nobody ever finds a lock taken.
#[test]
fn b_disjoint_pages_never_meet() {
    model(|| {
        let shared = shared(&[0, 2]);
        let other = Arc::clone(&shared);
        let claim = |shared: &Shared, page: u64| {
            let mut transaction = shared.try_transaction(pages(page, 1)).unwrap().expect("nobody has it");
            assert!(map(&mut transaction, page, page, 1));
            finish(shared, transaction);
        };
        let child = thread::spawn(move || claim(&other, 1));
        claim(&shared, 3);
        child.join().unwrap();
        assert_eq!([0, 1, 2, 3].map(|page| find(&shared, page)), [0, 1, 2, 3].map(Some));
    });
}

/// A table is unlinked while another waits for its lock, or has found it. (`shared_no_stray`)
#[test]
fn c_who_finds_a_stray_looks_again() {
    model(|| {
        let shared = shared(&[0]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || {
            let mut transaction = other.transaction(pages(1, 1)).unwrap();
            assert!(map(&mut transaction, 1, 1, 1));
            finish(&other, transaction);
        });
        let mut gone = vec![];
        let mut transaction = shared.transaction(pages(0, 4)).unwrap();
        transaction.unmap(pages(0, 4), |run| gone.extend(run.pages().iter().map(Page::number))).unwrap();
        finish(&shared, transaction);
        child.join().unwrap();
        let there = find(&shared, 1).is_some();
        assert!(there != gone.contains(&1), "page 1 is there or was reported: {there} {gone:?}");
        assert_eq!(find(&shared, 0), None);
    });
}

/// A lookup in a table that is freed, and whose frame becomes another table. (`shared_no_grace`, `grace_no_fence`)
#[test]
fn d_a_table_is_freed_under_a_lookup() {
    model(|| {
        let shared = shared(&[0]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || find(&other, 0));
        let mut transaction = shared.transaction(pages(0, 4)).unwrap();
        transaction.unmap(pages(0, 4), |_| {}).unwrap();
        finish(&shared, transaction);
        let mut transaction = shared.transaction(pages(2, 1)).unwrap();
        assert!(map(&mut transaction, 2, 2, 1));
        finish(&shared, transaction);
        let found = child.join().unwrap();
        assert!(matches!(found, None | Some(0)), "page 0 was never on {found:?}");
        assert_eq!(find(&shared, 2), Some(2));
    });
}

/// A table that was just made is its maker's until he is done. (`shared_born_free`)
#[test]
fn e_a_new_table_is_born_locked() {
    model(|| {
        let shared = shared(&[3]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || {
            let mut transaction = other.transaction(pages(1, 1)).unwrap();
            let mapped = map(&mut transaction, 1, 0x10, 1);
            finish(&other, transaction);
            mapped
        });
        let mut transaction = shared.transaction(pages(0, 2)).unwrap();
        assert!(map(&mut transaction, 0, 0x20, 1));
        let ours = map(&mut transaction, 1, 0x21, 1);
        finish(&shared, transaction);
        let theirs = child.join().unwrap();
        assert!(ours != theirs, "one of both has page 1: {ours} {theirs}");
        assert_eq!(find(&shared, 1), Some(if ours { 0x21 } else { 0x10 }));
    });
}

/// Whoever sees a table sees what is in it. (`table_link_relaxed`)
#[test]
fn f_a_table_is_filled_before_it_is_linked() {
    model(|| {
        let shared = shared(&[3]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || [find(&other, 0), find(&other, 1)]);
        let mut transaction = shared.transaction(pages(0, 2)).unwrap();
        assert!(map(&mut transaction, 0, 5, 1));
        finish(&shared, transaction);
        let [found, empty] = child.join().unwrap();
        assert!(matches!(found, None | Some(5)), "page 0 was never on {found:?}");
        assert_eq!(empty, None, "page 1 was never mapped");
    });
}

/// A straggler: it chose its phase before an earlier wait. (`grace_one_phase`)
#[test]
fn g_a_wait_is_for_both_phases() {
    model(|| {
        let world = Arc::new((Readers::new(&[], NoCpu), AtomicU32::new(0), Used(UnsafeCell::new(()))));
        let other = Arc::clone(&world);
        let child = thread::spawn(move || {
            let (readers, gone, used) = &*other;
            readers.read(|| {
                if gone.load(Ordering::Relaxed) == 0 {
                    used.0.with(|_| ());
                }
            });
        });
        let (readers, gone, used) = &*world;
        readers.wait();
        gone.store(1, Ordering::Relaxed);
        readers.wait();
        used.0.with_mut(|_| ());
        child.join().unwrap();
    });
}

/// A parent's range and a child's, each of which waits for the other's locks: nobody waits for ever, nothing is lost.
#[test]
fn h_a_wide_and_a_narrow_one() {
    model(|| {
        let shared = shared(&[0, 1]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || {
            let mut transaction = other.transaction(pages(0, 2)).unwrap();
            transaction.protect(pages(0, 2), Permissions::READ).unwrap();
            finish(&other, transaction);
        });
        let mut transaction = shared.transaction(pages(1, 2)).unwrap();
        assert!(map(&mut transaction, 2, 2, 1));
        transaction.unmap(pages(1, 1), |run| assert_eq!(run.frames().first().number(), 1)).unwrap();
        finish(&shared, transaction);
        child.join().unwrap();
        assert_eq!([0, 1, 2].map(|page| find(&shared, page)), [Some(0), None, Some(2)]);
        let hit = shared.find(VirtAddr::new(0)).unwrap();
        assert_eq!(hit.attributes().permissions, Permissions::READ);
    });
}

/// A larger leaf takes a table's place under a lookup: the page is there all the time. (`shared_one_look`,
/// `table_retire_relaxed`)
#[test]
fn i_a_table_becomes_a_leaf_under_a_lookup() {
    model(|| {
        let shared = shared(&[0, 1]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || [find(&other, 0), find(&other, 1)]);
        let mut transaction = shared.transaction(pages(0, 4)).unwrap();
        transaction.coalesce(pages(0, 4)).unwrap();
        let token = transaction.commit();
        assert!(token.owns_tables());
        shared.finish(token, &tlb()).unwrap();
        assert_eq!(child.join().unwrap(), [Some(0), Some(1)], "mapped all the time");
        assert_eq!([find(&shared, 0), find(&shared, 1)], [Some(0), Some(1)]);
    });
}

/// Pages move, and others are mapped beside their new place: no lookup at the old place finds those. (`shared_move_tables`)
#[test]
fn j_a_move_under_a_lookup() {
    model(|| {
        let shared = shared(&[0]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || [find(&other, 1), find(&other, 0)]);
        let mut transaction = shared.transaction_on_both(pages(0, 2), pages(2, 2)).unwrap();
        transaction.remap(pages(0, 2), Page::new(2)).unwrap();
        finish(&shared, transaction);
        let mut transaction = shared.transaction(pages(3, 1)).unwrap();
        assert!(map(&mut transaction, 3, 0x30, 1));
        finish(&shared, transaction);
        let [beside, found] = child.join().unwrap();
        assert_eq!(beside, None, "page 1 was never mapped");
        assert!(matches!(found, None | Some(0)), "page 0 was never on {found:?}");
        assert_eq!([0, 1, 2, 3].map(|page| find(&shared, page)), [None, None, Some(0), Some(0x30)]);
    });
}

/// A move and a map of its new place: both sides are locked, so one of both has it. (`shared_move_one_side`)
#[test]
fn k_a_move_and_a_map_of_its_target() {
    model(|| {
        let shared = shared(&[0, 3]);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || {
            let mut transaction = other.transaction(pages(2, 1)).unwrap();
            let mapped = map(&mut transaction, 2, 0x20, 1);
            finish(&other, transaction);
            mapped
        });
        let mut transaction = shared.transaction_on_both(pages(2, 1), pages(0, 1)).unwrap();
        let moved = transaction.remap(pages(0, 1), Page::new(2)).is_ok();
        finish(&shared, transaction);
        let mapped = child.join().unwrap();
        assert!(moved != mapped, "one of both has page 2: {moved} {mapped}");
        let there = if moved { [None, Some(0)] } else { [Some(0), Some(0x20)] };
        assert_eq!([find(&shared, 0), find(&shared, 2)], there);
    });
}

/// Software marks a page as written while another unmaps it: told, or refused. (the lock: `shared_unlock_relaxed`)
#[test]
fn l_a_mark_of_software_is_not_lost() {
    model(|| {
        let shared = clean(0);
        let other = Arc::clone(&shared);
        let child = thread::spawn(move || {
            let mut transaction = other.transaction(pages(0, 1)).unwrap();
            let there = transaction.find(VirtAddr::new(0)).unwrap().is_some();
            transaction.touch(pages(0, 1), Touched::DIRTY).unwrap();
            finish(&other, transaction);
            there
        });
        let mut dirty = false;
        let mut transaction = shared.transaction(pages(0, 1)).unwrap();
        transaction.unmap(pages(0, 1), |run| dirty = run.touched().dirty).unwrap();
        finish(&shared, transaction);
        assert_eq!(child.join().unwrap(), dirty, "marked, and told so");
    });
}

/// A shared table with one page that is neither accessed nor dirty.
fn clean(page: u64) -> Arc<Shared> {
    let shared = shared(&[page]);
    let mut transaction = shared.transaction(pages(page, 1)).unwrap();
    transaction.harvest(pages(page, 1), Touched::DIRTY, |_| {}).unwrap();
    finish(&shared, transaction);
    shared
}

struct Used(UnsafeCell<()>);

// SAFETY: loom's cell reports unordered accesses.
unsafe impl Send for Used {}
// SAFETY: as above.
unsafe impl Sync for Used {}
