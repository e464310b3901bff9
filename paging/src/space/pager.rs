//! Where pages come from that are not zeros, and where they go when memory is short.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::num::NonZero;

use hectare_core::{Frame, FrameRun};
use thiserror::Error;

use super::ObjectId;

/// Why a pager has no page, or took none. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum PagerError {
    /// It will have: the access is to be tried again later, when the reading has ended.
    #[error("the page is on its way")]
    Pending,
    /// The object ends before.
    #[error("the page lies beyond the end of the object")]
    Beyond,
    /// It could not be read or written.
    #[error("the page could not be read or written")]
    Failed,
    /// There is no frame, or no slot, for it.
    #[error("no room for the page")]
    NoRoom,
}

/// A place on the swap device, or wherever evicted pages are kept. It is stored in a table entry that is absent: how many
/// bits it may have is the format's [`ABSENT_BITS`](crate::Format::ABSENT_BITS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SwapSlot(pub NonZero<u64>);

impl SwapSlot {
    /// The slot of this number; `None` for 0, which stands for no slot.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// The contents of objects, and of evicted pages. Called with the address space locked; it must not call back into it.
///
/// # Safety
/// The implementer promises of every frame that it hands out: (1) it is memory of the frame source and the window that
/// the address spaces use; (2) [`page`](Self::page) counted the caller as a user, in the address spaces'
/// [`FrameRefs`](super::FrameRefs); (3) the pager is a user too, so that the frame of an object is never anybody's own;
/// (4) a frame that [`resident`](Self::resident) reports stays the pager's until `each` returns; (5)
/// [`swap_in`](Self::swap_in) writes to that frame alone, and is done when it returns.
pub unsafe trait Pager {
    /// The frame with this page of an object, counted once for the caller. `write`: it will be written to, by a shared
    /// mapping.
    ///
    /// # Errors
    /// Why there is none.
    fn page(&self, id: ObjectId, page: u64, write: bool) -> Result<Frame, PagerError>;

    /// Which of the `count` pages from `page` on are there anyway: for each run of them whose frames are consecutive,
    /// `each` is called with its first page. Fault-around asks. By default none are.
    fn resident(&self, id: ObjectId, page: u64, count: u64, each: &mut dyn FnMut(u64, FrameRun)) {
        let _ = (id, page, count, each);
    }

    /// Whether this frame is the object's page: then an eviction need not write it. By default no frame is known.
    fn holds(&self, id: ObjectId, page: u64, frame: Frame) -> bool {
        let _ = (id, page, frame);
        false
    }

    /// These pages were written to by a shared mapping that is gone, or that was just found to have been. By default
    /// ignored.
    fn dirty(&self, id: ObjectId, page: u64, count: u64) {
        let _ = (id, page, count);
    }

    /// Writes the contents of a frame that nobody can change meanwhile to a new slot with one user. By default refused.
    ///
    /// # Errors
    /// Why there is no slot.
    fn swap_out(&self, frame: Frame) -> Result<SwapSlot, PagerError> {
        let _ = frame;
        Err(PagerError::NoRoom)
    }

    /// Reads a slot into a frame that is nobody else's. The slot stays.
    ///
    /// # Errors
    /// Why it cannot. The frame's contents are unspecified then.
    fn swap_in(&self, slot: SwapSlot, frame: Frame) -> Result<(), PagerError> {
        let _ = (slot, frame);
        Err(PagerError::Failed)
    }

    /// One user more of a slot: a fork copied the entry that names it.
    ///
    /// # Errors
    /// It cannot be counted.
    fn share_slot(&self, slot: SwapSlot) -> Result<(), PagerError> {
        let _ = slot;
        Err(PagerError::NoRoom)
    }

    /// One user less; after the last the slot is free.
    fn release_slot(&self, slot: SwapSlot) {
        let _ = slot;
    }
}

// SAFETY: the inner pager keeps the promises.
unsafe impl<P: Pager + ?Sized> Pager for &P {
    fn page(&self, id: ObjectId, page: u64, write: bool) -> Result<Frame, PagerError> {
        (**self).page(id, page, write)
    }

    fn resident(&self, id: ObjectId, page: u64, count: u64, each: &mut dyn FnMut(u64, FrameRun)) {
        (**self).resident(id, page, count, each);
    }

    fn holds(&self, id: ObjectId, page: u64, frame: Frame) -> bool {
        (**self).holds(id, page, frame)
    }

    fn dirty(&self, id: ObjectId, page: u64, count: u64) {
        (**self).dirty(id, page, count);
    }

    fn swap_out(&self, frame: Frame) -> Result<SwapSlot, PagerError> {
        (**self).swap_out(frame)
    }

    fn swap_in(&self, slot: SwapSlot, frame: Frame) -> Result<(), PagerError> {
        (**self).swap_in(slot, frame)
    }

    fn share_slot(&self, slot: SwapSlot) -> Result<(), PagerError> {
        (**self).share_slot(slot)
    }

    fn release_slot(&self, slot: SwapSlot) {
        (**self).release_slot(slot);
    }
}

/// No objects and no swap: anonymous memory alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPager;

// SAFETY: it hands out nothing.
unsafe impl Pager for NoPager {
    fn page(&self, _id: ObjectId, _page: u64, _write: bool) -> Result<Frame, PagerError> {
        Err(PagerError::Beyond)
    }
}
