//! Percentiles: each operation timed alone, the least of several passes over equal memories, as for heaps.

use hdrhistogram::Histogram;

use super::program::Program;
use super::subject::{Memory, Subject};
use crate::clock::{self, Scale};

/// For each operation the least ticks seen so far.
#[derive(Debug)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self(vec![u32::MAX; program.ops().len()])
    }

    /// One more pass with a new `S`. Returns whether it can manage that memory.
    pub fn pass<S: Subject>(&mut self, program: &Program, memory: &mut Memory) -> bool {
        // SAFETY: the memory is ours until this function returns, and the subject does not outlive it.
        let Some(mut subject) = (unsafe { S::build(memory) }) else { return false };
        let mut blocks = vec![None; program.slots()];
        for (op, least) in program.ops().iter().zip(&mut self.0) {
            let block = &mut blocks[op.slot as usize];
            let order = u32::from(op.order);
            let (start, stop);
            if op.free {
                let Some(block) = block.take() else { continue };
                start = clock::begin();
                // SAFETY: the block is live with this order: the program frees only live blocks.
                unsafe { subject.free(block, order) };
                stop = clock::end();
            } else {
                start = clock::begin();
                *block = subject.allocate(order);
                stop = clock::end();
            }
            *least = (*least).min(u32::try_from(stop.saturating_sub(start)).unwrap_or(u32::MAX - 1));
        }
        true
    }

    /// The distribution, in tenths of nanoseconds (three significant digits); `None` if nothing was measured.
    #[must_use]
    pub fn histogram(&self, scale: &Scale) -> Option<Histogram<u64>> {
        let mut histogram = Histogram::new(3).ok()?;
        for &ticks in self.0.iter().filter(|&&ticks| ticks != u32::MAX) {
            histogram.record((scale.ns(u64::from(ticks)) * 10.0) as u64).ok()?;
        }
        (!histogram.is_empty()).then_some(histogram)
    }
}
