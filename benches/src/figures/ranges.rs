//! Ranges: times beside other range allocators, exactness beside a naive scan, plans beside the optimum, and the
//! smallest spaces of the recorded programs by policy.

mod exact;
mod plans;
mod space;

use core::hint::black_box;

use hectare_fit::policy::{BestFit, FirstFit, GoodFit, NextFit, WorstFit};

use super::{Bound, Figure, Random};
use crate::clock::thread_ns;
use crate::ranges::{Offset, Ours, RangeAlloc, Subject, VmAllocator};
use crate::rounds::{interleave, median};

pub use exact::figures as exact;
pub use plans::figures as plans;
pub use space::figures as space;

/// Operations of one measurement.
const STEPS: usize = 400_000;
/// The longest request.
const LONGEST: usize = 3_000;

/// A steady state: slots and lengths, 0 frees. The first `live` operations fill, the others free and allocate in random
/// order so that between 95 and 112 of 100 blocks are live.
struct Events {
    live: usize,
    slots: usize,
    ops: Vec<(u32, u32)>,
}

impl Events {
    fn new(live: usize, steps: usize) -> Self {
        let mut random = Random::new(0x9E37_79B9_7F4A_7C15);
        let slots = live + live / 8;
        let mut ops: Vec<(u32, u32)> =
            (0..live as u32).map(|slot| (slot, random.size(LONGEST) as u32)).collect();
        let mut full: Vec<u32> = (0..live as u32).collect();
        let mut empty: Vec<u32> = (live as u32..slots as u32).collect();
        for _ in 0..steps {
            let few = full.len() < live * 19 / 20;
            if !few && (empty.is_empty() || random.bits() >> 40 & 1 == 1) {
                let slot = full.swap_remove(random.range(0, full.len()));
                empty.push(slot);
                ops.push((slot, 0));
            } else if let Some(slot) = empty.pop() {
                full.push(slot);
                ops.push((slot, random.size(LONGEST) as u32));
            }
        }
        Self { live, slots, ops }
    }

    /// Nanoseconds for each operation of the steady state, in a space of about four times what is live: worst fit needs
    /// more than twice.
    fn measure<S: Subject>(&self) -> f64 {
        let units = (self.live * LONGEST) as u32;
        let mut subject = S::build(units, self.slots).expect("room for tables");
        let mut blocks: Vec<Option<S::Block>> = vec![None; self.slots];
        // The first quarter lets the holes become what they will be.
        let warm = self.live + (self.ops.len() - self.live) / 4;
        run(&mut subject, &self.ops[..warm], &mut blocks);
        let start = thread_ns();
        run(&mut subject, &self.ops[warm..], &mut blocks);
        let ns = (thread_ns() - start) as f64;
        black_box(&mut subject);
        ns / (self.ops.len() - warm) as f64
    }
}

#[inline(never)]
fn run<S: Subject>(subject: &mut S, ops: &[(u32, u32)], blocks: &mut [Option<S::Block>]) {
    for &(slot, length) in ops {
        let block = &mut blocks[slot as usize];
        if length == 0 {
            if let Some(block) = block.take() {
                subject.free(block);
            }
        } else {
            *block = Some(subject.allocate(length).expect("most of the space is free"));
        }
    }
}

/// Times beside the peers.
///
/// # Panics
/// Somebody refuses a request.
#[must_use]
pub fn times(rounds: usize) -> Vec<Figure> {
    type Measure = fn(&Events) -> f64;
    let contestants: [Measure; 6] = [
        Events::measure::<Offset>,
        Events::measure::<Ours<BestFit>>,
        Events::measure::<Ours<FirstFit>>,
        Events::measure::<Ours<NextFit>>,
        Events::measure::<Ours<GoodFit>>,
        Events::measure::<Ours<WorstFit>>,
    ];
    let mut figures = vec![];
    let mut at_30_000 = [f64::NAN; 6];
    for live in [300, 3_000, 30_000] {
        let events = Events::new(live, STEPS);
        let times = interleave(6, rounds, |_| true, |_, who| contestants[who](&events));
        let ns: [f64; 6] = core::array::from_fn(|who| median(&times[who]).unwrap_or(f64::NAN));
        // At most so many times offset-allocator's time; it is no exact policy.
        let bounds = [
            ("best fit", Bound::AtLeast(1.0)),
            ("first fit", Bound::AtLeast(1.0 / 2.5)),
            ("next fit", Bound::AtLeast(1.0 / 2.0)),
            ("good fit", Bound::Recorded),
            ("worst fit", Bound::Recorded),
        ];
        for (who, (policy, bound)) in (1..).zip(bounds) {
            let name = format!("ranges, {policy}, {live} live: ns, offset-allocator");
            figures.push(Figure::time(name, ns[who], ns[0], bound));
        }
        at_30_000 = ns;
    }
    // The others are so much slower that fewer operations and rounds tell.
    let slow: [(&str, Measure, usize, [f64; 4]); 2] = [
        ("range-alloc", Events::measure::<RangeAlloc>, 20_000, [10.0, 4.0, 4.0, 0.0]),
        ("vm-allocator", Events::measure::<VmAllocator>, 2_000, [10.0; 4]),
    ];
    for (peer, measure, steps, least) in slow {
        let events = Events::new(30_000, steps);
        let times: Vec<f64> = (0..3).map(|_| measure(&events)).collect();
        let theirs = median(&times).unwrap_or(f64::NAN);
        let policies = ["best fit", "first fit", "next fit", "good fit"];
        for (who, (policy, least)) in (1..).zip(policies.into_iter().zip(least)) {
            let bound = if least > 0.0 { Bound::AtLeast(least) } else { Bound::Recorded };
            let name = format!("ranges, {policy}, 30000 live: ns, {peer}");
            figures.push(Figure::time(name, at_30_000[who], theirs, bound));
        }
    }
    figures
}
