//! Several CPUs: the table of transactions beside a table of one owner, alone and under a spin lock.
//!
//! ```text
//!   thread 0    │ neighbour │ ▓▓▓▓ │      │      │      each thread maps and unmaps ranges of its own 1 GiB, all below one
//!   thread 1    │ neighbour │      │ ▓▓▓▓ │      │      table of level 0; a neighbour keeps that table linked throughout
//! ```
//! Each thread's CPU time is measured, on a processor of its own. Waiting for the lock is CPU time, too.
#![expect(unsafe_code, reason = "lock words, sections and numbers of CPUs: promises about this process")]

use core::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use hectare_core::{Locked, Page, PageSize, PhysAddr, SpinLock, VirtAddr};
use hectare_paging::PageTable;
use hectare_paging::table::{Grace, Readers, SharedTable, Stripe, TableWords};

use crate::clock::thread_ns;
use crate::figures::tables::pool::{self, POOL, Pool};
use crate::figures::tables::{
    FIRST, MEMORY, Ours, Window, X64, address, beside, frames, pages, tlb, used, user,
};
use crate::figures::{Bound, Figure, Random};
use crate::frames::cpu::{ThreadCpu, enter, stay_on};
use crate::rounds::{interleave, median};

/// Pages of each thread's part, and the gap between them.
const PART: u64 = 512;
const APART: u64 = 1 << 18;
const THREADS: usize = 2;

type Source = Locked<SpinLock, &'static Pool>;
type Shared<'s, G> = SharedTable<'s, X64, Window, Source, TableWords<'s>, G>;

/// Sections as a kernel has them that runs with preemption off anyway: nothing to do.
struct Sections;

// SAFETY: no table is freed while lookups run here: the neighbours keep them linked.
unsafe impl Grace for Sections {
    #[inline(always)]
    fn read<R>(&self, walk: impl FnOnce() -> R) -> R {
        walk()
    }

    fn wait(&self) {}
}

/// What is measured: something that maps, unmaps and finds.
trait Subject: Sync {
    fn map(&self, first: u64, count: u64);
    fn unmap(&self, first: u64, count: u64) -> u64;
    fn find(&self, at: VirtAddr) -> u64;
}

impl<G: Grace + Sync> Subject for Shared<'_, G> {
    #[inline]
    fn map(&self, first: u64, count: u64) {
        let mut transaction = self.transaction(pages(first, count)).expect("in reach");
        transaction.map(Page::new(first), frames(MEMORY, count), user(), used()).expect("empty");
        self.finish(transaction.commit(), &tlb()).expect("its own token");
    }

    #[inline]
    fn unmap(&self, first: u64, count: u64) -> u64 {
        let mut sum = 0;
        let mut transaction = self.transaction(pages(first, count)).expect("in reach");
        transaction.unmap(pages(first, count), |run| sum += run.count()).expect("no split");
        self.finish(transaction.commit(), &tlb()).expect("its own token");
        sum
    }

    #[inline]
    fn find(&self, at: VirtAddr) -> u64 {
        SharedTable::find(self, at).map_or(0, |hit| hit.address.value())
    }
}

/// A table of one owner, behind a lock. (Taken out at the end, to be destroyed.)
type Behind = Locked<SpinLock, Option<Ours<X64>>>;

#[inline(always)]
fn under<R>(locked: &Behind, act: impl FnOnce(&mut Ours<X64>) -> R) -> R {
    locked.with(|table| act(table.as_mut().expect("it is there"))).expect("not nested")
}

impl Subject for Behind {
    #[inline]
    fn map(&self, first: u64, count: u64) {
        under(self, |table| Owner::map(table, first, count));
    }

    #[inline]
    fn unmap(&self, first: u64, count: u64) -> u64 {
        under(self, |table| Owner::unmap(table, first, count))
    }

    #[inline]
    fn find(&self, at: VirtAddr) -> u64 {
        under(self, |table| table.find(at).map_or(0, |hit| hit.address.value()))
    }
}

trait Owner {
    fn map(&mut self, first: u64, count: u64);
    fn unmap(&mut self, first: u64, count: u64) -> u64;
}

