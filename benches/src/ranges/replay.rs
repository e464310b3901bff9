//! The loops: timed, operation by operation, and until nothing is refused.
#![forbid(unsafe_code)]

use super::program::{Op, Program};
use super::subject::Subject;
use crate::clock::{self, thread_ns};

/// Beyond this many times the peak the search for the smallest space gives up.
const CAP: f64 = 8.0;
/// It ends when success and failure are this close, relative to the peak.
const PRECISION: f64 = 0.005;

/// Replays operations; gives how many requests were refused.
#[inline(never)]
fn replay<S: Subject>(subject: &mut S, ops: &[Op], blocks: &mut [Option<S::Block>]) -> u64 {
    let mut failed = 0;
    for op in ops {
        let block = &mut blocks[op.slot as usize];
        if op.length == 0 {
            if let Some(block) = block.take() {
                subject.free(block);
            }
        } else {
            *block = subject.allocate(op.length);
            failed += u64::from(block.is_none());
        }
    }
    failed
}

/// The space of the timed passes: twice the peak.
pub(super) fn space(program: &Program) -> u32 {
    u32::try_from(program.peak.0 * 2 + 64).unwrap_or(u32::MAX)
}

/// Nanoseconds for each operation, of as many as `limit` nanoseconds allow, and whether that was all.
pub fn timed<S: Subject>(program: &Program, limit: u64) -> Option<(f64, bool)> {
    let mut subject = S::build(space(program), program.blocks)?;
    let mut blocks = vec![None; program.slots];
    let (start, mut done) = (thread_ns(), 0);
    // Clocks are read rarely; whoever is slow is stopped within a chunk.
    for ops in program.ops.chunks(if limit == u64::MAX { usize::MAX } else { 256 }) {
        replay(&mut subject, ops, &mut blocks);
        done += ops.len();
        if limit != u64::MAX && thread_ns() - start > limit {
            break;
        }
    }
    let ns = (thread_ns() - start) as f64 / done.max(1) as f64;
    Some((ns, done == program.ops.len()))
}

/// The least ticks of each operation, over the passes so far.
pub(super) fn latency<S: Subject>(least: &mut [u32], program: &Program) {
    let Some(mut subject) = S::build(space(program), program.blocks) else { return };
    let mut blocks: Vec<Option<S::Block>> = vec![None; program.slots];
    for (op, least) in program.ops.iter().zip(least) {
        let block = &mut blocks[op.slot as usize];
        let (start, stop);
        if op.length == 0 {
            let Some(block) = block.take() else { continue };
            start = clock::begin();
            subject.free(block);
            stop = clock::end();
        } else {
            start = clock::begin();
            let new = subject.allocate(op.length);
            stop = clock::end();
            *block = new;
        }
        *least = (*least).min(u32::try_from(stop.saturating_sub(start)).unwrap_or(u32::MAX - 1));
    }
}

/// The smallest space in which nothing is refused, over the peak; to half a per cent, by bisection. `None` above 8.
#[must_use]
pub fn smallest<S: Subject>(program: &Program) -> Option<f64> {
    let peak = program.peak.0 as f64;
    if peak == 0.0 {
        return None;
    }
    let fits = |ratio: f64| {
        let units = u32::try_from((peak * ratio) as u64).unwrap_or(u32::MAX);
        let Some(mut subject) = S::build(units, program.blocks) else { return false };
        let mut blocks = vec![None; program.slots];
        program.ops.chunks(1024).all(|ops| replay(&mut subject, ops, &mut blocks) == 0)
    };
    let (mut low, mut high, mut step) = (1.0 - 1e-9, 1.0 + PRECISION, 4.0 * PRECISION);
    while !fits(high) {
        if high >= CAP {
            return None;
        }
        low = high;
        high = (high + step).min(CAP);
        step *= 2.0;
    }
    while high - low > PRECISION {
        let middle = f64::midpoint(low, high);
        if fits(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
