//! What other allocators get wrong, by name: each was seen in the version named, and is a test here.
//!
//! | peer | fault | test |
//! |---|---|---|
//! | buddy_system_allocator 0.13.0 | a frame freed twice is handed out twice | `freed_twice` |
//! | buddy_system_allocator 0.13.0 | ranges added twice hand out frames twice | `added_twice` |
//! | buddy_system_allocator (its report 20) | a request fails in a nearly full region | `the_last_frames` |
//! | buddy-alloc 0.6.0 | blocks are aligned to the region's start only | `alignment_is_physical` |
//! | buddy-slab-allocator 0.6.1 | 2 MiB of a 64 MiB region cannot be had at 2 MiB | `alignment_is_physical` |
//! | bitmap-allocator 0.4.6 | a bad free of a run gives back its first part | `a_bad_free_changes_nothing` |
//! | free-list, list buddies | a large block never comes back after churn | `fragmentation_stays_low`, `processes_leave_little_fragmentation` |
//! | Asterinas' frame allocator | one frame is refused while others are kept in a cache | `the_last_frames` |

use hectare_buddy::{Engine, Request, Rows64};
use hectare_core::{AllocError, CheckInvariants, Frame, FreeError, Order};

use crate::support::{Memory, frames, order, run};

#[test]
fn freed_twice() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 256)], 0);
    let frame = engine.allocate_order(Order::ZERO).unwrap();
    engine.free_order(frame, Order::ZERO).unwrap();
    assert_eq!(engine.free_order(frame, Order::ZERO), Err(FreeError::NotAllocated));
    let block = engine.allocate_order(order(7)).unwrap();
    engine.free_order(block, order(7)).unwrap();
    for k in 0..=7 {
        assert_eq!(engine.free_order(block, order(k)), Err(FreeError::NotAllocated));
    }
    let mut all: Vec<Frame> = core::iter::from_fn(|| engine.allocate_order(Order::ZERO).ok()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 256);
}

#[test]
fn added_twice() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 16), run(8, 16), run(4, 4)], 0);
    assert_eq!(engine.capacity(), 24);
    let got = core::iter::from_fn(|| engine.allocate_order(Order::ZERO).ok()).count();
    assert_eq!(got, 24);
}

#[test]
fn the_last_frames() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(3, 1100)], 0);
    // A frame and a huge page come and go: the rows at hand keep nothing from the requests after.
    let huge = engine.allocate_order(order(9)).unwrap();
    let single = engine.allocate_order(Order::ZERO).unwrap();
    engine.free_order(single, Order::ZERO).unwrap();
    engine.free_order(huge, order(9)).unwrap();
    assert!(engine.allocate(Request::exactly(frames(1100))).is_ok());
    assert_eq!(engine.allocate_order(Order::ZERO), Err(AllocError::OutOfMemory));
    engine.free(run(500, 3)).unwrap();
    assert_eq!(engine.allocate(Request::exactly(frames(3))), Ok(run(500, 3)));
}

#[test]
fn alignment_is_physical() {
    for start in [0x30, 0x4_0030, 0x1ff] {
        let mut memory = Memory::default();
        let mut engine: Engine<'_> = memory.engine(&[run(start, (64 << 20) >> 12)], 0);
        for k in [9, 4, 10, 1, 6, 12] {
            let block = engine.allocate_order(order(k)).unwrap();
            assert!(block.is_aligned(order(k)), "{block:?} of order {k}");
        }
    }
}

#[test]
fn a_bad_free_changes_nothing() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 0x1000)], 0);
    engine.allocate_at(run(0, 0x800)).unwrap();
    engine.free(run(0x700, 1)).unwrap();
    let mut before = vec![0; engine.bitmap_words()];
    engine.save(&mut before).unwrap();
    for bad in [run(0, 0x701), run(0x700, 0x10), run(0x6ff, 2), run(0x7ff, 2), run(0xfff, 2)] {
        assert!(engine.free(bad).is_err(), "{bad:?}");
        let mut after = vec![0; engine.bitmap_words()];
        engine.save(&mut after).unwrap();
        assert_eq!(before, after);
        engine.check_invariants().unwrap();
    }
}