impl Owner for Ours<X64> {
    #[inline]
    fn map(&mut self, first: u64, count: u64) {
        PageTable::map(self, Page::new(first), frames(MEMORY, count), user(), used())
            .expect("empty")
            .finish(&tlb());
    }

    #[inline]
    fn unmap(&mut self, first: u64, count: u64) -> u64 {
        let mut sum = 0;
        let token = PageTable::unmap(self, pages(first, count), |run| sum += run.count()).expect("no split");
        self.finish(token, &tlb()).expect("its own token");
        sum
    }
}

/// A table with all neighbours, or the whole first part, mapped.
macro_rules! table {
    ($source:expr, $count:expr) => {{
        let mut table = PageTable::<X64, Window, _>::new(POOL.window(), $source).expect("a root");
        for thread in 0..THREADS as u64 {
            let first = Page::new(FIRST + thread * APART);
            table.map(first, frames(MEMORY, $count), user(), used()).expect("empty").finish(&tlb());
        }
        table
    }};
}

/// Runs with a table of transactions.
fn with_shared<G: Grace + Sync, R>(count: u64, grace: G, run: impl FnOnce(&Shared<'_, G>) -> R) -> R {
    let source = Source::new(&*POOL);
    let mut words: Vec<AtomicU32> = (0..Pool::singles()).map(|_| AtomicU32::new(0)).collect();
    // SAFETY: the pool hands each frame out once.
    let words = unsafe { TableWords::new(PhysAddr::new(pool::FIRST), PageSize::SIZE_4K, &mut words) };
    let shared = SharedTable::new(table!(&source, count), words, grace);
    let shared = shared.unwrap_or_else(|_| panic!("a word for each frame"));
    let result = run(&shared);
    let (mut table, token) = shared.into_table();
    table.finish(token, &tlb()).expect("its own token");
    let _ = table.destroy(&tlb());
    result
}

fn with_locked<R>(count: u64, run: impl FnOnce(&Behind) -> R) -> R {
    let locked = Behind::new(Some(table!(&*POOL, count)));
    let result = run(&locked);
    let table = locked.with(Option::take).expect("not nested");
    table.expect("it is there").destroy(&tlb());
    result
}

/// The work of one thread; nanoseconds for each of `units`.
fn measure(threads: usize, units: u64, work: impl Fn(u64) + Sync) -> f64 {
    let (barrier, work) = (&Barrier::new(threads), &work);
    let run = move |cpu: usize| {
        stay_on(cpu);
        enter(cpu);
        barrier.wait();
        let start = thread_ns();
        work(cpu as u64);
        (thread_ns() - start) as f64 / units as f64
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || run(cpu))).collect();
        let times = running.into_iter().map(|thread| thread.join().expect("threads do not panic"));
        times.sum::<f64>() / threads as f64
    })
}

fn stripes() -> [Stripe; THREADS] {
    [const { Stripe::new() }; THREADS]
}

fn cpus() -> ThreadCpu {
    // SAFETY: `measure` gives each thread a number of its own, and sections do not nest.
    unsafe { ThreadCpu::new(THREADS) }
}

/// Maps and unmaps `count` pages, at places that go round.
fn pairs(subject: &impl Subject, thread: u64, count: u64, pairs: u64) {
    let places = (PART - 1) / count;
    for nth in 0..pairs {
        let first = FIRST + thread * APART + 1 + nth % places * count;
        subject.map(black_box(first), count);
        assert_eq!(black_box(subject.unmap(first, count)), count);
    }
}

/// As [`pairs`], with the table in hand.
fn pairs_alone(table: &mut Ours<X64>, count: u64, pairs: u64) {
    let places = (PART - 1) / count;
    for nth in 0..pairs {
        let first = FIRST + 1 + nth % places * count;
        Owner::map(table, black_box(first), count);
        assert_eq!(black_box(Owner::unmap(table, first, count)), count);
    }
}

fn medians(times: &[Vec<f64>]) -> Vec<f64> {
    times.iter().map(|times| median(times).unwrap_or(f64::NAN)).collect()
}

