//! The checked pass: where blocks lie, seen from outside.
#![forbid(unsafe_code)]

use super::occupied::Occupied;
use super::program::Program;
use super::replay::space;
use super::subject::Subject;
use crate::clock::thread_ns;

/// How many samples are taken.
const SAMPLES: usize = 200;

/// The space at one time, below the highest unit ever used.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Maximal free ranges between blocks and below the lowest.
    pub holes: usize,
    /// Units in them.
    pub free: u64,
    /// 1 − largest of them / all of them; 0 if there are none.
    pub external: f64,
    /// Units in blocks.
    pub live: u64,
}

/// What a pass found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Operations that were made.
    pub ops: usize,
    /// Requests refused in a space of twice the peak.
    pub failed: u64,
    /// Requests refused although one hole would have held them.
    pub in_vain: u64,
    /// The first operation that gave a range which overlaps another or leaves the space.
    pub overlap: Option<usize>,
    /// The highest unit handed out, and one.
    pub used: u64,
    /// Just after the peak.
    pub at_peak: Option<Sample>,
    /// Over time.
    pub samples: Vec<Sample>,
}

/// Replays with every block written down. Stops after `limit` nanoseconds of thread CPU time.
pub fn survey<S: Subject>(program: &Program, limit: u64) -> Option<Survey> {
    let units = space(program);
    let mut subject = S::build(units, program.blocks)?;
    let mut blocks: Vec<Option<(S::Block, u64, u32)>> = vec![None; program.slots];
    let mut live = Occupied::new(units);
    let (mut survey, start) = (Survey::default(), thread_ns());
    let every = program.ops.len().div_ceil(SAMPLES).max(1);
    for (index, op) in program.ops.iter().enumerate() {
        let block = &mut blocks[op.slot as usize];
        if op.length == 0 {
            if let Some((block, at, length)) = block.take() {
                live.remove(at, length);
                subject.free(block);
            }
        } else if let Some(new) = subject.allocate(op.length) {
            let from = subject.start(new);
            if !live.insert(from, op.length) {
                survey.overlap = Some(index);
                break;
            }
            survey.used = survey.used.max(from + u64::from(op.length));
            *block = Some((new, from, op.length));
        } else {
            survey.failed += 1;
            survey.in_vain += u64::from(live.has_gap(op.length));
        }
        survey.ops = index + 1;
        if (index + 1) % every == 0 {
            survey.samples.push(sample(&live));
            if thread_ns() - start > limit {
                break;
            }
        }
        if index + 1 == program.peak.1 {
            survey.at_peak = Some(sample(&live));
        }
    }
    Some(survey)
}

fn sample(live: &Occupied) -> Sample {
    let (mut holes, mut free, mut largest) = (0, 0, 0);
    let top = live.top();
    live.gaps(top, |gap| {
        holes += 1;
        free += gap;
        largest = largest.max(gap);
        true
    });
    let external = if free == 0 { 0.0 } else { 1.0 - largest as f64 / free as f64 };
    Sample { holes, free, external, live: top - free }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::program::Op;

    /// Hands out what `starts` says, one after the other.
    struct Scripted(std::vec::IntoIter<Option<u64>>);

    impl Subject for Scripted {
        type Block = u64;
        fn build(_: u32, _: usize) -> Option<Self> {
            Some(Self(SCRIPT.with_borrow(Clone::clone).into_iter()))
        }
        fn allocate(&mut self, _: u32) -> Option<u64> {
            self.0.next().flatten()
        }
        fn free(&mut self, _: u64) {}
        fn start(&self, block: u64) -> u64 {
            block
        }
    }

    thread_local!(static SCRIPT: core::cell::RefCell<Vec<Option<u64>>> = const { core::cell::RefCell::new(vec![]) });

    fn surveyed(starts: &[Option<u64>]) -> Survey {
        SCRIPT.set(starts.to_vec());
        let ops = (0..starts.len() as u32).map(|slot| Op { slot, length: 10 }).collect();
        let program = Program { ops, slots: starts.len(), peak: (30, 3), blocks: 3, ..Program::default() };
        survey::<Scripted>(&program, u64::MAX).unwrap()
    }

    #[test]
    fn overlaps_places_outside_and_vain_refusals_are_found_and_holes_counted() {
        let good = surveyed(&[Some(5), Some(20), Some(40)]);
        assert_eq!((good.overlap, good.failed, good.used), (None, 0, 50));
        let peak = good.at_peak.unwrap();
        assert_eq!((peak.holes, peak.free, peak.live), (3, 20, 30));
        assert!((peak.external - 0.5).abs() < 1e-9);
        assert_eq!(surveyed(&[Some(5), Some(14)]).overlap, Some(1));
        assert_eq!(surveyed(&[Some(5), Some(0)]).overlap, Some(1));
        // The space is 2 · 30 + 64 = 124.
        assert_eq!(surveyed(&[Some(115)]).overlap, Some(0));
        assert_eq!(surveyed(&[Some(114), None]).in_vain, 1);
    }
}
