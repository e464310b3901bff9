//! The hostile translation unit as a second thread under loom: it walks, caches, sets accessed and dirty bits and writes
//! through what it cached, between any two stores of a change, in every order that weak memory allows.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test -p hectare-paging --test loom_hostile`. Tables have two levels of two
//! entries: four pages. Their words are loom's atomics, and each frame has a cell that a walk reads and the frame source
//! writes: a table that is freed under a walk is reported as a race. Every model names the planted faults that it must
//! catch.
//!
//! ```text
//!   the table's thread     store ── store ── store ── invalidate ── free
//!   the unit               walk ──── cache ──── set a bit ──── write through the cache
//!                                 (a lock around its cache: an invalidation waits for the walk under way)
//! ```
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use hectare_core::sync::atomic::{AtomicU64, Ordering};
use hectare_core::{Frame, FrameRun, Page, Permissions, PhysAddr};
use hectare_paging::format::Toy;
use hectare_paging::table::{Invalidation, MapOptions, TableFormat, Tlb};
use hectare_paging::{Attributes, Flush, Kind, PageTable, Touched};
use loom::sync::{Arc, Mutex};
use loom::thread;

use memory::{GARBAGE, pages, user};

#[path = "support/loom_memory.rs"]
#[allow(dead_code, reason = "each model uses its part")]
mod memory;

/// Without and with contiguous runs of two entries.
type Small = Toy<2, 1, 0>;
type Runs = Toy<2, 1, 1>;
type Table<F> = PageTable<F, &'static Memory, &'static Memory>;

/// Frames: a root and two tables.
type Memory = memory::Memory<3>;

/// A leaf as it was when it was walked to. It translates `pages`.
#[derive(Clone, Copy)]
struct Leaf {
    entry: u64,
    level: usize,
    first: u64,
    count: u64,
    /// The frame of the first page.
    frame: u64,
}

impl Leaf {
    fn holds(&self, page: u64) -> bool {
        (self.first..self.first + self.count).contains(&page)
    }

    fn frame_of(&self, page: u64) -> u64 {
        self.frame + (page - self.first)
    }
}

#[derive(Default)]
struct Cache {
    leaves: Vec<Leaf>,
    /// The table below each entry of the root.
    tables: [Option<u64>; 2],
    /// Frames that were written.
    written: Vec<u64>,
}

struct Unit<F> {
    memory: &'static Memory,
    root: u64,
    cache: Mutex<Cache>,
    format: core::marker::PhantomData<F>,
}

// SAFETY: it forgets what is named, and waits for a walk under way.
unsafe impl<F: TableFormat<Entry = u64>> Tlb for Unit<F> {
    fn invalidate(&self, what: &Invalidation<'_>) {
        let mut cache = self.cache.lock().unwrap();
        let named = |leaf: &Leaf| {
            what.everything
                || what.spans.iter().any(|span| {
                    let first = span.first().value() >> 12;
                    let step = usize::try_from(span.stride().bytes() >> 12).unwrap();
                    (first..first + (span.count() << (span.stride().log2() - 12)))
                        .step_by(step)
                        .any(|page| leaf.holds(page))
                })
        };
        cache.leaves.retain(|leaf| !named(leaf));
        if what.tables {
            cache.tables = [None; 2];
        }
    }
}

impl<F: TableFormat<Entry = u64>> Unit<F> {
    fn new(memory: &'static Memory, root: PhysAddr) -> Arc<Self> {
        let (cache, format) = (Mutex::new(Cache::default()), core::marker::PhantomData);
        Arc::new(Self { memory, root: root.value(), cache, format })
    }

    /// What the walk for a page finds, and where. Address dependencies order its loads, which loom knows as acquire.
    fn walk(&self, cache: &mut Cache, page: u64) -> Option<(Leaf, &AtomicU64)> {
        let (high, low) = ((page >> 1) as usize, (page & 1) as usize);
        let table = match cache.tables[high] {
            Some(table) => table,
            None => {
                let place = &self.memory.words(self.root).unwrap()[high];
                let entry = place.load(Ordering::Acquire);
                match F::kind(entry, 1) {
                    Kind::Absent => return None,
                    Kind::Leaf => {
                        let frame = F::leaf_address(entry, 1, high).value() >> 12;
                        let leaf = Leaf { entry, level: 1, first: page & !1, count: 2, frame };
                        return Some((leaf, place));
                    }
                    _ => F::table_address(entry, 1).value(),
                }
            }
        };
        let place = &self.memory.words(table).unwrap()[low];
        cache.tables[high] = Some(table);
        let entry = place.load(Ordering::Relaxed);
        if F::kind(entry, 0) != Kind::Leaf {
            return None;
        }
        let frame = F::leaf_address(entry, 0, low).value() >> 12;
        assert!(frame < GARBAGE, "a walk through a table that was not written");
        let run = u64::from(F::RUNS[0].is_some_and(|_| F::is_contiguous(entry, 0)));
        let (first, frame) = (page & !run, frame - (page & run));
        Some((Leaf { entry, level: 0, first, count: 1 + run, frame }, place))
    }

