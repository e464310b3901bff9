//! All CPUs change and read one set of pages at once. Who changes a page says so only after its shootdown: from then on
//! no CPU may see the older frame.
//!
//! ```text
//!   changes (under the lock):  unmap ─► shootdown ─► other frame with the next number ─► map ─► version = number
//!   reads (without):           version ─► read through the page ─► a fault, or at least that number
//! ```
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use hectare_core::{FrameRun, Locked};
use spin::Once;

use super::{KERNEL_DATA, STAGE, Table, give, map, take, unmap, window};
use crate::arch::{self, Console};
use crate::check::Checks;
use crate::cpus::{self, CPUS, Lock};
use crate::memory::FRAME;
use crate::random::Random;

const PAGES: usize = 16;
const CHANGES: u64 = arch::SHOOTDOWNS;
const READS: u64 = 20;
/// After so many changes of each CPU all of them wait for each other.
const ROUND: u64 = 10;

struct Shared {
    table: Table,
    frames: [Option<FrameRun>; PAGES],
    number: u64,
}

static SHARED: Once<Locked<Lock, Option<Shared>>> = Once::new();
static VERSIONS: [AtomicU64; PAGES] = [const { AtomicU64::new(0) }; PAGES];
static READ: AtomicU64 = AtomicU64::new(0);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static STALE: AtomicU64 = AtomicU64::new(0);
static MET: AtomicU64 = AtomicU64::new(0);

pub fn stage(checks: &mut Checks, table: Table) -> Table {
    let shared = Shared { table, frames: [None; PAGES], number: 0 };
    let lock = SHARED.call_once(|| Locked::new(Some(shared)));
    cpus::on_all(hammer);
    let (read, faults) = (READ.load(Ordering::Relaxed), FAULTS.load(Ordering::Relaxed));
    let stale = STALE.load(Ordering::Relaxed);
    let changes = CHANGES * CPUS as u64;
    let _ = writeln!(Console, "shootdown: {changes} changes, {read} reads, {faults} faults, {stale} stale");
    checks.that(stale == 0, "no CPU sees a frame after its shootdown");
    checks.that(read > faults && read == changes * READS, "pages were read");
    let mut shared = lock.with(Option::take).ok().flatten().expect("it was put there");
    unmap(&mut shared.table, STAGE, PAGES as u64);
    shared.frames.into_iter().flatten().for_each(give);
    shared.table
}

fn hammer(cpu: usize) {
    let mut random = Random::new(1000 + cpu as u64);
    let lock = SHARED.get().expect("before the hammer");
    for nth in 0..CHANGES {
        if nth % ROUND == 0 {
            meet(nth / ROUND + 1);
        }
        let at = random.below(PAGES as u64) as usize;
        let _ = lock.with(|shared| shared.as_mut().expect("during the hammer").change(at));
        for _ in 0..READS {
            // Where one thread of the host runs all CPUs in turns, it is the next one's.
            arch::relax();
            let at = random.below(PAGES as u64) as usize;
            let version = VERSIONS[at].load(Ordering::Acquire);
            READ.fetch_add(1, Ordering::Relaxed);
            match arch::probe_read(address(at)) {
                Ok(number) if number >= version => {}
                Ok(_) => _ = STALE.fetch_add(1, Ordering::Relaxed),
                Err(_) => _ = FAULTS.fetch_add(1, Ordering::Relaxed),
            }
        }
    }
}

/// Waits until every CPU has come here so many times. On a busy host one CPU would otherwise do all of its work before the
/// next one begins, and no translation could be stale.
fn meet(times: u64) {
    MET.fetch_add(1, Ordering::AcqRel);
    while MET.load(Ordering::Acquire) < times * CPUS as u64 {
        arch::relax();
    }
}

impl Shared {
    /// Another frame for page `at`, with the next number in it. The old frame goes back last, so that it is not taken
    /// again: through a stale translation it is still seen.
    fn change(&mut self, at: usize) {
        let (frame, old) = (take(0), self.frames[at].take());
        self.number += 1;
        // SAFETY: just taken.
        unsafe { window(frame.first()).write_volatile(self.number) };
        if let Some(old) = old {
            unmap(&mut self.table, address(at), 1);
            // Whoever reads it now reads too small a number.
            // SAFETY: no page shows it.
            unsafe { window(old.first()).write_volatile(0) };
        }
        map(&mut self.table, address(at), frame, KERNEL_DATA);
        self.frames[at] = Some(frame);
        VERSIONS[at].store(self.number, Ordering::Release);
        old.into_iter().for_each(give);
    }
}

fn address(at: usize) -> u64 {
    STAGE + at as u64 * FRAME.bytes()
}
