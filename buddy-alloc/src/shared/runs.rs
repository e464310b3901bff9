//! Requests beyond an order: exact counts, places, limits.
#![forbid(unsafe_code)]

use hectare_core::{AllocError, CpuPin, FrameRun, FreeError, Order};

use crate::geometry::Geometry;
use crate::request::Request;
use crate::shared::bits::{bit, blocks, full, low, number, place_of, unit_of};
use crate::shared::hand::Hand;
use crate::shared::{Rows, Shared};

impl<C: CpuPin, G: Geometry> Shared<'_, C, G> {
    /// Takes a run of exactly `request.count` frames.
    ///
    /// A block of the next order is searched first, and what it has too much is given back; if there is none, all holes
    /// are looked at, O(rows), by one caller at a time.
    ///
    /// # Errors
    /// As [`allocate_order`](Self::allocate_order).
    #[inline]
    pub fn allocate(&self, request: Request) -> Result<FrameRun, AllocError> {
        let count = request.count.get();
        if request.is_anywhere() && count == request.align.frames() {
            let first = self.allocate_order(request.align)?;
            return FrameRun::new(first, count).ok_or(AllocError::TooLarge);
        }
        let order = Order::holding(count).map_or(63, |order| u32::from(order.max(request.align).get()));
        let found = self.find(0, count, |hand| self.rows.take_run(hand, order, &request));
        let run = found.and_then(|offset| FrameRun::new(self.rows.frame(offset), count));
        run.ok_or_else(|| self.refuse(count))
    }

    /// Takes exactly these frames: memory in use before the engine was there, at a place that hardware demands, or about
    /// to go offline. O(blocks in the run × levels).
    ///
    /// # Errors
    /// [`AllocError::BadBlock`] with [`FreeError::Foreign`] iff a frame lies outside the banks; else
    /// [`AllocError::Fragmented`] if one is not free.
    pub fn allocate_at(&self, run: FrameRun) -> Result<(), AllocError> {
        if !self.rows.manages(run.first(), run.count()) {
            return Err(FreeError::Foreign.into());
        }
        let (offset, count) = (self.rows.offset(run.first()), run.count());
        let rows = &self.rows;
        let found = self.find(0, count, |hand| {
            rows.surely(hand, |hand| rows.locked(|| rows.claim_run(hand, offset, count).then_some(())))
        });
        found.ok_or(AllocError::Fragmented)
    }
}

