//! How much memory an allocator that fetches its own makes resident.

use std::fs;

use super::program::{OpKind, Program};
use super::replay::release;
use crate::arena::Arena;
use crate::subject::Subject;

/// The peak of resident memory while the program runs with every byte written, less what was resident before, in
/// bytes. `None` where the system does not tell (it takes Linux's `/proc`).
pub(super) fn peak_resident<S: Subject>(program: &Program) -> Option<u64> {
    let mut arena = Arena::new(1).ok()?;
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let mut subject = unsafe { S::build(arena.region(1)) }?;
    // Written, so that the table is resident before the measurement begins.
    let mut blocks = vec![core::ptr::dangling_mut(); program.slots()];
    blocks.fill(core::ptr::null_mut());
    // "5" sets the peak to what is resident now.
    fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = status("VmRSS:")?;
    for op in program.ops() {
        let block: &mut *mut u8 = &mut blocks[op.slot as usize];
        *block = match op.kind {
            OpKind::Allocate => subject.allocate(op.layout()),
            OpKind::AllocateZeroed => subject.allocate_zeroed(op.layout()),
            OpKind::Free => {
                if !block.is_null() {
                    // SAFETY: the block is live with this layout: the program frees only live objects.
                    unsafe { subject.deallocate(*block, op.old_layout()) };
                }
                core::ptr::null_mut()
            }
            OpKind::Reallocate => {
                // SAFETY: the block is live with this layout, and the new size is not 0.
                unsafe { subject.reallocate(*block, op.old_layout(), op.size as usize) }
            }
        };
        if op.kind != OpKind::Free {
            if block.is_null() {
                return None;
            }
            // SAFETY: the block is valid for writes of its size.
            unsafe { block.write_bytes(1, op.size as usize) };
        }
    }
    let peak = status("VmHWM:")?;
    release(&mut *subject, program, program.ops().len(), &blocks);
    Some(peak.saturating_sub(before))
}

/// A line of `/proc/self/status`, in bytes.
fn status(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
