//! The slab heap of many CPUs: each thread is one, with a front of its own.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{DirectMap, SpinLock};
use hectare_slab::CpuHeap;

use crate::frames::cpu::{ThreadCpu, enter};
use crate::objects::{Machine, SharedFrames};
use crate::subject::{Subject, or_null};

/// Threads beyond that take the shared path.
const CPUS: usize = 16;
const FRAME: usize = 4096;

type Heap = CpuHeap<ThreadCpu, SpinLock, &'static SharedFrames, DirectMap, CPUS>;

/// A way to the heap, which lies at the end of the arena: every thread has one.
#[derive(Debug)]
pub struct CpuSlab {
    heap: NonNull<Heap>,
    tables: usize,
}

impl CpuSlab {
    fn heap(&self) -> &Heap {
        // SAFETY: written in `build`; the arena outlives the subject.
        unsafe { self.heap.as_ref() }
    }
}

// SAFETY: every request goes to the heap.
unsafe impl Subject for CpuSlab {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let bytes = arena.len().checked_sub(size_of::<Heap>())? / FRAME * FRAME;
        // SAFETY: the caller's promises, for the first part of the arena.
        let machine = unsafe { Machine::new(NonNull::slice_from_raw_parts(arena.cast(), bytes)) }?;
        let tables = machine.tables();
        // SAFETY: each thread of a measurement is a CPU of its own, and a heap is used by one measurement at a time.
        let pin = unsafe { ThreadCpu::new(CPUS) };
        // SAFETY: inside the arena: there is room for the heap.
        let heap = unsafe { arena.cast::<u8>().add(bytes) }.cast::<Heap>();
        // SAFETY: the last part of the arena, which is a multiple of a frame from its start: aligned, ours.
        unsafe { heap.write(CpuHeap::new(pin, SpinLock::new(), machine.frames, machine.window)) };
        // With one thread, that is the first CPU.
        enter(0);
        Some(Box::new(Self { heap, tables }))
    }

    fn share(&self, cpu: usize) -> Option<Self> {
        enter(cpu);
        Some(Self { heap: self.heap, tables: self.tables })
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.heap().allocate(layout))
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.heap().allocate_zeroed(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        let result = unsafe { self.heap().free(block, layout) };
        debug_assert!(result.is_ok(), "a live block was not taken back");
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        or_null(unsafe { self.heap().reallocate(block, layout, new_size) })
    }

    fn metadata_bytes(&self) -> usize {
        size_of::<Heap>() + self.tables
    }
}
