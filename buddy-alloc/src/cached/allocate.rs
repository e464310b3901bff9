//! Taking: from the cache of the CPU, else a batch for it, else after all caches were emptied.
#![expect(unsafe_code, reason = "reaches per-CPU cells")]

use hectare_core::{AllocError, CpuPin, Frame, FrameRequest, FrameRun, Order, Slot};

use crate::cached::Cached;
use crate::cached::tray::NOTHING;
use crate::group::GroupSource;

/// How an attempt to serve from a cache ended.
enum Attempt {
    Done(Frame),
    /// With a slot held, and without.
    Refused(AllocError),
    NoSlot(AllocError),
}

impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> Cached<S, C, SLOTS, N> {
    /// Takes a block of 2^k frames: as [`allocate_frames`](hectare_core::SharedFrameSource::allocate_frames), for an order.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn allocate_order(&self, order: Order) -> Result<Frame, AllocError> {
        let mut why = AllocError::OutOfMemory;
        let frame = if order == Order::ZERO && self.keeps_frames_first() {
            let frame = self.take_at_hand(0);
            if frame == NOTHING { self.allocate_batch(0, &mut why) } else { frame }
        } else {
            self.allocate_more(order, &mut why)
        };
        if frame == NOTHING { Err(why) } else { Ok(Frame::new(frame)) }
    }

    /// A block of a chosen order that the cache has at hand: the number of its first frame, or [`NOTHING`]. (A number alone,
    /// here and below, because it returns in a register.)
    #[inline(always)]
    fn take_at_hand(&self, kind: usize) -> u64 {
        let block = self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe { per_cpu.with_cache(|cache| cache.take(kind)) },
            None => NOTHING,
        });
        if block == NOTHING { NOTHING } else { self.keep[kind % N].frame(block).number() }
    }

    /// What is no frame, or frames are not the first of the chosen orders; or [`NOTHING`], and why.
    #[inline(never)]
    fn allocate_more(&self, order: Order, why: &mut AllocError) -> u64 {
        let Some(kind) = self.keep.iter().position(|keep| keep.order == order) else {
            let found = self.allocate_uncached(FrameRequest::order(order));
            return Self::number_of(found.map(FrameRun::first), why);
        };
        let frame = self.take_at_hand(kind);
        if frame == NOTHING { self.allocate_batch(kind, why) } else { frame }
    }

    /// What the cache does not have at hand; or [`NOTHING`], and why.
    #[inline(never)]
    fn allocate_batch(&self, kind: usize, why: &mut AllocError) -> u64 {
        Self::number_of(self.fetch_or_drain(kind), why)
    }

    fn number_of(found: Result<Frame, AllocError>, why: &mut AllocError) -> u64 {
        match found {
            Ok(frame) => frame.number(),
            Err(error) => {
                *why = error;
                NOTHING
            }
        }
    }

    fn fetch_or_drain(&self, kind: usize) -> Result<Frame, AllocError> {
        match self.cpu.with(|slot| self.fetch(slot, kind)) {
            Attempt::Done(frame) => Ok(frame),
            Attempt::Refused(error) => self.drain_and_retry(self.keep[kind % N].request(), error),
            Attempt::NoSlot(error) => Err(error),
        }
    }

    fn fetch(&self, slot: Option<Slot>, kind: usize) -> Attempt {
        let keep = &self.keep[kind % N];
        let Some(per_cpu) = self.per_cpu(slot) else {
            return match self.source.allocate_frames(keep.request()) {
                Ok(run) => Attempt::Done(run.first()),
                Err(error) if slot.is_some() => Attempt::Refused(error),
                Err(error) => Attempt::NoSlot(error),
            };
        };
        // SAFETY: (1) `with` holds the slot until this returns; (2) the source does not come back here with a slot that is
        // held.
        let (taken, told) =
            unsafe { per_cpu.with_cache(|cache| cache.fetch(&self.source, &self.keep, kind)) };
        per_cpu.publish(told);
        match taken {
            Ok(block) => Attempt::Done(keep.frame(block)),
            Err(error) => Attempt::Refused(error),
        }
    }

    #[inline(never)]
    pub(super) fn allocate_uncached(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        match self.source.allocate_frames(request) {
            Err(error @ (AllocError::OutOfMemory | AllocError::Fragmented)) => {
                if self.cpu.with(|slot| slot.is_some()) {
                    self.drain_and_retry(request, error)
                        .and_then(|first| FrameRun::new(first, request.count.get()).ok_or(error))
                } else {
                    Err(error)
                }
            }
            done => done,
        }
    }

    /// Empties all caches that can be reached, and tries once more. Nobody may hold a slot up the call stack.
    #[cold]
    fn drain_and_retry(&self, request: FrameRequest, error: AllocError) -> Result<Frame, AllocError> {
        if !matches!(error, AllocError::OutOfMemory | AllocError::Fragmented) {
            return Err(error);
        }
        // The planted fault: other CPUs keep what they have.
        if !cfg!(hectare_plant = "cache_no_drain") {
            self.drain();
        }
        // The caller may run on another CPU now: that one's cache is emptied too.
        self.cpu.with(|slot| {
            if let Some(slot) = slot {
                // SAFETY: the slot is ours until this closure returns.
                unsafe { Self::drain_slot(&self.source, &self.slots, &self.keep, slot) };
            }
            self.source.allocate_frames(request).map(FrameRun::first)
        })
    }
}
