//! The timed pass: one thread, thread CPU time, first and last byte of every block written.

use super::program::{Op, OpKind, Program};
use crate::arena::Arena;
use crate::clock;
use crate::subject::Subject;

/// How many operations run between two looks at the time limit.
const STRIDE: usize = 4096;

/// One timed pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Thread CPU time, in nanoseconds.
    pub ns: u64,
    /// Operations done: all, unless the limit cut the pass.
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

/// Replays the program once with a new `S` in the first `bytes` of the arena and times it; cut once it has used
/// `limit_ns`. `None` if the arena is too small to begin. Building the allocator and freeing the survivors are not
/// timed.
pub fn timed<S: Subject>(program: &Program, arena: &mut Arena, bytes: usize, limit_ns: u64) -> Option<Pass> {
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let mut subject = unsafe { S::build(arena.region(bytes)) }?;
    let mut blocks = vec![core::ptr::null_mut(); program.slots()];
    let (mut failed, mut done) = (0, 0);
    let start = clock::thread_ns();
    let mut now = start;
    for ops in program.ops().chunks(STRIDE) {
        failed += replay(&mut *subject, ops, &mut blocks);
        done += ops.len();
        now = clock::thread_ns();
        if now - start > limit_ns {
            break;
        }
    }
    let pass = Pass { ns: now - start, ops: done, failed };
    if S::HOSTED {
        release(&mut *subject, program, done, &blocks);
    }
    Some(pass)
}

/// The loop itself. Returns the number of refused requests.
///
/// Every slot of `ops` must be below `blocks.len()`: [`Program`] promises it.
#[inline(never)]
pub(super) fn replay<S: Subject>(subject: &mut S, ops: &[Op], blocks: &mut [*mut u8]) -> u64 {
    let mut failed = 0;
    for op in ops {
        debug_assert!((op.slot as usize) < blocks.len());
        // SAFETY: op.slot < blocks.len().
        let block = unsafe { blocks.get_unchecked_mut(op.slot as usize) };
        match op.kind {
            OpKind::Allocate => *block = written(subject.allocate(op.layout()), op.size, &mut failed),
            OpKind::AllocateZeroed => {
                *block = written(subject.allocate_zeroed(op.layout()), op.size, &mut failed)
            }
            OpKind::Free => {
                if !block.is_null() {
                    // SAFETY: the block is live with this layout: the program frees only live objects, and a refused
                    // one is null here.
                    unsafe { subject.deallocate(*block, op.old_layout()) };
                }
            }
            OpKind::Reallocate if block.is_null() => {
                *block = written(subject.allocate(op.layout()), op.size, &mut failed);
            }
            OpKind::Reallocate => {
                // SAFETY: the block is live with this layout, and the new size is not 0.
                let new = unsafe { subject.reallocate(*block, op.old_layout(), op.size as usize) };
                *block = if new.is_null() {
                    // Its later operations speak of the new size: give it up.
                    // SAFETY: a refused resize leaves the block as it was.
                    unsafe { subject.deallocate(*block, op.old_layout()) };
                    written(new, op.size, &mut failed)
                } else {
                    written(new, op.size, &mut failed)
                };
            }
        }
    }
    failed
}

/// Writes the first and the last byte of a new block, or counts its refusal.
#[inline(always)]
fn written(block: *mut u8, size: u32, failed: &mut u64) -> *mut u8 {
    if block.is_null() {
        *failed += 1;
        return block;
    }
    // SAFETY: the block has at least one byte.
    unsafe { block.write_volatile(1) };
    // SAFETY: the block has `size` bytes, and size > 0.
    let last = unsafe { block.add(size as usize - 1) };
    // SAFETY: as above.
    unsafe { last.write_volatile(1) };
    block
}

/// Frees what is live after `done` operations.
pub(super) fn release<S: Subject>(subject: &mut S, program: &Program, done: usize, blocks: &[*mut u8]) {
    let mut layouts = vec![None; program.slots()];
    for op in &program.ops()[..done] {
        layouts[op.slot as usize] = (op.kind != OpKind::Free).then(|| op.layout());
    }
    for (&block, layout) in blocks.iter().zip(layouts) {
        if let (false, Some(layout)) = (block.is_null(), layout) {
            // SAFETY: the object's last operation left it live with this layout, and it was not refused.
            unsafe { subject.deallocate(block, layout) };
        }
    }
}
