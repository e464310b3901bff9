//! Page tables: nanoseconds for each leaf entry beside the plain loop that stores the same entries, and beside the peers
//! on the same work in the same memory.

mod peers;
mod pool;
mod rows;

use core::hint::black_box;

use hectare_core::{Frame, FrameRun, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::format::X86_64;
use hectare_paging::table::{MapOptions, NotLoaded};
use hectare_paging::{Attributes, PageTable, TableFormat, Touched};

use self::pool::{POOL, Pool};
use super::{Bound, Figure};
use crate::clock::thread_ns;
use crate::rounds::{interleave, median};

pub use rows::figures;

/// Leaves of the common range: 1 GiB in base pages.
const LEAVES: u64 = 1 << 18;
/// Its first page: 256 GiB, so that four levels are used.
const FIRST: u64 = 1 << 26;
/// The frames it maps, which nobody touches.
const MEMORY: u64 = 1 << 24;

type Window = hectare_core::DirectMap;
type Ours<F> = PageTable<F, Window, &'static Pool>;
type X64 = X86_64<4>;

/// The measured tables are in no CPU.
#[expect(unsafe_code, reason = "a promise about CPUs")]
fn tlb() -> NotLoaded {
    // SAFETY: these tables are never loaded.
    unsafe { NotLoaded::new() }
}

fn user() -> Attributes {
    Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER)
}

fn pages(first: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(first), count).expect("a run")
}

fn frames(first: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(first), count).expect("a run")
}

fn address(page: u64) -> VirtAddr {
    VirtAddr::new(page << 12)
}

/// An empty table of ours.
fn empty<F: TableFormat>() -> Ours<F> {
    PageTable::new(POOL.window(), &*POOL).expect("a root")
}

/// Base pages, as the machine leaves them after use.
fn used() -> MapOptions {
    MapOptions::BASE_PAGES.with_touched(Touched::DIRTY)
}

/// The common range mapped with base pages.
fn mapped<F: TableFormat>(options: MapOptions) -> Ours<F> {
    let mut table = empty::<F>();
    let run = frames(MEMORY, LEAVES);
    table.map(Page::new(FIRST), run, F::nearest(user()), options).expect("mapped").finish(&tlb());
    table
}

/// Nanoseconds for each of `units`, of the part that is worth timing.
fn timed<R>(units: u64, run: impl FnOnce() -> R) -> f64 {
    let start = thread_ns();
    black_box(run());
    (thread_ns() - start) as f64 / units as f64
}

/// One contestant: prepares, times its part, cleans up; nanoseconds for each unit.
type Pass<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// The median of each contestant's rounds.
fn contest(mut passes: Vec<Pass<'_>>, rounds: usize) -> Vec<f64> {
    let free = POOL.free();
    let times = interleave(passes.len(), rounds, |_| true, |_, who| passes[who]());
    drop(passes);
    assert!(POOL.free() >= free, "a contestant kept frames");
    times.iter().map(|times| median(times).expect("at least one round")).collect()
}

/// The least of the peers' medians.
fn best(peers: &[f64]) -> f64 {
    peers.iter().copied().fold(f64::INFINITY, f64::min)
}

/// A figure beside a limit: so many times its time.
fn beside(name: &str, ours: f64, limit: f64, most: f64) -> Figure {
    let mut figure = Figure::beside(name, ours, limit, Bound::AtMost(most));
    figure.timed = true;
    figure
}