/// Ranges mapped and unmapped by one thread and by two.
pub(super) fn ranges(rounds: usize) -> Vec<Figure> {
    let mut figures = vec![];
    for (count, repeats, bound) in
        [(1, 100_000, Bound::Recorded), (64, 20_000, Bound::AtMost(1.5)), (256, 8_000, Bound::AtMost(1.5))]
    {
        let shared = |threads| {
            let stripes = stripes();
            with_shared(1, Readers::new(&stripes, cpus()), |shared| {
                measure(threads, repeats, |thread| pairs(shared, thread, count, repeats))
            })
        };
        let locked = |threads| {
            with_locked(1, |locked| measure(threads, repeats, |thread| pairs(locked, thread, count, repeats)))
        };
        let alone = || {
            with_locked(1, |locked| {
                measure(1, repeats, |_| {
                    under(locked, |table| pairs_alone(table, count, repeats));
                })
            })
        };
        let times = interleave(
            5,
            rounds,
            |_| true,
            |_, who| match who {
                0 => shared(1),
                1 => shared(2),
                2 => locked(1),
                3 => locked(2),
                _ => alone(),
            },
        );
        let ns = medians(&times);
        let row = format!("tables: many CPUs, map and unmap {count} pages, ns");
        let mut single = Figure::beside(format!("{row}, 1 thread, beside one owner"), ns[0], ns[4], bound);
        single.timed = true;
        figures.push(single);
        figures.push(Figure::time(format!("{row}, 1, beside a spin lock"), ns[0], ns[2], Bound::Recorded));
        figures.push(Figure::time(
            format!("{row}, 2, beside a spin lock"),
            ns[1],
            ns[3],
            Bound::AtLeast(1.0),
        ));
    }
    figures
}

/// Finds all of them.
fn sum(subject: &impl Subject, addresses: &[VirtAddr]) {
    black_box(addresses.iter().fold(0_u64, |sum, at| sum.wrapping_add(subject.find(*at))));
}

/// Lookups without locks.
pub(super) fn lookups(rounds: usize) -> Vec<Figure> {
    const COUNT: u64 = 1 << 15;
    let mut random = Random::new(9);
    let addresses: Vec<VirtAddr> =
        (0..1 << 15).map(|_| address(FIRST + random.range(0, COUNT as usize) as u64)).collect();
    let units = addresses.len() as u64;
    let kernel = || with_shared(COUNT, Sections, |shared| measure(1, units, |_| sum(shared, &addresses)));
    let counted = |threads| {
        let stripes = stripes();
        let readers = Readers::new(&stripes, cpus());
        with_shared(COUNT, readers, |shared| measure(threads, units, |_| sum(shared, &addresses)))
    };
    let locked = |threads| with_locked(COUNT, |locked| measure(threads, units, |_| sum(locked, &addresses)));
    let alone = || {
        with_locked(COUNT, |locked| {
            measure(1, units, |_| {
                let look = |table: &mut Ours<X64>| {
                    let found = addresses.iter().filter_map(|at| table.find(*at));
                    black_box(found.map(|hit| hit.address.value()).fold(0, u64::wrapping_add));
                };
                under(locked, look);
            })
        })
    };
    let times = interleave(
        6,
        rounds,
        |_| true,
        |_, who| match who {
            0 => kernel(),
            1 => counted(1),
            2 => counted(2),
            3 => locked(1),
            4 => locked(2),
            _ => alone(),
        },
    );
    let ns = medians(&times);
    let row = "tables: many CPUs, translate one, ns";
    vec![
        beside(&format!("{row}, in a kernel's sections, beside one owner"), ns[0], ns[5], 1.1),
        Figure::time(
            format!("{row}, in counted sections, 1 thread, beside a spin lock"),
            ns[1],
            ns[3],
            Bound::AtLeast(1.0),
        ),
        Figure::time(
            format!("{row}, in counted sections, 2, beside a spin lock"),
            ns[2],
            ns[4],
            Bound::AtLeast(1.0),
        ),
    ]
}
