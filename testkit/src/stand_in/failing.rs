//! Failure injection: any allocator or source, with refusals by a schedule.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use hectare_core::{
    AllocError, ByteAllocator, Extent, FrameRequest, FrameRun, FrameSource, FreeError, PageSize,
};
use hectare_core::{RangeRequest, RangeSource, RegionError, SharedFrameSource, Violation};

use crate::drive::{HeapUnderTest, Space};

/// Which requests are refused, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// None.
    Never,
    /// All but the first so many.
    After(u64),
    /// Each whose number is a multiple of this (0: none).
    Every(u64),
}

/// An allocator or source that refuses by a schedule, with `OutOfMemory`, what the inner one might have granted.
/// Requests to allocate count, and to resize with leave to move; frees and resizes in place do not.
#[derive(Debug)]
pub struct Failing<T> {
    inner: T,
    schedule: Schedule,
    requests: AtomicU64,
    refused: AtomicU64,
}

impl<T> Failing<T> {
    /// This one, with refusals.
    #[must_use]
    pub const fn new(inner: T, schedule: Schedule) -> Self {
        Self { inner, schedule, requests: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// The one inside.
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// How many requests were refused by the schedule.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Another schedule, with the count at 0 again.
    pub fn reschedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
        *self.requests.get_mut() = 0;
    }

    /// Counts a request, and refuses it if it is its turn.
    fn ask(&self) -> Result<(), AllocError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let refuse = match self.schedule {
            Schedule::Never => false,
            Schedule::After(granted) => number > granted,
            Schedule::Every(period) => period != 0 && number.is_multiple_of(period),
        };
        if refuse {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(AllocError::OutOfMemory);
        }
        Ok(())
    }
}

// SAFETY: every block is the inner allocator's.
unsafe impl<A: ByteAllocator> ByteAllocator for Failing<A> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.ask()?;
        self.inner.allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.deallocate(block, layout) }
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.ask()?;
        self.inner.allocate_zeroed(layout)
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.resize_in_place(block, layout, new_size) }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        self.ask()?;
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.reallocate(block, layout, new_size) }
    }
}

// SAFETY: the inner heap's; an injected refusal changes nothing.
unsafe impl<H: HeapUnderTest> HeapUnderTest for Failing<H> {
    fn check(&self) -> Result<(), Violation> {
        self.inner.check()
    }

    fn check_empty(&self) -> Result<(), String> {
        self.inner.check_empty()
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        // Which refusals were injected is not told apart: those of the inner heap are checked without this wrapper.
        let _ = (layout, error, space);
        Ok(())
    }

    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.add(region) }
    }

    unsafe fn extend(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.extend(old, new) }
    }

    unsafe fn truncate(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.truncate(old, new) }
    }

    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.remove(region) }
    }
}

// SAFETY: every run is the inner source's.
unsafe impl<S: FrameSource> FrameSource for Failing<S> {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.ask()?;
        self.inner.allocate_frames(request)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.free_frames(run) }
    }
}

// SAFETY: every run is the inner source's; the counters are atomic.
unsafe impl<S: SharedFrameSource> SharedFrameSource for Failing<S> {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.ask()?;
        self.inner.allocate_frames(request)
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.free_frames(run) }
    }
}

impl<S: RangeSource> RangeSource for Failing<S> {
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError> {
        self.ask()?;
        self.inner.allocate_range(request)
    }

    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError> {
        self.inner.free_range(extent)
    }
}
