//! One CPU's cache: a tray for each chosen order, and what it takes from the source and gives back.
#![expect(unsafe_code, reason = "gives blocks back to the source")]

use core::num::NonZero;

use hectare_core::{AllocError, Frame, FrameRequest, FrameRun, FreeError, Order};

use crate::cached::tray::Tray;
use crate::group::{Group, GroupSource};

/// An order that is kept for each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The order.
    pub order: Order,
    /// At most so many blocks are taken from the source at once; 1 if there are no more.
    pub batch: NonZero<u32>,
    /// When so many blocks that were given wait to go back, some go.
    pub most: u32,
}

impl Keep {
    /// Frames, 32 at once; huge pages (2 MiB in frames of 4 KiB), one at once.
    pub const FRAMES_AND_HUGE: [Self; 2] = {
        let (Some(batch), Some(huge)) = (NonZero::new(32), Order::new(9)) else { panic!("in range") };
        [
            Self { order: Order::ZERO, batch, most: 64 },
            Self { order: huge, batch: NonZero::<u32>::MIN, most: 2 },
        ]
    };

    /// A block by its number.
    #[inline(always)]
    pub(super) fn frame(&self, block: u64) -> Frame {
        Frame::new(block << self.order.get())
    }

    /// The request for one block.
    #[inline(always)]
    pub(super) fn request(&self) -> FrameRequest {
        FrameRequest::order(self.order)
    }

    fn group(&self, (number, blocks): (u64, u64)) -> Group {
        Group { order: self.order, number, blocks }
    }
}

/// What a call says about the cache afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// How many frames it keeps, but for the block in hand.
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

    /// The block given last, or one of the stock.
    #[inline(always)]
    pub(super) fn take(&mut self, kind: usize) -> Option<u64> {
        self.trays[kind % N].take()
    }

    /// A block from the source, with a batch of others; or if it has none, one that was to go back.
    #[inline(never)]
    pub(super) fn fetch<S: GroupSource>(
        &mut self,
        source: &S,
        keep: &[Keep; N],
        kind: usize,
    ) -> (Result<u64, AllocError>, Told) {
        let (tray, kept) = (&mut self.trays[kind % N], keep[kind % N]);
        // Another look: since the first one the slot was free, or it was another.
        let again = if cfg!(hectare_plant = "cache_one_look") { None } else { tray.take() };
        if let Some(block) = again {
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
        let taken = match batch {
            Ok(group) => {
                tray.stock(group.number, group.blocks);
                tray.take().ok_or(AllocError::OutOfMemory)
            }
            Err(error) => tray.take_row().ok_or(error),
        };
        (taken, self.told(keep, 0))
    }

    /// Keeps a block in hand; whether it did: not if the one that was there has no row to go to, the bank is another, or it
    /// is kept already.
    #[inline(always)]
    pub(super) fn give_hand(&mut self, keep: &[Keep; N], kind: usize, run: FrameRun) -> bool {
        let kept = keep[kind % N];
        if !self.is_in_bank(run) || !run.first().is_aligned(kept.order) {
            return false;
        }
        let block = run.first().number() >> kept.order.get();
        let tray = &mut self.trays[kind % N];
        if tray.has_hand() { tray.give_near(block, kept.most) } else { tray.give(block).is_ok() }
    }

    /// Keeps a block, after a look at the banks; what has no room goes back to the source.
    #[inline(never)]
    pub(super) fn give<S: GroupSource>(
        &mut self,
        source: &S,
        keep: &[Keep; N],
        kind: usize,
        run: FrameRun,
    ) -> (Result<(), FreeError>, Told) {
        let kept = keep[kind % N];
        let given = self.check(source, kept, run).and_then(|()| {
            let tray = &mut self.trays[kind % N];
            let block = run.first().number() >> kept.order.get();
            let mut refused = 0;
            if let Some(before) = tray.give(block)? {
                refused += Self::give_back(source, kept, tray.keep(before));
                if tray.count() >= kept.most {
                    refused += Self::give_back(source, kept, tray.spill());
                }
            }
            Ok(refused)
        });
        (given.map(drop), self.told(keep, given.unwrap_or(0)))
    }

    /// Gives everything back, and forgets the bank.
    pub(super) fn drain<S: GroupSource>(&mut self, source: &S, keep: &[Keep; N]) -> Told {
        let mut refused = 0;
        self.bank = (0, 0);
        for (tray, kept) in self.trays.iter_mut().zip(keep) {
            if let Some(block) = tray.take() {
                refused += Self::give_back(source, *kept, tray.keep(block));
            }
            while let Some(row) = tray.spill() {
                refused += Self::give_back(source, *kept, Some(row));
            }
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

    /// How many of a row's blocks the source refuses.
    fn give_back<S: GroupSource>(source: &S, kept: Keep, row: Option<(u64, u64)>) -> usize {
        let Some(row) = row else { return 0 };
        // SAFETY: the blocks were in this cache: who gave them promised that they were theirs, and they are in no tray any
        // more.
        let freed = unsafe { source.free_group(kept.group(row)) };
        freed.map_or_else(|refused| refused.get() as usize, |()| 0)
    }

    fn told(&self, keep: &[Keep; N], refused: usize) -> Told {
        let frames =
            self.trays.iter().zip(keep).map(|(tray, kept)| (tray.all() as usize) << kept.order.get());
        Told { kept: frames.sum(), refused }
    }
}
