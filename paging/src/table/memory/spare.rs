//! Tables that nobody sees yet: taken from the source, written plainly, linked or given back.
#![expect(unsafe_code, reason = "makes slices of fresh memory, and gives its frames back")]

use core::ops::Range;
use core::slice;
#[cfg(hectare_loom)]
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{Frame, FrameRequest, FrameRun, FrameSource, Order, PhysAddr};

use super::freed::link_state;
#[cfg(hectare_loom)]
use crate::AtomicEntry;
use crate::Entry;
use crate::table::{TableError, TableFormat, TableWindow};

/// A word of a table that nobody else sees. It may have any contents.
#[cfg(not(hectare_loom))]
#[repr(transparent)]
pub(in crate::table) struct Word<F: TableFormat>(core::mem::MaybeUninit<F::Entry>);

/// loom's atomics are no plain words.
#[cfg(hectare_loom)]
#[repr(transparent)]
pub(in crate::table) struct Word<F: TableFormat>(super::Cell<F>);

impl<F: TableFormat> Word<F> {
    #[inline(always)]
    pub(in crate::table) fn write(&mut self, entry: F::Entry) {
        #[cfg(not(hectare_loom))]
        self.0.write(entry);
        #[cfg(hectare_loom)]
        self.0.store(entry, Relaxed);
    }

    /// Reads it.
    ///
    /// # Safety
    /// It was written before.
    #[inline(always)]
    pub(super) unsafe fn read(&self) -> F::Entry {
        #[cfg(not(hectare_loom))]
        // SAFETY: the caller's promise.
        let entry = unsafe { self.0.assume_init() };
        #[cfg(hectare_loom)]
        let entry = self.0.load(Relaxed);
        entry
    }
}

/// A table that is not linked: its memory is exclusively ours, its contents are unspecified.
pub(in crate::table) struct Spare<'t, F: TableFormat> {
    pub(in crate::table) entries: &'t mut [Word<F>],
    pub(in crate::table) address: PhysAddr,
}

impl<F: TableFormat> Spare<'_, F> {
    /// Writes the words of a range that is inside the table.
    #[inline(always)]
    pub(in crate::table) fn zero(&mut self, range: Range<usize>) {
        for word in self.entries.get_mut(range).unwrap_or(&mut []) {
            word.write(F::Entry::ZERO);
        }
    }
}

/// How a table of `bytes` bytes is asked for: aligned to its size, in the source's frames.
fn request(bytes: u64, frame: hectare_core::PageSize) -> FrameRequest {
    let frames = bytes.div_ceil(frame.bytes());
    FrameRequest::order(Order::holding(frames).unwrap_or(Order::ZERO))
}

/// Takes one table of a level below the root's, without a list around it.
#[inline(always)]
pub(in crate::table) fn take_spare<'t, F: TableFormat, W: TableWindow, S: FrameSource>(
    level: usize,
    window: &'t W,
    source: &mut S,
) -> Result<Spare<'t, F>, TableError> {
    let address = take_frames::<F, W, S>(F::PAGE.bytes(), window, source)?;
    let Some(pointer) = window.table(address, F::PAGE.bytes()) else {
        return Err(TableError::Unreachable { table: address });
    };
    // SAFETY: (1) valid for a page, which holds a table of any level but the root's, and is aligned to it; (2)
    // a `Word` may have any contents; (3) the frame was just taken.
    let entries = unsafe { slice::from_raw_parts_mut(pointer.cast::<Word<F>>().as_ptr(), F::entries(level)) };
    Ok(Spare { entries, address })
}

/// Gives a table back that was not linked.
pub(in crate::table) fn give_spare<F: TableFormat, S: FrameSource>(spare: Spare<'_, F>, source: &mut S) {
    // SAFETY: a spare table is exclusively ours, and was taken from this source.
    unsafe { release_frames(spare.address, F::PAGE.bytes(), source) };
}

/// Takes frames for a table that the window shows and that entries and list links can name.
#[inline]
pub(in crate::table) fn take_frames<F: TableFormat, W: TableWindow, S: FrameSource>(
    bytes: u64,
    window: &W,
    source: &mut S,
) -> Result<PhysAddr, TableError> {
    let run = source.allocate_frames(request(bytes, S::FRAME_SIZE))?;
    let address = run.first().start(S::FRAME_SIZE).unwrap_or(PhysAddr::new(u64::MAX));
    // A root may be smaller than a page, and aligned to itself only; nothing links it.
    let page = address.align_down(F::PAGE);
    let linked = F::LEVELS < 2 || F::table(page, 1).is_ok() && F::absent(link_state::<F>(page, 7)).is_ok();
    if linked && window.table(address, bytes).is_some() {
        return Ok(address);
    }
    // SAFETY: the run was just taken, and nobody used it. A refusal changes nothing here.
    let _ = unsafe { source.free_frames(run) };
    Err(TableError::Unreachable { table: address })
}

/// Zeroes a root that was just taken.
///
/// # Safety
/// It is exclusively ours, and the window shows it.
pub(in crate::table) unsafe fn zero<F: TableFormat, W: TableWindow>(address: PhysAddr, window: &W) {
    let level = F::LEVELS - 1;
    if let Some(pointer) = window.table(address, F::table_bytes(level)) {
        let (pointer, count) = (pointer.cast::<Word<F>>().as_ptr(), F::entries(level));
        // SAFETY: (1) valid for the root's bytes, and aligned to them; (2) a `Word` may have any contents; (3) the
        // caller's promise.
        let entries = unsafe { slice::from_raw_parts_mut(pointer, count) };
        Spare::<F> { entries, address }.zero(0..count);
    }
}

/// Gives the frames of a table back.
///
/// # Safety
/// The table was taken from this source by [`take_frames`] with the same size, and nothing uses it any more.
#[inline]
pub(in crate::table) unsafe fn release_frames<S: FrameSource>(address: PhysAddr, bytes: u64, source: &mut S) {
    let request = request(bytes, S::FRAME_SIZE);
    let first = Frame::new(address.value() >> S::FRAME_SIZE.log2());
    if let Some(run) = FrameRun::new(first, request.count.get()) {
        // SAFETY: the caller's promise. A source that refuses its own frames keeps them: a leak, nothing worse.
        let _ = unsafe { source.free_frames(run) };
    }
}
