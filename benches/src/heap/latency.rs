//! Percentiles: each operation timed alone, in passes of their own.
//!
//! Several passes replay exactly the same operations on an equal heap. An interrupt or another process strikes a
//! different operation each time; what the allocator itself does is the same each time. So an operation's time is the
//! least of the passes, and the maximum means something.

use hdrhistogram::Histogram;

use super::program::{OpKind, Program};
use super::replay::release;
use crate::arena::Arena;
use crate::clock::{self, Scale};
use crate::subject::Subject;

/// For each operation the least ticks seen so far.
#[derive(Debug)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self(vec![u32::MAX; program.ops().len()])
    }

    /// One more pass with a new `S` in the first `bytes` of the arena. Returns whether they sufficed to begin.
    pub fn pass<S: Subject>(&mut self, program: &Program, arena: &mut Arena, bytes: usize) -> bool {
        // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
        let Some(mut subject) = (unsafe { S::build(arena.region(bytes)) }) else { return false };
        let mut blocks = vec![core::ptr::null_mut(); program.slots()];
        timed_one_by_one(&mut *subject, program, &mut blocks, &mut self.0);
        if S::HOSTED {
            release(&mut *subject, program, program.ops().len(), &blocks);
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

#[inline(never)]
fn timed_one_by_one<S: Subject>(
    subject: &mut S,
    program: &Program,
    blocks: &mut [*mut u8],
    least: &mut [u32],
) {
    for (op, least) in program.ops().iter().zip(least) {
        let block = &mut blocks[op.slot as usize];
        let start;
        let stop;
        match op.kind {
            OpKind::Free => {
                start = clock::begin();
                if !block.is_null() {
                    // SAFETY: the block is live with this layout: the program frees only live objects.
                    unsafe { subject.deallocate(*block, op.old_layout()) };
                }
                stop = clock::end();
            }
            OpKind::Reallocate if !block.is_null() => {
                start = clock::begin();
                // SAFETY: the block is live with this layout, and the new size is not 0.
                let new = unsafe { subject.reallocate(*block, op.old_layout(), op.size as usize) };
                stop = clock::end();
                if new.is_null() {
                    // SAFETY: a refused resize leaves the block as it was; later operations speak of the new size.
                    unsafe { subject.deallocate(*block, op.old_layout()) };
                }
                *block = new;
            }
            OpKind::AllocateZeroed => {
                start = clock::begin();
                *block = subject.allocate_zeroed(op.layout());
                stop = clock::end();
            }
            OpKind::Allocate | OpKind::Reallocate => {
                start = clock::begin();
                *block = subject.allocate(op.layout());
                stop = clock::end();
            }
        }
        if op.kind != OpKind::Free && !block.is_null() {
            // SAFETY: the block has at least one byte.
            unsafe { block.write_volatile(1) };
            // SAFETY: the block has op.size > 0 bytes.
            let last = unsafe { block.add(op.size as usize - 1) };
            // SAFETY: as above.
            unsafe { last.write_volatile(1) };
        }
        *least = (*least).min(u32::try_from(stop.saturating_sub(start)).unwrap_or(u32::MAX - 1));
    }
}
