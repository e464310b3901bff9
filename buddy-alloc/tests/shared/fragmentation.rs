//! How much of the free memory stays usable as 2 MiB blocks after churn.

use hectare_buddy::{Banks, Rows64, Shared, shared};
use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{CheckInvariants, Frame, Order};

use crate::chosen::Chosen;
use crate::support::{order, run};

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

/// Fills a gibibyte to 90 % with blocks of geometric orders, churns at 80 %, the last quarter at 60 %, each call by one
/// of `cpus` CPUs; the share of the free memory that can then be had as 2 MiB blocks, in per mille.
fn kept_after_churn(seed: u64, steps: u32, cpus: u16) -> u64 {
    let span = run(0, 1 << 18);
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let pin = Chosen::new(cpus.into());
    pin.be(0);
    let words: Vec<AtomicU64> =
        (0..shared::words_for::<Rows64>(span, cpus.into()).unwrap()).map(|_| AtomicU64::new(0)).collect();
    let engine = Shared::<_>::new(banks, &words, &pin).unwrap();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut live: Vec<(Frame, Order)> = Vec::new();
    for step in 0..steps {
        let percent = if step < steps / 10 { 90 } else { [80, 60][usize::from(step > steps / 4 * 3)] };
        let used = engine.capacity() - engine.free_frames();
        let target = engine.capacity() / 100 * percent;
        if cpus > 1 {
            pin.be(u16::try_from(random.next() >> 32 & 0xffff).unwrap() % cpus);
        }
        if used > target || step >= steps / 10 && random.next() & 1 == 0 {
            let pick = usize::try_from(random.next() % live.len() as u64).unwrap();
            let (frame, order) = live.swap_remove(pick);
            engine.free_order(frame, order).unwrap();
        } else {
            let order = order(random.geometric());
            // At 90 % a block of 1024 frames may not be left.
            live.extend(engine.allocate_order(order).map(|frame| (frame, order)));
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
    for cpus in [1, 4] {
        let kept: Vec<u64> = (1..=5).map(|seed| kept_after_churn(seed, 2_000_000, cpus)).collect();
        println!("{cpus} CPUs: {kept:?}");
        assert!(kept.iter().all(|kept| *kept >= 850), "{cpus} CPUs: {kept:?}");
        assert!(kept.iter().sum::<u64>() >= 5 * 900, "{cpus} CPUs: {kept:?}");
    }
}