impl<G: Geometry> Rows<'_, G> {
    /// Takes a run: a block of the order that holds it, or across blocks.
    pub(super) fn take_run(&self, hand: &mut Hand, order: u32, request: &Request) -> Option<usize> {
        let count = request.count.get();
        if request.is_anywhere() {
            self.begin(hand);
            let block = self.take_order(hand, order);
            if let Some(offset) = block {
                let rest = (1 << order) - count;
                self.give_uncounted(hand, offset, count, rest);
            }
            self.end(hand, block.is_some());
            if block.is_some() {
                return block;
            }
        }
        self.surely(hand, |hand| self.locked(|| self.take_hole(hand, request)))
    }

    /// Gives the frames behind the first `count` back, which were never counted as taken.
    #[expect(clippy::cast_possible_truncation, reason = "inside a block of this engine")]
    fn give_uncounted(&self, hand: &mut Hand, offset: usize, count: u64, rest: u64) {
        self.count_taken(hand, rest);
        self.give_held(hand, offset.wrapping_add(count as usize), rest);
    }

    /// Runs `search` alone among those who take frames across blocks: two of them, each with a part of what the other
    /// needs, would both fail. Others are not kept out.
    fn locked<T>(&self, search: impl FnOnce() -> Option<T>) -> Option<T> {
        self.patiently(|| self.try_lock().then_some(()))?;
        let found = search();
        self.unlock();
        found
    }

    /// Takes a run from the first hole that has room for it, whatever blocks it lies across.
    fn take_hole(&self, hand: &mut Hand, request: &Request) -> Option<usize> {
        let count = request.count.get();
        let (mut from, limit) = self.window(request)?;
        while let Some((start, end)) = self.hole(from, limit) {
            let first = self.frame(start).number();
            let mask = request.align.frames() - 1;
            let skip = usize::try_from((first.checked_add(mask)? & !mask) - first).unwrap_or(usize::MAX);
            let fits = start.checked_add(skip).is_some_and(|at| at < end && (end - at) as u64 >= count);
            if fits && self.claim_run(hand, start + skip, count) {
                return Some(start + skip);
            }
            // Somebody was faster: what is left of this hole is another hole.
            from = if fits { start + skip + 1 } else { end };
        }
        None
    }

    /// The request's window as offsets, inside the rows; `None` if it is empty.
    fn window(&self, request: &Request) -> Option<(usize, usize)> {
        let rows = self.layout.level(0);
        let (start, end) = (rows.first << G::LOG2, (rows.first + rows.rows) << G::LOG2);
        let from = usize::try_from(request.from.number().saturating_sub(self.layout.origin)).ok()?;
        let limit = request.limit.number().checked_sub(self.layout.origin)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(end);
        Some((from.max(start), limit))
    }

    /// The first maximal run of free frames from `from` on, cut off at `limit`.
    pub(super) fn hole(&self, from: usize, limit: usize) -> Option<(usize, usize)> {
        let mut at = from;
        let start = loop {
            if at >= limit {
                return None;
            }
            let free = self.free_bits(at >> G::LOG2) >> number::<G>(at);
            if free != 0 {
                break at + free.trailing_zeros() as usize;
            }
            at = ((at >> G::LOG2) + 1) << G::LOG2;
        };
        at = start;
        while at < limit {
            let used = (!self.free_bits(at >> G::LOG2) & full::<G>()) >> number::<G>(at);
            if used != 0 {
                at += used.trailing_zeros() as usize;
                break;
            }
            at = ((at >> G::LOG2) + 1) << G::LOG2;
        }
        if start < limit { Some((start, at.min(limit))) } else { None }
    }

    /// The frames of a row that are free and in no stock.
    pub(super) fn free_bits(&self, row: usize) -> u64 {
        let word = self.row(0, row);
        if word == full::<G>() && !self.is_free_as_a_whole(0, row) { 0 } else { word }
    }

    /// Takes all frames of a run, block by block from the lowest up; or none. What it holds meanwhile stands in no word,
    /// so it is a move, and giving it back is a free like any other.
    fn claim_run(&self, hand: &mut Hand, offset: usize, count: u64) -> bool {
        self.begin(hand);
        let mut held = 0;
        let complete = blocks(offset, count, self.largest()).all(|(at, order)| {
            let (level, class) = place_of::<G>(order);
            let unit = unit_of::<G>(level, at);
            let claimed = self.claim_at(level, unit >> G::LOG2, low(class) << number::<G>(unit));
            held += if claimed { 1 << order } else { 0 };
            claimed
        });
        if !complete && held > 0 {
            self.count_taken(hand, held);
            self.give_held(hand, offset, held);
        }
        self.end(hand, held > 0);
        complete
    }

    /// Claims these units of a row, if all are free. Inside a move.
    fn claim_at(&self, level: usize, row: usize, mask: u64) -> bool {
        let at = self.layout.row(level, row);
        let mut word = self.load(at);
        loop {
            if word == full::<G>() {
                // Its frames stand in a row above: split that.
                let above =
                    level + 1 < self.layout.count && self.claim_at(level + 1, row >> G::LOG2, bit::<G>(row));
                if above {
                    let rest = full::<G>() & !mask;
                    self.store(at, rest);
                    self.reindex(level, row, rest);
                }
                return above;
            }
            // The planted fault: one free frame is taken for all.
            let some = cfg!(hectare_plant = "shared_at_some") && word & mask != 0;
            if word & mask != mask && !some {
                return false;
            }
            match self.exchange(at, word, word & !mask) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
    }
}