/// Xorshift; Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 with probability 1/2, 1 with 1/4, …, at most 10.
    fn geometric(&mut self) -> u8 {
        u8::try_from(self.next().trailing_zeros().min(10)).unwrap()
    }
}

/// Fills a gibibyte to 90 % with blocks of geometric orders, churns at 80 %, the last quarter at 60 %; the share of the
/// free memory that can then be had as 2 MiB blocks, in per mille.
fn kept_after_churn(seed: u64, steps: u32) -> u64 {
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Rows64> = memory.engine(&[run(0, 1 << 18)], 0);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut live: Vec<(Frame, Order)> = Vec::new();
    for step in 0..steps {
        let percent = if step < steps / 10 { 90 } else { [80, 60][usize::from(step > steps / 4 * 3)] };
        let used = engine.capacity() - engine.free_frames();
        let target = engine.capacity() / 100 * percent;
        if used > target || step >= steps / 10 && random.next() & 1 == 0 {
            let pick = usize::try_from(random.next() % live.len() as u64).unwrap();
            let (frame, order) = live.swap_remove(pick);
            engine.free_order(frame, order).unwrap();
        } else {
            let order = order(random.geometric());
            live.push((engine.allocate_order(order).unwrap(), order));
        }
    }
    engine.check_invariants().unwrap();
    let free = engine.free_frames();
    let huge = core::iter::from_fn(|| engine.allocate_order(order(9)).ok()).count() as u64;
    huge * 512 * 1000 / free
}

#[test]
#[cfg_attr(miri, ignore = "too long")]
fn fragmentation_stays_low() {
    let kept: Vec<u64> = (1..=5).map(|seed| kept_after_churn(seed, 2_000_000)).collect();
    assert!(kept.iter().all(|kept| *kept >= 800), "{kept:?}");
    assert!(kept.iter().sum::<u64>() >= 5 * 850, "{kept:?}");
}

/// Forty-eight processes that take frames in bursts and are freed as a whole: 90 % single frames, 1 % huge pages, 4 %
/// small blocks, 5 % small blocks that outlive the process; at 80 %, the last quarter at 60 %. The share of the free memory
/// that can then be had as 2 MiB blocks, in per mille.
fn kept_after_processes(seed: u64, steps: u32) -> u64 {
    let mut memory = Memory::default();
    let mut engine: Engine<'_, Rows64> = memory.engine(&[run(0, 1 << 18)], 0);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut below = |limit: usize| usize::try_from(random.next() % limit as u64).unwrap();
    let mut processes: Vec<Vec<(Frame, Order)>> = vec![Vec::new(); 48];
    let mut old: Vec<(Frame, Order)> = Vec::new();
    let (mut now, mut burst) = (0, 0);
    for step in 0..steps {
        let target = engine.capacity() / 100 * [80, 60][usize::from(step > steps / 4 * 3)];
        while engine.capacity() - engine.free_frames() > target {
            let ended = below(processes.len());
            for (frame, order) in processes[ended].drain(..) {
                engine.free_order(frame, order).unwrap();
            }
            for _ in 0..if old.len() > 20_000 { 100 } else { 0 } {
                let (frame, order) = old.swap_remove(below(old.len()));
                engine.free_order(frame, order).unwrap();
            }
        }
        if burst == 0 {
            (now, burst) = (below(processes.len()), 1 + below(500));
        }
        burst -= 1;
        let small = u8::try_from(below(3)).unwrap();
        let (k, lasts) = match below(100) {
            0..90 => (0, false),
            90 => (9, false),
            91..96 => (small, true),
            _ => (1 + small, false),
        };
        let block = (engine.allocate_order(order(k)).unwrap(), order(k));
        if lasts { old.push(block) } else { processes[now].push(block) }
    }
    engine.check_invariants().unwrap();
    let free = engine.free_frames();
    let huge = core::iter::from_fn(|| engine.allocate_order(order(9)).ok()).count() as u64;
    huge * 512 * 1000 / free
}

#[test]
#[cfg_attr(miri, ignore = "too long")]
fn processes_leave_little_fragmentation() {
    let kept: Vec<u64> = (1..=5).map(|seed| kept_after_processes(seed, 1_500_000)).collect();
    assert!(kept.iter().sum::<u64>() >= 5 * 780, "{kept:?}");
}