    /// Sets bits in what maps a frame at a page, and in a contiguous run in its other entry if `other` is set.
    fn set(&self, cache: &mut Cache, page: u64, frame: u64, touched: Touched, other: bool) -> Option<Leaf> {
        let (mut leaf, mut place) =
            self.walk(cache, page).filter(|(leaf, _)| leaf.frame_of(page) == frame)?;
        if other && leaf.level == 0 && leaf.count == 2 {
            if let Some(found) = self.walk(cache, page ^ 1).filter(|(other, _)| other.count == 2) {
                (leaf, place) = found;
            }
        }
        loop {
            let marks = F::touched(leaf.entry, leaf.level).or(touched);
            let marked = F::with_touched(leaf.entry, marks, leaf.level);
            match place.compare_exchange(leaf.entry, marked, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Leaf { entry: marked, ..leaf }),
                Err(now) if F::kind(now, leaf.level) == Kind::Leaf => leaf.entry = now,
                Err(_) => return None,
            }
        }
    }

    /// A store by a program, through the cache if the page is there. It sets the dirty bit of any entry of a contiguous
    /// run, and does not look at the right to write again.
    fn write(&self, page: u64) {
        let mut cache = self.cache.lock().unwrap();
        let cache = &mut *cache;
        let at = cache.leaves.iter().position(|leaf| leaf.holds(page)).or_else(|| {
            let (leaf, _) = self.walk(cache, page)?;
            let leaf = self.set(cache, page, leaf.frame_of(page), Touched::ACCESSED, false)?;
            cache.leaves.push(leaf);
            Some(cache.leaves.len() - 1)
        });
        let Some(at) = at else { return };
        let leaf = cache.leaves[at];
        if !F::attributes(leaf.entry, leaf.level).permissions.contains(Permissions::WRITE) {
            return;
        }
        if !F::touched(leaf.entry, leaf.level).dirty {
            let Some(now) = self.set(cache, page, leaf.frame_of(page), Touched::DIRTY, true) else {
                cache.leaves.swap_remove(at);
                return;
            };
            if now.count == leaf.count {
                cache.leaves[at].entry = F::with_touched(leaf.entry, Touched::DIRTY, leaf.level);
            }
        }
        cache.written.push(leaf.frame_of(page));
    }

    fn has_written(&self, frame: u64) -> bool {
        self.cache.lock().unwrap().written.contains(&frame)
    }
}

/// A table with these pages mapped to the frames of their numbers plus 1, and its unit.
fn machine<F: TableFormat<Entry = u64>>(
    mapped: &[(u64, u64)],
    attributes: Attributes,
    options: MapOptions,
) -> (Table<F>, Arc<Unit<F>>) {
    let memory = Memory::new();
    let mut table = Table::<F>::new(memory, memory).unwrap();
    for (first, count) in mapped {
        map(&mut table, *first, *count, attributes, options);
    }
    let unit = Unit::new(memory, table.root());
    (table, unit)
}

fn frame(page: u64) -> u64 {
    page + 0x10
}

fn map<F: TableFormat<Entry = u64>>(
    table: &mut Table<F>,
    first: u64,
    count: u64,
    attributes: Attributes,
    options: MapOptions,
) {
    let run = FrameRun::new(Frame::new(frame(first)), count).unwrap();
    table.map(Page::new(first), run, attributes, options).unwrap().later();
}

/// Whether each page's entry says that it was written.
fn is_dirty<F: TableFormat<Entry = u64>>(table: &Table<F>, page: u64) -> bool {
    table.runs(pages(page, 1)).unwrap().any(|run| run.touched().dirty)
}

fn unmap<F: TableFormat<Entry = u64>>(table: &mut Table<F>, dirty: &mut Vec<u64>) -> Flush {
    let token = table.unmap(pages(0, 4), |run| {
        if run.touched().dirty {
            dirty.extend(run.frames().iter().map(Frame::number));
        }
    });
    token.unwrap()
}

