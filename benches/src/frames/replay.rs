//! The timed pass: one thread, thread CPU time.

use super::program::{Op, Program};
use super::subject::{Memory, Subject};
use crate::clock;

/// How many operations run between two looks at the time limit.
const STRIDE: usize = 4096;
/// A pass repeats short programs until it has done about so many operations.
const ENOUGH: usize = 1_000_000;

/// One timed pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Nanoseconds: thread CPU time, or wall-clock time with threads.
    pub ns: u64,
    /// Operations done: all of every repetition, unless the limit cut the pass.
    pub ops: usize,
    /// Requests refused.
    pub failed: u64,
}

impl Pass {
    /// Nanoseconds for each operation.
    #[must_use]
    pub fn ns_per_op(&self) -> f64 {
        self.ns as f64 / self.ops.max(1) as f64
    }
}

/// Replays the program with a new `S`, several times if it is short, and times it; cut once it has used `limit_ns`.
/// `None` if the allocator cannot manage that memory. Building the allocator is not timed.
pub fn timed<S: Subject>(program: &Program, memory: &mut Memory, limit_ns: u64) -> Option<Pass> {
    let mut pass = Pass { ns: 0, ops: 0, failed: 0 };
    let mut blocks = vec![None; program.slots()];
    for _ in 0..(ENOUGH / program.ops().len().max(1)).clamp(1, 8) {
        // SAFETY: the memory is ours until this function returns, and the subject does not outlive the loop's body.
        let mut subject = unsafe { S::build(memory) }?;
        blocks.fill(None);
        let start = clock::thread_ns();
        for ops in program.ops().chunks(STRIDE) {
            pass.failed += replay(&mut *subject, ops, &mut blocks);
            pass.ops += ops.len();
            if pass.ns + (clock::thread_ns() - start) > limit_ns {
                break;
            }
        }
        pass.ns += clock::thread_ns() - start;
        if pass.ns > limit_ns {
            break;
        }
    }
    Some(pass)
}

/// The loop itself. Returns the number of refused requests.
#[inline(never)]
fn replay<S: Subject>(subject: &mut S, ops: &[Op], blocks: &mut [Option<S::Block>]) -> u64 {
    let mut failed = 0;
    for op in ops {
        let block = &mut blocks[op.slot as usize];
        if op.free {
            if let Some(block) = block.take() {
                // SAFETY: the block is live with this order: the program frees only live blocks.
                unsafe { subject.free(block, u32::from(op.order)) };
            }
        } else {
            *block = subject.allocate(u32::from(op.order));
            failed += u64::from(block.is_none());
        }
    }
    failed
}
