//! The bytes of pages: taken, zeroed, copied, given back. Everything unsafe about an address space is here.
#![expect(unsafe_code, reason = "writes to frames and gives them back")]

use hectare_core::{AllocError, Frame, FrameRequest, FrameRun, FrameSource, Order, PageSize, PhysWindow};

use super::FrameRefs;

/// A run of frames that nobody else uses, with one user each: whoever has this value. Zeroed and copied through it alone.
#[derive(Debug)]
#[must_use = "the frames are lost unless they are mapped or given back"]
pub(super) struct Owned {
    run: FrameRun,
}

/// One reference to each frame of a run, taken out of a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    run: FrameRun,
}

impl Owned {
    /// Takes 2^k frames, naturally aligned.
    pub(super) fn take(
        frames: &mut impl FrameSource,
        refs: &impl FrameRefs,
        order: Order,
    ) -> Result<Self, AllocError> {
        let run = frames.allocate_frames(FrameRequest::order(order))?;
        refs.adopt(run);
        Ok(Self { run })
    }

    /// Which frames.
    pub(super) const fn run(&self) -> FrameRun {
        self.run
    }

    /// Makes every byte zero. `false` if the window does not show the frames.
    pub(super) fn zero(&mut self, window: &impl PhysWindow, size: PageSize) -> bool {
        let bytes = self.run.count() << size.log2();
        let pointer = self.run.first().start(size).and_then(|start| window.pointer(start, bytes));
        let (Some(pointer), Ok(bytes)) = (pointer, usize::try_from(bytes)) else { return false };
        // SAFETY: (1) the window promises that the pointer is valid for writes of these bytes; (2) the frames are ours
        // alone: just taken from their source, and mapped nowhere.
        unsafe { bytes_of::zero(pointer, bytes) };
        true
    }

    /// Makes the `nth` frame a copy of another, which the caller has a reference to. `false` if there is no such frame, or
    /// the window does not show both.
    ///
    /// Where a shared mapping lets a program write to the other meanwhile, the copy may hold some of what it writes, as it
    /// might with any kernel.
    pub(super) fn copy_to(
        &mut self,
        nth: u64,
        other: Frame,
        window: &impl PhysWindow,
        size: PageSize,
    ) -> bool {
        let pointer = |frame: Frame| window.pointer(frame.start(size)?, size.bytes());
        let frame = self.run.first().checked_add(nth).filter(|frame| *frame < self.run.end());
        let (Some(from), Some(to)) = (pointer(other), frame.and_then(pointer)) else { return false };
        let Ok(bytes) = usize::try_from(size.bytes()) else { return false };
        // SAFETY: (1) both pointers are valid for that many bytes (promise of the window); (2) the frames differ: this one
        // is ours alone, and the other has a user; (3) no Rust code writes to the other: it is a live page.
        unsafe { bytes_of::copy(from, to, bytes) };
        true
    }

    /// The frames as a mapping uses them.
    pub(super) const fn into_used(self) -> Used {
        Used { run: self.run }
    }
}

impl Used {
    /// The frames of a mapping that was just taken out of the tables, or of a reference that a pager gave.
    pub(super) const fn of(run: FrameRun) -> Self {
        Self { run }
    }

    /// Gives the references up, and the frames back to the source whose last users they were. No CPU may reach them by
    /// this mapping any more. How many were given back.
    ///
    /// Each `Used` is released once: the address space, the only one who makes them, sees to that.
    pub(super) fn release(self, frames: &mut impl FrameSource, refs: &impl FrameRefs) -> u64 {
        let mut count = 0;
        for frame in self.run.iter() {
            let last = refs.release(frame) && !cfg!(hectare_plant = "space_leak");
            if let Some(run) = FrameRun::new(frame, 1).filter(|_| last) {
                count += 1;
                // SAFETY: (1) the counts say that this was the last user, so the frame is ours alone; (2) it came from
                // this source: only such frames are counted; (3) nothing maps it any more. A refusal has no remedy.
                let _ = unsafe { frames.free_frames(run) };
            }
        }
        count
    }
}

/// What is done to the bytes of pages.
#[cfg(not(hectare_loom))]
mod bytes_of {
    use core::ptr::NonNull;

    /// Makes them zero.
    ///
    /// # Safety
    /// They are valid for writes, and nobody else has access.
    #[inline(always)]
    pub(super) unsafe fn zero(at: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { at.write_bytes(0, bytes) };
    }

    /// Copies them.
    ///
    /// # Safety
    /// Both places are valid for so many bytes and do not overlap; nobody writes to the first or has access to the second.
    #[inline(always)]
    pub(super) unsafe fn copy(from: NonNull<u8>, to: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { to.copy_from_nonoverlapping(from, bytes) };
    }
}

/// loom's atomics are no bytes. Under loom a frame is two of them, which hold entries, or what a program wrote.
#[cfg(hectare_loom)]
mod bytes_of {
    use core::ptr::NonNull;

    use hectare_core::sync::atomic::{AtomicU64, Ordering};

    /// # Safety
    /// It is the frame of a model.
    unsafe fn words<'a>(at: NonNull<u8>) -> &'a [AtomicU64; 2] {
        // SAFETY: the caller's promise.
        unsafe { at.cast().as_ref() }
    }

    pub(super) unsafe fn zero(at: NonNull<u8>, _bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { words(at) }.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    pub(super) unsafe fn copy(from: NonNull<u8>, to: NonNull<u8>, _bytes: usize) {
        // SAFETY: the caller's promise.
        let from = unsafe { words(from) };
        // SAFETY: the same.
        let to = unsafe { words(to) };
        for (from, to) in from.iter().zip(to) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
