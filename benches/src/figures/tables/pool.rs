//! The physical memory that every contestant builds its tables in: one region, a stack of free frames, and a stack of
//! free runs for each larger size that a table may have.
//!
//! ```text
//!   region   │ single frames: 4 KiB tables │ 8 KiB runs │ 16 KiB runs │ 32 KiB runs │ 64 KiB runs │
//! ```
//! So a table costs one pop whatever its size, and tables of each size lie as densely as they can.
#![expect(unsafe_code, reason = "owns raw memory, and implements a frame source")]

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc};
use std::sync::LazyLock;

use hectare_core::{
    AllocError, DirectMap, Frame, FrameRequest, FrameRun, FreeError, PageSize, PhysAddr, SharedFrameSource,
};

/// The bytes of single frames: tables of 64 GiB in base pages, and more.
const SINGLE: usize = 160 << 20;
/// The bytes of the runs of each larger size: twice the tables of 2^18 leaves.
const LARGER: usize = 4 << 20;
/// The orders of runs: up to the 16 frames of a table of a 64 KiB granule.
const ORDERS: usize = 5;
const BYTES: usize = SINGLE + (ORDERS - 1) * LARGER;
/// Where physical memory begins.
pub(super) const FIRST: u64 = 0x1000_0000;

/// Frames on stacks, by order: what a per-CPU cache of any kernel does in its best case.
#[derive(Debug)]
pub(super) struct Pool {
    base: NonNull<u8>,
    free: [UnsafeCell<Vec<u64>>; ORDERS],
}

// SAFETY: the figures are measured by one thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// The pool of this process.
pub(super) static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let layout = Layout::from_size_align(BYTES, 2 << 20).expect("a layout");
    // SAFETY: the size is not zero.
    let base = NonNull::new(unsafe { alloc(layout) }).expect("memory");
    // A kernel sees its tables through a direct map of huge pages, too. Where there are none, nothing happens.
    // SAFETY: the whole allocation.
    unsafe { libc::madvise(base.as_ptr().cast(), BYTES, libc::MADV_HUGEPAGE) };
    // SAFETY: the whole allocation.
    unsafe { base.as_ptr().write_bytes(0, BYTES) };
    let free = core::array::from_fn(|order| {
        let bytes = if order == 0 { SINGLE } else { LARGER };
        let first = (FIRST as usize + if order == 0 { 0 } else { SINGLE + (order - 1) * LARGER }) >> 12;
        let runs = (first..first + (bytes >> 12)).step_by(1 << order).rev();
        UnsafeCell::new(runs.map(|frame| frame as u64).collect())
    });
    Pool { base, free }
});

impl Pool {
    /// Takes a frame; its address.
    #[inline]
    pub(super) fn take(&self) -> Option<u64> {
        self.pop(0).map(|frame| frame << 12)
    }

    /// Gives a frame back.
    #[inline]
    pub(super) fn give(&self, address: u64) {
        self.push(0, address >> 12);
    }

    #[inline]
    fn pop(&self, order: usize) -> Option<u64> {
        // SAFETY: one thread, and no reference outlives the call.
        unsafe { &mut *self.free.get(order)?.get() }.pop()
    }

    #[inline]
    fn push(&self, order: usize, frame: u64) {
        // SAFETY: one thread, and no reference outlives the call.
        unsafe { &mut *self.free[order].get() }.push(frame);
    }

    /// The pointer to a physical address.
    #[inline(always)]
    pub(super) fn pointer(&self, address: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add((address - FIRST) as usize)
    }

    /// What to add to a physical address.
    pub(super) fn offset(&self) -> u64 {
        (self.base.as_ptr() as u64).wrapping_sub(FIRST)
    }

    /// How many frames it has in single ones, from [`FIRST`] on.
    pub(super) const fn singles() -> usize {
        SINGLE >> 12
    }

    /// How many frames are free.
    pub(super) fn free(&self) -> usize {
        let runs = self.free.iter().enumerate().map(|(order, free)| {
            // SAFETY: one thread, and no reference outlives the call.
            unsafe { &*free.get() }.len() << order
        });
        runs.sum()
    }

    /// The window onto it.
    pub(super) fn window(&self) -> DirectMap {
        // SAFETY: the region lives for ever.
        unsafe { DirectMap::new(self.base, PhysAddr::new(FIRST), BYTES as u64) }.expect("does not wrap")
    }
}

// SAFETY: (1) the region is real; (2) a run of 2^order frames is aligned to its size: all parts of the region are; (3) the
// stack of an order holds each of its free runs once, and the runs of all stacks are disjoint.
unsafe impl SharedFrameSource for Pool {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    #[inline]
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let count = request.count.get();
        let frame = self.pop(count.trailing_zeros() as usize).filter(|_| count.is_power_of_two());
        let run = frame.and_then(|frame| FrameRun::new(Frame::new(frame), count));
        run.ok_or(AllocError::OutOfMemory)
    }

    #[inline]
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        self.push(run.count().trailing_zeros() as usize, run.first().number());
        Ok(())
    }
}
