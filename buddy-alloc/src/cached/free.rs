//! Giving back: to the cache of the CPU, else to the source.
#![expect(unsafe_code, reason = "reaches per-CPU cells")]

use hectare_core::{CpuPin, Frame, FrameRun, FreeError, Order};

use crate::cached::Cached;
use crate::group::GroupSource;

impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> Cached<S, C, SLOTS, N> {
    /// Gives a block of 2^k frames back: as [`free_frames`](hectare_core::SharedFrameSource::free_frames), for an order.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there; [`FreeError::Foreign`] if the block would end beyond the last frame number.
    #[inline]
    pub unsafe fn free_order(&self, first: Frame, order: Order) -> Result<(), FreeError> {
        if order == Order::ZERO && self.keeps_frames_first() && self.keep_frame_at_hand(first) {
            return Ok(());
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.free_more(first, order) }
    }

    /// Keeps a frame that the cache has a place for at hand; whether it did.
    #[inline(always)]
    fn keep_frame_at_hand(&self, frame: Frame) -> bool {
        self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe { per_cpu.with_cache(|cache| cache.give_frame(frame)) },
            None => false,
        })
    }

    /// Keeps a block of a chosen order that the cache has a place for at hand; whether it did.
    #[inline(always)]
    fn keep_at_hand(&self, kind: usize, first: Frame) -> bool {
        self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe {
                per_cpu.with_cache(|cache| cache.give_at_hand(&self.keep, kind, first))
            },
            None => false,
        })
    }

    /// Gives back what is no frame that has a place at hand.
    ///
    /// # Safety
    /// The caller owns the block, obtained from this source, and nothing uses it any more.
    #[inline(never)]
    unsafe fn free_more(&self, first: Frame, order: Order) -> Result<(), FreeError> {
        let kind = self.keep.iter().position(|keep| keep.order == order);
        if kind.is_some_and(|kind| self.keep_at_hand(kind, first)) {
            return Ok(());
        }
        let run = FrameRun::of_order(first, order).ok_or(FreeError::Foreign)?;
        match kind {
            // SAFETY: the caller's promise is the one asked for.
            Some(kind) => unsafe { self.free_chosen(kind, run) },
            // SAFETY: the caller's promise is the one asked for.
            None => unsafe { self.source.free_frames(run) },
        }
    }

    /// Gives a block of a chosen order to the cache, or to the source without a slot.
    ///
    /// # Safety
    /// The caller owns the run, obtained from this source, and nothing uses it any more.
    #[inline(never)]
    unsafe fn free_chosen(&self, kind: usize, run: FrameRun) -> Result<(), FreeError> {
        self.cpu.with(|slot| {
            let Some(per_cpu) = self.per_cpu(slot) else {
                // SAFETY: the caller's promise is the one asked for.
                return unsafe { self.source.free_frames(run) };
            };
            // SAFETY: (1) `with` holds the slot until this returns; (2) the source does not come back here with a slot that
            // is held.
            let (given, told) =
                unsafe { per_cpu.with_cache(|cache| cache.give(&self.source, &self.keep, kind, run)) };
            per_cpu.publish(told);
            given
        })
    }
}
