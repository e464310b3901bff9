//! Resident memory: while one thread frees what sixteen allocate, and after everything was freed.

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

use super::names;
use crate::family::Functions;
use crate::figures::{Bound, Figure, Random};
use crate::heap::threads::wait_until;
use crate::ours::Hosted;

macro_rules! by_name {
    ($name:expr, $work:ident) => {
        match $name {
            "hectare-hosted" => Some($work::<Hosted>()),
            #[cfg(feature = "native-peers")]
            "mimalloc" => Some($work::<crate::peers::Mimalloc>()),
            #[cfg(feature = "native-peers")]
            "snmalloc" => Some($work::<crate::peers::Snmalloc>()),
            #[cfg(feature = "native-peers")]
            "jemalloc" => Some($work::<crate::peers::Jemalloc>()),
            _ => None,
        }
    };
}

/// Both figures, of everyone.
pub(super) fn figures() -> Result<Vec<Figure>, String> {
    let mut figures = vec![];
    for name in names() {
        let ours = name == "hectare-hosted";
        let values = super::child::ask(&[OsStr::new("one-frees"), OsStr::new(name)])?;
        let title = format!("16 allocate, one frees: peak resident over peak live, {name}");
        let bound = if ours { Bound::AtMost(1.5) } else { Bound::Recorded };
        figures.push(Figure::value(title, values[0], bound));
        let values = super::child::ask(&[OsStr::new("give-back"), OsStr::new(name)])?;
        let title = format!("part of resident memory given back a second after, {name}");
        let bound = if ours { Bound::AtLeast(0.9) } else { Bound::Recorded };
        figures.push(Figure::value(title, values[0], bound));
    }
    Ok(figures)
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(f64::NAN) * 4096.0
}

/// A new block with every byte written, its size in front.
fn written<F: Functions>(size: usize) -> *mut u8 {
    let block = F::allocate(size);
    // SAFETY: a new block of that size.
    unsafe { block.write_bytes(1, size) };
    // SAFETY: at least 16 bytes, aligned to 16.
    unsafe { block.cast::<usize>().write(size) };
    block
}

/// The child's work: peak resident over peak live bytes.
pub(super) fn one_frees(name: &str) -> Option<Vec<f64>> {
    by_name!(name, one_frees_of)
}

const PRODUCERS: usize = 16;
const RING: usize = 16_384;
const BLOCKS: usize = 100_000;

fn one_frees_of<F: Functions>() -> Vec<f64> {
    struct Lane {
        ring: Vec<AtomicPtr<u8>>,
        written: AtomicUsize,
        read: AtomicUsize,
        bytes: AtomicU64,
    }
    let lane = |_| Lane {
        ring: (0..RING).map(|_| AtomicPtr::new(core::ptr::dangling_mut())).collect(),
        written: AtomicUsize::new(0),
        read: AtomicUsize::new(0),
        bytes: AtomicU64::new(0),
    };
    let lanes: Vec<Lane> = (0..PRODUCERS).map(lane).collect();
    let before = resident();
    let (mut peak_resident, mut peak_live, mut freed) = (0.0_f64, 0.0_f64, 0_u64);
    std::thread::scope(|scope| {
        for (who, lane) in lanes.iter().enumerate() {
            scope.spawn(move || {
                let mut random = Random::new(who as u64 * 2 + 1);
                for at in 0..BLOCKS {
                    wait_until(|| at - lane.read.load(Ordering::Acquire) < RING);
                    let size = random.range(16, 1000);
                    lane.bytes.fetch_add(size as u64, Ordering::Relaxed);
                    lane.ring[at % RING].store(written::<F>(size), Ordering::Relaxed);
                    lane.written.store(at + 1, Ordering::Release);
                }
            });
        }
        let mut left = PRODUCERS;
        while left > 0 {
            left = PRODUCERS;
            for lane in &lanes {
                let (read, end) = (lane.read.load(Ordering::Relaxed), lane.written.load(Ordering::Acquire));
                // Behind, so that rings are full most of the time.
                let take = if end == BLOCKS { end - read } else { (end - read) / 4 };
                for at in read..read + take {
                    let block = lane.ring[at % RING].load(Ordering::Relaxed);
                    // SAFETY: live, with its size in front.
                    freed += unsafe { block.cast::<usize>().read() } as u64;
                    // SAFETY: live, and nobody else frees it.
                    unsafe { F::free(block) };
                }
                lane.read.store(read + take, Ordering::Release);
                left -= usize::from(read + take == BLOCKS);
            }
            let given: u64 = lanes.iter().map(|lane| lane.bytes.load(Ordering::Relaxed)).sum();
            peak_live = peak_live.max(given.saturating_sub(freed) as f64);
            peak_resident = peak_resident.max(resident() - before);
            std::thread::yield_now();
        }
    });
    vec![peak_resident / peak_live, peak_resident, peak_live]
}

/// The child's work: which part of the resident memory is gone within a second after everything was freed.
pub(super) fn give_back(name: &str) -> Option<Vec<f64>> {
    by_name!(name, give_back_of)
}

fn give_back_of<F: Functions>() -> Vec<f64> {
    let mut random = Random::new(7);
    let mut blocks: Vec<*mut u8> = vec![core::ptr::dangling_mut(); 300_000];
    let before = resident();
    for block in &mut blocks {
        *block = written::<F>(random.range(16, 1500));
    }
    let full = resident();
    for at in (1..blocks.len()).rev() {
        blocks.swap(at, random.range(0, at + 1));
    }
    for block in &blocks {
        // SAFETY: live; each is freed once.
        unsafe { F::free(*block) };
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        // A program goes on with a few blocks of many sizes.
        for place in &mut blocks[..1000] {
            *place = written::<F>(random.range(16, 4000));
        }
        for block in &blocks[..1000] {
            // SAFETY: live; each is freed once.
            unsafe { F::free(*block) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    vec![(full - resident()) / (full - before)]
}
