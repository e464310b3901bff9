//! Allocators that several CPUs use at once: by themselves, or behind one and the same spin lock.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use super::subject::{Memory, Subject};
use crate::heap::wait_until;

/// An allocator that CPUs share.
pub trait SharedSubject: Sync + Sized {
    /// As [`Subject::Block`].
    type Block: Copy + Send;

    /// As [`Subject::build`], for so many CPUs.
    ///
    /// # Safety
    /// The memory is nobody else's until the result is gone.
    unsafe fn build(memory: &mut Memory, cpus: usize) -> Option<Box<Self>>;

    /// Makes the calling thread a CPU, if the allocator asks a thread which one it is. Called before the first operation.
    fn enter(cpu: usize) {
        let _ = cpu;
    }

    /// Takes a block of 2^order frames on a CPU, which has one thread at a time; `None` if it is refused.
    fn allocate(&self, cpu: usize, order: u32) -> Option<Self::Block>;

    /// Gives back a block on a CPU.
    ///
    /// # Safety
    /// The block is live, with this order; no other thread is this CPU now.
    unsafe fn free(&self, cpu: usize, block: Self::Block, order: u32) -> bool;

    /// As [`Subject::frame`].
    fn frame(block: Self::Block) -> u64;

    /// As [`Subject::metadata_bytes`].
    fn metadata_bytes(&self) -> Option<usize>;
}

/// A shared allocator on one CPU.
#[derive(Debug)]
pub struct Alone<S>(Box<S>);

impl<S: SharedSubject> Subject for Alone<S> {
    type Block = S::Block;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        S::enter(0);
        // SAFETY: the caller's promise.
        unsafe { S::build(memory, 1) }.map(|shared| Box::new(Self(shared)))
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<S::Block> {
        self.0.allocate(0, order)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: S::Block, order: u32) -> bool {
        // SAFETY: the caller's promise; there is one thread.
        unsafe { self.0.free(0, block, order) }
    }

    fn frame(block: S::Block) -> u64 {
        S::frame(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        self.0.metadata_bytes()
    }
}

/// An allocator of a single owner behind a spin lock, whose waiters let others run after a while: there may be more
/// threads than processors.
#[derive(Debug)]
pub struct Behind<S> {
    busy: AtomicBool,
    subject: UnsafeCell<Box<S>>,
}

// SAFETY: the subject is used by the holder of the lock alone. The peers have no state of a thread.
unsafe impl<S> Sync for Behind<S> {}

impl<S> Behind<S> {
    #[inline(always)]
    fn with<R>(&self, act: impl FnOnce(&mut S) -> R) -> R {
        while self.busy.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            wait_until(|| !self.busy.load(Ordering::Relaxed));
        }
        // SAFETY: `busy` was false and is ours now, so nobody else has a reference.
        let result = act(unsafe { &mut *self.subject.get() });
        self.busy.store(false, Ordering::Release);
        result
    }
}

impl<S: Subject> SharedSubject for Behind<S> {
    type Block = S::Block;

    unsafe fn build(memory: &mut Memory, _cpus: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let subject = unsafe { S::build(memory) }?;
        Some(Box::new(Self { busy: AtomicBool::new(false), subject: UnsafeCell::new(subject) }))
    }

    #[inline(always)]
    fn allocate(&self, _cpu: usize, order: u32) -> Option<S::Block> {
        self.with(|subject| subject.allocate(order))
    }

    #[inline(always)]
    unsafe fn free(&self, _cpu: usize, block: S::Block, order: u32) -> bool {
        // SAFETY: the caller's promise.
        self.with(|subject| unsafe { subject.free(block, order) })
    }

    fn frame(block: S::Block) -> u64 {
        S::frame(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        self.with(|subject| subject.metadata_bytes())
    }
}
