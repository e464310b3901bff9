//! The timed passes: one thread, thread CPU time, first and last byte of every object written.

use hdrhistogram::Histogram;

use super::program::{Op, OpKind, Program};
use super::subject::Subject;
use crate::arena::Arena;
use crate::clock::{self, Scale};
use crate::heap::Quantiles;

/// How many operations run between two looks at the time limit.
const STRIDE: usize = 4096;

/// Passes of the percentiles; an operation's time is the least of them.
pub(super) const LATENCY_PASSES: usize = 3;

/// One timed pass with a new `S` in the first `bytes` of the arena, cut once it has used `limit_ns`: nanoseconds an
/// operation, and whether it came to the end. `None` if the arena is too small to begin.
pub(super) fn timed<S: Subject>(
    program: &Program,
    arena: &mut Arena,
    bytes: usize,
    limit_ns: u64,
) -> Option<(f64, bool)> {
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let mut subject = unsafe { S::build(arena.region(bytes), &program.caches, program.cpus) }?;
    let mut objects = vec![core::ptr::null_mut(); program.slots];
    let mut done = 0;
    let start = clock::thread_ns();
    let mut now = start;
    for ops in program.ops.chunks(STRIDE) {
        replay(&mut *subject, ops, &mut objects);
        done += ops.len();
        now = clock::thread_ns();
        if now - start > limit_ns {
            break;
        }
    }
    let whole = done == program.ops.len();
    let count = if whole { program.count } else { done };
    Some(((now - start) as f64 / count.max(1) as f64, whole))
}

/// Whether the program runs in this arena without a refusal.
pub(super) fn fits<S: Subject>(program: &Program, arena: &mut Arena, bytes: usize) -> bool {
    // SAFETY: as above.
    let Some(mut subject) = (unsafe { S::build(arena.region(bytes), &program.caches, program.cpus) }) else {
        return false;
    };
    let mut objects = vec![core::ptr::null_mut(); program.slots];
    program.ops.chunks(1024).all(|ops| replay(&mut *subject, ops, &mut objects) == 0)
}

/// One pass for the percentiles: each operation's least ticks so far.
pub(super) fn latency<S: Subject>(least: &mut [u32], program: &Program, arena: &mut Arena, bytes: usize) {
    // SAFETY: as above.
    let Some(mut subject) = (unsafe { S::build(arena.region(bytes), &program.caches, program.cpus) }) else {
        return;
    };
    let mut objects: Vec<*mut u8> = vec![core::ptr::null_mut(); program.slots];
    for (op, least) in program.ops.iter().zip(least) {
        if op.kind == OpKind::Cpu {
            subject.enter(op.size as usize);
            continue;
        }
        let object = &mut objects[op.slot as usize];
        let start = clock::begin();
        let result = if op.kind == OpKind::Free {
            if !object.is_null() {
                // SAFETY: the object is live: the program frees only those.
                unsafe { subject.free(usize::from(op.cache), *object, op.layout()) };
            }
            core::ptr::null_mut()
        } else {
            subject.allocate(usize::from(op.cache), op.layout())
        };
        let stop = clock::end();
        *object = result;
        write(result, op);
        *least = (*least).min(u32::try_from(stop.saturating_sub(start)).unwrap_or(u32::MAX - 1));
    }
}

/// The quantiles of the least ticks; `None` if nothing was measured.
pub(super) fn quantiles(least: &[u32], scale: &Scale) -> Option<Quantiles> {
    // In tenths of nanoseconds.
    let mut histogram = Histogram::new(3).ok()?;
    for ticks in least.iter().filter(|ticks| **ticks != u32::MAX) {
        histogram.record((scale.ns(u64::from(*ticks)) * 10.0) as u64).ok()?;
    }
    (!histogram.is_empty()).then(|| Quantiles::of(&histogram))
}

/// The loop itself. Returns the number of refused requests.
#[inline(never)]
fn replay<S: Subject>(subject: &mut S, ops: &[Op], objects: &mut [*mut u8]) -> u64 {
    let mut failed = 0;
    for op in ops {
        let Some(object) = objects.get_mut(op.slot as usize) else { continue };
        match op.kind {
            OpKind::Allocate | OpKind::AllocateZeroed => {
                *object = subject.allocate(usize::from(op.cache), op.layout());
                failed += u64::from(object.is_null());
                write(*object, op);
            }
            OpKind::Free => {
                if !object.is_null() {
                    // SAFETY: the object is live with this layout: the program frees only live ones, and a refused
                    // one is null here.
                    unsafe { subject.free(usize::from(op.cache), *object, op.layout()) };
                }
            }
            OpKind::Cpu => subject.enter(op.size as usize),
        }
    }
    failed
}

/// Writes the zeros that were asked for, or else the first and the last byte.
#[inline(always)]
fn write(object: *mut u8, op: &Op) {
    if object.is_null() {
        return;
    }
    if op.kind == OpKind::AllocateZeroed {
        // SAFETY: the object has that many bytes.
        unsafe { object.write_bytes(0, op.size as usize) };
        return;
    }
    // SAFETY: the object has at least one byte.
    unsafe { object.write_volatile(1) };
    // SAFETY: the object has `size` bytes, and size > 0.
    let last = unsafe { object.add(op.size as usize - 1) };
    // SAFETY: as above.
    unsafe { last.write_volatile(1) };
}
