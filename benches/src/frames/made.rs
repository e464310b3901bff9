//! Made runs that age a memory: independent lifetimes, and processes that end.
#![forbid(unsafe_code)]

use super::program::{Op, Program};
use crate::figures::Random;

/// A run that is made rather than recorded.
#[derive(Debug)]
pub struct Made {
    /// The name.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The run over a quarter of a gibibyte that `compare` replays.
    pub program: fn() -> Program,
}

/// All of them.
pub static MADE: [Made; 2] = [
    Made {
        name: "geo",
        about: "blocks of geometric orders with independent lifetimes",
        program: || geo(1 << 16, 1_000_000, 1),
    },
    Made {
        name: "procs",
        about: "48 processes that end as a whole, and what outlives them",
        program: || procs(1 << 16, 1_000_000, 1),
    },
];

/// `frames` frames are filled to 90 % with blocks of orders 0 to 10 (each order half as frequent as the one below), and
/// then blocks come and go at random: at 80 % use, in the last quarter at 60 %.
#[must_use]
pub fn geo(frames: usize, steps: usize, seed: u64) -> Program {
    let mut maker = Maker::new(seed);
    let mut live: Vec<Live> = Vec::new();
    for step in 0..steps {
        if maker.used > frames / 100 * target(step, steps) {
            let which = maker.random.range(0, live.len());
            maker.free(live.swap_remove(which));
        } else {
            let order = (maker.random.bits() >> 20).trailing_zeros().min(10) as u8;
            live.push(maker.allocate(order));
        }
    }
    Program::new("geo", maker.ops, frames)
}

/// 48 processes take blocks in bursts: of a hundred blocks, 90 are single frames, 1 is of order 9 and the rest of
/// orders 1 to 3. A block of every twenty small ones belongs to no process and lives long: until its kind fill a
/// twentieth of the memory, and then until chance picks it. When the memory is used to 80 % (at first 90, in the last
/// quarter 60), a process ends and gives back all that it has.
#[must_use]
pub fn procs(frames: usize, steps: usize, seed: u64) -> Program {
    let mut maker = Maker::new(seed);
    let mut processes: Vec<Vec<Live>> = vec![Vec::new(); 48];
    let (mut old, mut old_frames): (Vec<Live>, usize) = (Vec::new(), 0);
    let mut current = 0;
    while maker.ops.len() < steps {
        let percent = target(maker.ops.len(), steps);
        if maker.used > frames / 100 * percent {
            let ends = maker.random.range(0, processes.len());
            for live in core::mem::take(&mut processes[ends]) {
                maker.free(live);
            }
            continue;
        }
        if maker.random.range(0, 64) == 0 {
            current = maker.random.range(0, processes.len());
        }
        let order = match maker.random.range(0, 100) {
            0..90 => 0,
            99 => 9,
            _ => 1 + maker.random.range(0, 3) as u8,
        };
        let live = maker.allocate(order);
        if order < 9 && maker.random.range(0, 20) == 0 {
            old_frames += 1 << order;
            old.push(live);
            while old_frames > frames / 20 {
                let which = maker.random.range(0, old.len());
                let live = old.swap_remove(which);
                old_frames -= 1 << live.order;
                maker.free(live);
            }
        } else {
            processes[current].push(live);
        }
    }
    Program::new("procs", maker.ops, frames)
}

/// How much of the memory may be used, in per cent.
fn target(step: usize, steps: usize) -> usize {
    match step {
        _ if step < steps / 10 => 90,
        _ if step > steps / 4 * 3 => 60,
        _ => 80,
    }
}

#[derive(Clone, Copy, Debug)]
struct Live {
    slot: u32,
    order: u8,
}

/// The operations so far.
struct Maker {
    random: Random,
    ops: Vec<Op>,
    used: usize,
    slots: u32,
    dead: Vec<u32>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { random, ops: Vec::new(), used: 0, slots: 0, dead: Vec::new() }
    }

    fn allocate(&mut self, order: u8) -> Live {
        let slot = self.dead.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.used += 1 << order;
        self.ops.push(Op { slot, order, free: false, cpu: 0 });
        Live { slot, order }
    }

    fn free(&mut self, live: Live) {
        self.used -= 1 << live.order;
        self.dead.push(live.slot);
        self.ops.push(Op { slot: live.slot, order: live.order, free: true, cpu: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_age_the_memory_as_they_say() {
        for made in [geo(1 << 14, 100_000, 3), procs(1 << 14, 100_000, 3)] {
            let memory = made.memory() as u64;
            assert!(made.ops().len() >= 100_000 && made.ops().len() < 103_000, "{}", made.name());
            // A block of order 10 may exceed the target once.
            assert!((memory * 88 / 100..memory * 97 / 100).contains(&made.peak()), "{}", made.name());
            let end: u64 = made.survivors().iter().map(|op| 1 << op.order).sum();
            assert!((memory * 45 / 100..memory * 67 / 100).contains(&end), "{}: {end}", made.name());
            let orders = |order| made.ops().iter().filter(|op| op.order == order).count();
            assert!(orders(0) > orders(1) && orders(9) > 0);
            assert!(made.name() == "procs" || orders(0) < 2 * orders(1) + 4000);
        }
        assert_eq!(geo(4096, 1000, 1).ops(), geo(4096, 1000, 1).ops());
    }
}
