//! The physical memory that every contestant builds its tables in: one region, one stack of free frames.
#![expect(unsafe_code, reason = "owns raw memory, and implements a frame source")]

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed};
use std::sync::LazyLock;

use hectare_core::{
    AllocError, DirectMap, Frame, FrameRequest, FrameRun, FreeError, PageSize, PhysAddr, SharedFrameSource,
};

/// The bytes of physical memory: tables of 64 GiB in base pages, and more.
const BYTES: usize = 160 << 20;
/// Where physical memory begins.
pub(super) const FIRST: u64 = 0x1000_0000;

/// Frames on a stack: what a per-CPU cache of any kernel does in its best case.
#[derive(Debug)]
pub(super) struct Pool {
    base: NonNull<u8>,
    free: UnsafeCell<Vec<u64>>,
}

// SAFETY: the figures are measured by one thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// The pool of this process.
pub(super) static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let layout = Layout::from_size_align(BYTES, 2 << 20).expect("a layout");
    // SAFETY: the size is not zero.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
    for offset in (0..BYTES).step_by(4096) {
        let byte = base.as_ptr().wrapping_add(offset);
        // SAFETY: inside the allocation; touches each page.
        unsafe { byte.write(1) };
    }
    let free = (0..(BYTES >> 12) as u64).rev().map(|frame| (FIRST >> 12) + frame).collect();
    Pool { base, free: UnsafeCell::new(free) }
});

impl Pool {
    /// Takes a frame; its address.
    #[inline]
    pub(super) fn take(&self) -> Option<u64> {
        // SAFETY: one thread, and no reference outlives the call.
        unsafe { &mut *self.free.get() }.pop().map(|frame| frame << 12)
    }

    /// Gives a frame back.
    #[inline]
    pub(super) fn give(&self, address: u64) {
        // SAFETY: one thread, and no reference outlives the call.
        unsafe { &mut *self.free.get() }.push(address >> 12);
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

    /// How many frames are free.
    pub(super) fn free(&self) -> usize {
        // SAFETY: one thread, and no reference outlives the call.
        unsafe { &*self.free.get() }.len()
    }

    /// The window onto it.
    pub(super) fn window(&self) -> DirectMap {
        // SAFETY: the region lives for ever.
        unsafe { DirectMap::new(self.base, PhysAddr::new(FIRST), BYTES as u64) }.expect("does not wrap")
    }
}

// SAFETY: (1) the region is real; (2) single frames only are handed out, aligned runs from the front of the stack's
// order never; (3) the stack holds each free frame once.
unsafe impl SharedFrameSource for Pool {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    #[inline]
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        if request.count.get() == 1 {
            let address = self.take().ok_or(AllocError::OutOfMemory)?;
            return Ok(FrameRun::new(Frame::new(address >> 12), 1).expect("a run"));
        }
        // Larger tables (16 KiB, 64 KiB granules): the stack is kept in order for this.
        let count = request.count.get();
        // SAFETY: one thread, and no reference outlives the call.
        let free = unsafe { &mut *self.free.get() };
        while let Some(&top) = free.last() {
            let end = free.len();
            let start = end.checked_sub(count as usize).ok_or(AllocError::OutOfMemory)?;
            let run = &free[start..end];
            let consecutive = run.windows(2).all(|two| two[0] == two[1] + 1);
            if consecutive && top % count == 0 {
                free.truncate(start);
                return Ok(FrameRun::new(Frame::new(top), count).expect("a run"));
            }
            // Put the odd one below: it is found again after the next sort.
            let odd = free.pop().expect("there is one");
            free.insert(0, odd);
        }
        Err(AllocError::OutOfMemory)
    }

    #[inline]
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        for frame in run.iter().rev() {
            self.give(frame.number() << 12);
        }
        Ok(())
    }
}
