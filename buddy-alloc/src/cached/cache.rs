//! One CPU's cache: a tray for each chosen order, and what it takes from the source and gives back.
#![expect(unsafe_code, reason = "gives blocks back to the source")]

use hectare_core::{AllocError, Frame, FrameRequest, FrameRun, FreeError, Order};

use crate::cached::keep::Keep;
use crate::cached::tray::Tray;
use crate::group::{Group, GroupSource};

/// What a call says about the cache afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// How many frames it keeps.
    pub(super) kept: usize,
    /// How many blocks the source refused.
    pub(super) refused: usize,
}

/// Invariants: every block in a tray is allocated in the source and lies in a bank of it.
#[derive(Debug)]
pub(super) struct Cache<const N: usize> {
    trays: [Tray; N],
    /// The bank of the last question: first frame and length.
    bank: (u64, u64),
}

impl<const N: usize> Cache<N> {
    pub(super) const EMPTY: Self = Self { trays: [Tray::EMPTY; N], bank: (0, 0) };

    /// A block that is at hand, or [`NOTHING`].
    #[inline(always)]
    pub(super) fn take(&mut self, kind: usize) -> u64 {
        self.trays[kind % N].take_at_hand()
    }

    /// A block that was given, or a batch from the source; or if that has none, whatever was to go back.
    #[inline(never)]
    pub(super) fn fetch<S: GroupSource>(
        &mut self,
        source: &S,
        keep: &[Keep; N],
        kind: usize,
    ) -> (Result<u64, AllocError>, Told) {
        let (tray, kept) = (&mut self.trays[kind % N], keep[kind % N]);
        // (If a block came to hand since the caller looked, it stays there.)
        if let Some(block) = tray.take_from_other(false) {
            return (Ok(block), self.told(keep, 0));
        }
        // The planted fault: all of a batch or nothing.
        let batch = if cfg!(hectare_plant = "cache_whole_batch") {
            source.allocate_frames(FrameRequest::order(Order::new(5).unwrap_or_default())).map(|run| {
                let first = Group::of(run.first(), kept.order);
                Group { blocks: first.blocks * 0xffff_ffff, ..first }
            })
        } else {
            source.allocate_group(kept.order, kept.batch)
        };
        let mut refused = 0;
        let taken = match batch {
            Ok(group) => {
                let known = kept.known(self.bank, group.number);
                refused = Self::give_back(source, kept, tray.stock(group.number, group.blocks, known));
                tray.take().ok_or(AllocError::OutOfMemory)
            }
            Err(error) => tray.take_from_other(true).ok_or(error),
        };
        (taken, self.told(keep, refused))
    }

    /// Keeps a frame at hand, if frames are the first of the orders; whether it did: not if its group has no place, or it is
    /// kept already.
    #[inline(always)]
    pub(super) fn give_frame(&mut self, frame: Frame) -> bool {
        self.trays[0].give(frame.number())
    }

    /// Keeps a block at hand; whether it did: not if it is misaligned, its group has no place, or it is kept already.
    #[inline(always)]
    pub(super) fn give_at_hand(&mut self, keep: &[Keep; N], kind: usize, first: Frame) -> bool {
        let order = keep[kind % N].order;
        first.is_aligned(order) && self.trays[kind % N].give(first.number() >> order.get())
    }

    /// Keeps a block, after a look at the banks; what has no place goes back to the source.
    #[inline(never)]
    pub(super) fn give<S: GroupSource>(
        &mut self,
        source: &S,
        keep: &[Keep; N],
        kind: usize,
        run: FrameRun,
    ) -> (Result<(), FreeError>, Told) {
        let kept = keep[kind % N];
        let block = run.first().number() >> kept.order.get();
        let given = self.check(source, kept, run).and_then(|()| {
            let known = kept.known(self.bank, block >> Group::LOG2);
            let tray = &mut self.trays[kind % N];
            let mut refused = Self::give_back(source, kept, tray.prepare(block, known, kept.most)?);
            while tray.is_full() {
                refused += Self::give_back(source, kept, tray.spill());
            }
            let given = tray.give(block);
            debug_assert!(given, "there was a place for the block");
            Ok(refused)
        });
        (given.map(drop), self.told(keep, given.unwrap_or(0)))
    }

    /// Gives everything back, and forgets the bank.
    pub(super) fn drain<S: GroupSource>(&mut self, source: &S, keep: &[Keep; N]) -> Told {
        let mut refused = 0;
        self.bank = (0, 0);
        for (tray, kept) in self.trays.iter_mut().zip(keep) {
            while let Some(group) = tray.spill() {
                refused += Self::give_back(source, *kept, Some(group));
            }
            refused += Self::give_back(source, *kept, tray.forget());
        }
        self.told(keep, refused)
    }

    /// Whether a block may be kept: aligned, and in a bank of the source.
    fn check<S: GroupSource>(&mut self, source: &S, kept: Keep, run: FrameRun) -> Result<(), FreeError> {
        if !run.first().is_aligned(kept.order) {
            return Err(FreeError::Misaligned);
        }
        if self.is_in_bank(run) {
            return Ok(());
        }
        let bank = source.bank(run.first()).filter(|bank| bank.contains(run)).ok_or(FreeError::Foreign)?;
        self.bank = (bank.first().number(), bank.count());
        Ok(())
    }

    /// Whether the remembered bank has the run.
    #[inline(always)]
    fn is_in_bank(&self, run: FrameRun) -> bool {
        let distance = run.first().number().wrapping_sub(self.bank.0);
        distance < self.bank.1 && run.count() <= self.bank.1 - distance
    }

    /// How many of a group's blocks the source refuses.
    fn give_back<S: GroupSource>(source: &S, kept: Keep, group: Option<(u64, u64)>) -> usize {
        let Some(group) = group else { return 0 };
        // SAFETY: the blocks were in this cache: who gave them promised that they were theirs, and they are in no tray any
        // more.
        let freed = unsafe { source.free_group(kept.group(group)) };
        freed.map_or_else(|refused| refused.get() as usize, |()| 0)
    }

    fn told(&self, keep: &[Keep; N], refused: usize) -> Told {
        let frames =
            self.trays.iter().zip(keep).map(|(tray, kept)| (tray.count() as usize) << kept.order.get());
        Told { kept: frames.sum(), refused }
    }
}
