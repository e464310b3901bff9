//! Replaying with several threads: one for each recorded CPU, or the whole program in each.
//!
//! What is measured is the wall-clock time from the first operation to the last. As recorded, a block may be taken on
//! one CPU and given back on another. The operations of one block keep their order: each has a number, and waits until
//! the block has seen that many.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use super::program::{Op, Program};
use super::replay::Pass;
use super::shared::SharedSubject;
use super::subject::Memory;
use crate::heap::{Threads, race, wait_until};

/// One operation of a CPU, and on which block.
#[derive(Clone, Copy, Debug)]
struct Turn {
    op: Op,
    block: u32,
}

/// A block on its way from one thread to another.
struct Handed<B> {
    /// 0 before it is taken, 1 from then on.
    state: AtomicU32,
    block: UnsafeCell<Option<B>>,
}

// SAFETY: the cell is written by the one thread that takes the block, before `state` becomes 1 (release), and read by
// the one that gives it back, after it saw that (acquire).
unsafe impl<B: Send> Sync for Handed<B> {}

/// Replays the program once with threads and a new `S`; `None` if the allocator cannot manage that memory.
pub fn threaded<S: SharedSubject>(program: &Program, memory: &mut Memory, threads: Threads) -> Option<Pass> {
    let cpus = if threads == Threads::Real { program.cpus() } else { threads.copies() };
    // SAFETY: the memory is ours until this function returns, and the subject does not outlive it.
    let subject = unsafe { S::build(memory, cpus) }?;
    Some(match threads {
        Threads::One | Threads::Many(_) => each_whole(program, &*subject, cpus),
        Threads::Real => as_recorded(program, &*subject),
    })
}

fn each_whole<S: SharedSubject>(program: &Program, subject: &S, count: usize) -> Pass {
    let (ns, failed) = race(count, |cpu| {
        let mut blocks: Vec<Option<S::Block>> = vec![None; program.slots()];
        move || {
            S::enter(cpu);
            let mut failed = 0;
            for op in program.ops() {
                let block = &mut blocks[op.slot as usize];
                let order = u32::from(op.order);
                if !op.free {
                    *block = subject.allocate(cpu, order);
                    failed += u64::from(block.is_none());
                } else if let Some(block) = block.take() {
                    // SAFETY: the block is live with this order; every thread is a CPU of its own.
                    unsafe { subject.free(cpu, block, order) };
                }
            }
            failed
        }
    });
    Pass { ns, ops: program.ops().len() * count, failed }
}

fn as_recorded<S: SharedSubject>(program: &Program, subject: &S) -> Pass {
    let (lists, blocks) = by_cpu(program);
    let handed: Vec<Handed<S::Block>> =
        (0..blocks).map(|_| Handed { state: AtomicU32::new(0), block: UnsafeCell::new(None) }).collect();
    let (ns, failed) = race(lists.len(), |cpu| {
        let (list, handed) = (&lists[cpu], &handed);
        move || {
            S::enter(cpu);
            let mut failed = 0;
            for turn in list {
                let (cell, order) = (&handed[turn.block as usize], u32::from(turn.op.order));
                if turn.op.free {
                    wait_until(|| cell.state.load(Ordering::Acquire) == 1);
                    // SAFETY: the block's first operation is done, and this is its last: nobody else looks at it.
                    if let Some(block) = unsafe { (*cell.block.get()).take() } {
                        // SAFETY: the block is live with this order; every thread is a CPU of its own.
                        unsafe { subject.free(cpu, block, order) };
                    }
                } else {
                    let block = subject.allocate(cpu, order);
                    failed += u64::from(block.is_none());
                    // SAFETY: nobody looks at it before the state says so.
                    unsafe { *cell.block.get() = block };
                    cell.state.store(1, Ordering::Release);
                }
            }
            failed
        }
    });
    Pass { ns, ops: program.ops().len(), failed }
}

/// The operations of each CPU, and the number of blocks (a slot stands for one block after another).
fn by_cpu(program: &Program) -> (Vec<Vec<Turn>>, usize) {
    let mut lists = vec![Vec::new(); program.cpus()];
    let (mut current, mut blocks) = (vec![0_u32; program.slots()], 0);
    for op in program.ops() {
        if !op.free {
            current[op.slot as usize] = blocks;
            blocks += 1;
        }
        lists[usize::from(op.cpu)].push(Turn { op: *op, block: current[op.slot as usize] });
    }
    (lists, blocks as usize)
}