/// `change` on one thread, the unit's writes on another; then everything that was written must be known.
fn model<F: TableFormat<Entry = u64>>(
    mapped: &'static [(u64, u64)],
    attributes: Attributes,
    options: MapOptions,
    writes: &'static [u64],
    change: fn(&mut Table<F>, &Unit<F>, &mut Vec<u64>),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let (mut table, unit) = machine::<F>(mapped, attributes, options);
        let other = Arc::clone(&unit);
        let child = thread::spawn(move || writes.iter().for_each(|page| other.write(*page)));
        let mut told = vec![];
        change(&mut table, &unit, &mut told);
        child.join().unwrap();
        for page in 0..4 {
            let known = told.contains(&frame(page)) || is_dirty(&table, page);
            assert!(known || !unit.has_written(frame(page)), "a write to page {page} was lost");
        }
        // Everything was paid: what is still cached is what the tables say.
        let cache = core::mem::take(&mut *unit.cache.lock().unwrap());
        for leaf in cache.leaves {
            for page in leaf.first..leaf.first + leaf.count {
                let run = table.runs(pages(page, 1)).unwrap().next().expect("stale: the page is gone");
                let rights = F::attributes(leaf.entry, leaf.level).permissions;
                assert!(run.attributes().permissions.contains(rights), "stale: {rights:?} of page {page}");
            }
        }
    });
}

const FRESH: MapOptions = MapOptions::BASE_PAGES;

/// The unit never sees what a fresh frame held. (`table_link_early`, `table_no_zero`, `table_link_relaxed`)
#[test]
fn a_a_table_is_filled_before_it_is_linked() {
    // Two tables, of each a half; and one page, which has a path of its own.
    model::<Small>(&[], user(), FRESH, &[2, 3], |table, _, _| map(table, 1, 2, user(), FRESH));
    model::<Small>(&[], user(), FRESH, &[0, 1], |table, _, _| map(table, 0, 1, user(), FRESH));
}

/// A table that goes is freed when no walk can use it any more, and writes up to then are told. (`table_free_early`,
/// `table_no_flush`, `table_lost_dirty`)
#[test]
fn b_a_page_goes_with_its_table() {
    model::<Small>(&[(0, 1)], user(), FRESH, &[0, 0], |table, unit, told| {
        let token = unmap(table, told);
        table.finish(token, unit).unwrap();
    });
}

/// A right to write is taken, then the page goes before that is paid. (`table_unsettled`)
#[test]
fn c_a_write_through_a_stale_right() {
    let options = FRESH.with_touched(Touched::ACCESSED);
    model::<Small>(&[(0, 1), (3, 1)], user(), options, &[0], |table, unit, told| {
        let mut token = table.protect(pages(0, 4), Permissions::READ).unwrap();
        let other = unmap(table, told);
        table.merge(&mut token, other).unwrap();
        table.finish(token, unit).unwrap();
    });
}

/// A contiguous run gets the right to write entry by entry. (`table_run_settled`)
#[test]
fn d_a_right_that_spreads() {
    let options = FRESH.with_touched(Touched::ACCESSED);
    model::<Runs>(&[(0, 2)], Attributes::new(Permissions::READ), options, &[0], |table, unit, _| {
        let token = table.protect(pages(0, 4), user().permissions).unwrap();
        table.finish(token, unit).unwrap();
    });
}

/// A huge leaf is split while it is written.
#[test]
fn e_a_part_of_a_huge_leaf_loses_a_right() {
    model::<Small>(&[(0, 2)], user(), MapOptions::DEFAULT, &[0, 1], |table, unit, _| {
        let token = table.protect(pages(1, 1), Permissions::READ).unwrap();
        table.finish(token, unit).unwrap();
    });
}

/// A table becomes a huge leaf while its pages are written.
#[test]
fn f_a_table_becomes_a_leaf() {
    model::<Small>(&[(0, 2)], user(), FRESH, &[0, 1], |table, unit, _| {
        let token = table.coalesce(pages(0, 4)).unwrap();
        table.finish(token, unit).unwrap();
    });
}

/// Dirty bits are collected while pages are written: told now, or still there.
#[test]
fn g_a_harvest_tells_or_leaves() {
    model::<Small>(&[(0, 2)], user(), FRESH, &[0, 1], |table, unit, told| {
        let token = table.harvest(pages(0, 4), Touched::DIRTY, |run| {
            if run.touched().dirty {
                told.extend(run.frames().iter().map(Frame::number));
            }
        });
        table.finish(token.unwrap(), unit).unwrap();
    });
}
