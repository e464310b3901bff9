//! Requests beyond an order: exact counts, places, limits, several at once, regions that come and go.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{AllocError, Frame, FrameRun, FreeError, Order, RegionError};

use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::group::Group;
use crate::request::Request;
use crate::row::{Runs, bit_number, full};

impl<G: Geometry> Engine<'_, G> {
    /// Takes a run of exactly `request.count` frames.
    ///
    /// A block of the next order is searched first, O(levels × classes), and what it has too much is given back; if there
    /// is none, all holes are looked at, O(rows).
    ///
    /// # Errors
    /// Fails iff no such run is free: as [`allocate_order`](Self::allocate_order).
    #[inline]
    pub fn allocate(&mut self, request: Request) -> Result<FrameRun, AllocError> {
        let count = request.count.get();
        let holding = Order::holding(count).map(|order| order.max(request.align));
        let least = self.free.least();
        let found = match holding {
            Some(order) if request.is_anywhere() => self.take_order(order.get().into()),
            Some(order) => self.take_order_within(order.get().into(), &request),
            None => None,
        };
        let offset = match (found, holding) {
            (Some(offset), Some(order)) => {
                if order.frames() > count {
                    self.give_run(offset.wrapping_add(Self::distance(count)), order.frames() - count);
                    self.free.begin_from(least);
                }
                Some(offset)
            }
            _ => self.take_anywhere(&request),
        };
        if let Some(offset) = offset {
            self.mark(offset);
        }
        let run = offset.and_then(|offset| FrameRun::new(self.frame(offset), count));
        run.ok_or_else(|| self.refuse(count))
    }

    /// As [`allocate`](Self::allocate), and passes the run to `prepare` before anybody else sees it: to zero it, to map
    /// it. The engine touches no frame itself.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate), and what `prepare` returns; then the frames are free again.
    pub fn allocate_with<E: From<AllocError>>(
        &mut self,
        request: Request,
        prepare: impl FnOnce(FrameRun) -> Result<(), E>,
    ) -> Result<FrameRun, E> {
        let run = self.allocate(request)?;
        match prepare(run) {
            Ok(()) => Ok(run),
            Err(error) => {
                self.unmark(self.offset(run.first()));
                self.give_run(self.offset(run.first()), run.count());
                Err(error)
            }
        }
    }

    /// Takes exactly these frames: memory in use before the engine was there, or at a place that hardware demands.
    /// O(blocks in the run × levels).
    ///
    /// # Errors
    /// Fails iff one of them is not free: [`AllocError::BadBlock`] with [`FreeError::Foreign`] outside the banks, else
    /// [`AllocError::Fragmented`].
    pub fn allocate_at(&mut self, run: FrameRun) -> Result<(), AllocError> {
        if !self.banks.manage(run.first(), run.count()) {
            return Err(FreeError::Foreign.into());
        }
        if self.take_run(self.offset(run.first()), run.count()) {
            self.mark(self.offset(run.first()));
            Ok(())
        } else {
            Err(AllocError::Fragmented)
        }
    }

    /// Takes all frames of a range that are managed, for good or until they are freed; how many. Those in no bank are no
    /// error: memory that firmware found out late to be its own. O(banks + blocks in the run × levels).
    ///
    /// # Errors
    /// [`AllocError::Fragmented`] iff one of them is allocated. Nothing is changed then.
    pub fn reserve(&mut self, run: FrameRun) -> Result<u64, AllocError> {
        self.put_all_back();
        let free = |part: FrameRun| self.is_run_free(self.offset(part.first()), part.count());
        if !self.banks.iter().filter_map(|bank| common(bank, run)).all(free) {
            return Err(AllocError::Fragmented);
        }
        let (mut number, mut taken) = (0, 0);
        while let Some(bank) = self.banks.get(number) {
            if let Some(part) = common(bank, run) {
                self.take_run(self.offset(part.first()), part.count());
                self.mark(self.offset(part.first()));
                taken += part.count();
            }
            number += 1;
        }
        Ok(taken)
    }

    /// Takes a block for each place in `frames`, until there is none; how many. Where they lie is not related.
    /// O(length × levels).
    pub fn allocate_bulk(&mut self, order: Order, frames: &mut [Frame]) -> usize {
        let mut taken = 0;
        for place in frames {
            let Some(offset) = self.take_order(order.get().into()) else { break };
            self.mark(offset);
            *place = self.frame(offset);
            taken += 1;
        }
        taken
    }

    /// Takes at least 1 and at most `most` blocks that lie in one [group](Group): those that would be handed out one by
    /// one. O(most × levels).
    ///
    /// # Errors
    /// Fails iff not one block of this order is free: as [`allocate_order`](Self::allocate_order).
    pub fn allocate_group(&mut self, order: Order, most: NonZero<u32>) -> Result<Group, AllocError> {
        let mut group = Group::of(self.allocate_order(order)?, order);
        if order == Order::ZERO && G::BITS == u64::BITS {
            // The rest of the row at hand, which has the frame just taken.
            group.blocks |= self.take_rest(most.get() - 1);
            return Ok(group);
        }
        for _ in 1..most.get() {
            let Some(offset) = self.take_order(order.get().into()) else { break };
            let next = Group::of(self.frame(offset), order);
            if next.number != group.number {
                self.give_run(offset, order.frames());
                break;
            }
            self.mark(offset);
            group.blocks |= next.blocks;
        }
        Ok(group)
    }

    /// Gives all blocks of a group back, also those after one that is refused. O(blocks × levels).
    ///
    /// # Errors
    /// How many were refused, if any.
    pub fn free_group(&mut self, group: Group) -> Result<(), NonZero<u32>> {
        if group.order == Order::ZERO && self.free_row(group) {
            return Ok(());
        }
        let refused = group.iter().filter(|first| self.free_order(*first, group.order).is_err()).count();
        u32::try_from(refused).ok().and_then(NonZero::new).map_or(Ok(()), Err)
    }

    /// Takes `count` frames in blocks as large as there are, at most of order `largest`, and passes each to `take`; how
    /// many it took: fewer than `count` only if nothing is left.
    pub fn allocate_scattered(&mut self, count: u64, largest: Order, mut take: impl FnMut(FrameRun)) -> u64 {
        let (mut left, mut order) = (count, u32::from(largest.get()));
        while let Some(fitting) = left.checked_ilog2() {
            order = order.min(fitting);
            match self.take_order(order) {
                Some(offset) => {
                    left -= 1 << order;
                    self.mark(offset);
                    if let Some(run) = FrameRun::new(self.frame(offset), 1 << order) {
                        take(run);
                    }
                }
                None if order == 0 => break,
                None => order -= 1,
            }
        }
        count - left
    }

    /// Makes an allocated run longer where it lies, by `more` frames behind it; the longer run.
    ///
    /// # Errors
    /// [`AllocError::BadBlock`] iff [`free`](Self::free) would refuse the run, [`AllocError::NotInPlace`] iff one of the frames behind it
    /// is not free. Nothing is changed then.
    pub fn grow(&mut self, run: FrameRun, more: NonZero<u64>) -> Result<FrameRun, AllocError> {
        self.check_block(run)?;
        let grown = run.count().checked_add(more.get()).and_then(|count| FrameRun::new(run.first(), count));
        let grown = grown.ok_or(AllocError::NotInPlace)?;
        if self.banks.manage(run.end(), more.get()) && self.take_run(self.offset(run.end()), more.get()) {
            Ok(grown)
        } else {
            Err(AllocError::NotInPlace)
        }
    }

    /// Adds frames, free, inside the span that the engine has metadata for. O(banks + rows of the run).
    ///
    /// # Errors
    /// [`RegionError::BadRange`] iff they lie outside the span, [`RegionError::Overlap`] iff one is managed already,
    /// [`RegionError::TableFull`] iff the table of banks is full. Nothing is changed then.
    pub fn online(&mut self, run: FrameRun) -> Result<(), RegionError> {
        if !self.span.is_some_and(|span| span.contains(run)) {
            return Err(RegionError::BadRange);
        }
        if self.banks.iter().any(|bank| bank.overlaps(run)) {
            return Err(RegionError::Overlap);
        }
        self.banks.add(run)?;
        let least = self.free.least();
        self.give_run(self.offset(run.first()), run.count());
        self.free.begin_from(least + run.count());
        Ok(())
    }

    /// Removes frames, all of which are free: from now on they are foreign. O(banks + blocks × levels).
    ///
    /// # Errors
    /// [`RegionError::Unknown`] iff one is not managed, [`RegionError::InUse`] iff one is allocated,
    /// [`RegionError::TableFull`] iff the table has no place for the two parts of a bank. Nothing is changed then.
    pub fn offline(&mut self, run: FrameRun) -> Result<(), RegionError> {
        if !self.banks.manage(run.first(), run.count()) {
            return Err(RegionError::Unknown);
        }
        self.put_all_back();
        if !self.is_run_free(self.offset(run.first()), run.count()) {
            return Err(RegionError::InUse);
        }
        self.banks.remove(run)?;
        let least = self.free.least().saturating_sub(run.count());
        self.take_run(self.offset(run.first()), run.count());
        self.free.begin_from(least);
        Ok(())
    }

    /// Takes the lowest frames of the row at hand, at most `most`: the bits.
    fn take_rest(&mut self, most: u32) -> u64 {
        let (at, shift) = (self.hand.hint(0), self.level(0).shift);
        let word = self.word_at(at);
        let mut rest = word;
        if most >= word.ones() {
            rest = G::Word::ZERO;
        }
        for _ in 0..most.min(rest.ones()) {
            rest = rest & !(G::Word::ONE << rest.lowest());
        }
        let taken = word & !rest;
        if taken == G::Word::ZERO {
            return 0;
        }
        self.set_word_at(at, rest);
        self.free.take(taken.ones().into());
        if G::EXACT {
            let row = at.wrapping_sub(shift);
            Self::positions(taken).for_each(|bit| self.mark(row << G::LOG2 | bit as usize));
        }
        taken.widen()
    }

    /// Gives frames of one row back at once, if all are allocated and in one bank; whether it did.
    fn free_row(&mut self, group: Group) -> bool {
        let (Some(highest), lowest) = (group.blocks.checked_ilog2(), group.blocks.trailing_zeros()) else {
            return false;
        };
        let first = Frame::new(group.number << Group::LOG2 | u64::from(lowest));
        if G::EXACT || G::BITS != u64::BITS || !self.banks.manage(first, u64::from(highest - lowest) + 1) {
            return false;
        }
        let row = self.offset(first) >> G::LOG2;
        let mask = G::Word::truncate(group.blocks);
        if self.row(0, row) & mask != G::Word::ZERO {
            return false;
        }
        self.set(0, row, mask);
        self.free.give(mask.ones().into());
        true
    }

    /// The numbers of the set bits.
    fn positions(word: G::Word) -> impl Iterator<Item = u32> + use<G> {
        let mut rest = word;
        core::iter::from_fn(move || {
            let position = if rest == G::Word::ZERO { return None } else { rest.lowest() };
            rest = rest & !(G::Word::ONE << position);
            Some(position)
        })
    }

    /// A count of frames that a found block holds.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no longer than a block of this engine")]
    pub(super) fn distance(count: u64) -> usize {
        count as usize
    }

    /// Takes a block inside the request's window: the smallest class that has one, at its lowest address.
    fn take_order_within(&mut self, order: u32, request: &Request) -> Option<usize> {
        self.put_all_back();
        let (wanted, least) = Self::place_of(order);
        let (from, limit) = self.window(request)?;
        for level in wanted..self.layout.count {
            let (least, taken) = if level == wanted { (least, least) } else { (0, 0) };
            let fits = |offset: &usize| offset.checked_add(1 << order).is_some_and(|end| end <= limit);
            let found =
                (least..G::LOG2).find_map(|class| self.find_within(level, class, taken, from).filter(fits));
            if let Some(offset) = found {
                self.take_block(offset, order);
                self.free.take(1 << order);
                return Some(offset);
            }
        }
        None
    }

    /// The lowest place from `from` on where a row indexed under `class` has a run of class `taken`.
    fn find_within(&self, level: usize, class: u32, taken: u32, from: usize) -> Option<usize> {
        let first = Self::unit_of(level, from.checked_add((1 << (G::LOG2 as usize * level)) - 1)?);
        let mut row = first >> G::LOG2;
        loop {
            row = self.lowest_from(level, class, row)?;
            let mut starts = Runs::<G>::of(self.row(level, row)).of_class(taken);
            if row == first >> G::LOG2 {
                starts = starts & (full::<G>() << bit_number::<G>(first));
            }
            if starts != G::Word::ZERO {
                return Some((row << G::LOG2 | starts.lowest() as usize) << (G::LOG2 as usize * level));
            }
            row += 1;
        }
    }

    /// Takes a run from the first hole that has room for it, whatever blocks it lies across. O(rows).
    fn take_anywhere(&mut self, request: &Request) -> Option<usize> {
        let count = request.count.get();
        let natural = count == request.align.frames() && request.is_anywhere();
        if natural || count > self.free.now() {
            return None;
        }
        let first = self.free_runs().find_map(|hole| {
            let start = hole.first().max(request.from).number();
            let end = hole.end().min(request.limit).number();
            let mask = request.align.frames() - 1;
            let start = start.checked_add(mask)? & !mask;
            (start.checked_add(count)? <= end).then_some(start)
        })?;
        let offset = self.offset(Frame::new(first));
        self.take_run(offset, count).then_some(offset)
    }

    /// The request's window as offsets; `None` if it is empty.
    fn window(&self, request: &Request) -> Option<(usize, usize)> {
        let from = request.from.number().saturating_sub(self.layout.origin);
        let limit = request.limit.number().checked_sub(self.layout.origin)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX >> 1);
        Some((usize::try_from(from).ok()?, limit))
    }
}

/// The frames that two runs share.
fn common(one: FrameRun, other: FrameRun) -> Option<FrameRun> {
    let (first, end) = (one.first().max(other.first()), one.end().min(other.end()));
    FrameRun::new(first, end.number().checked_sub(first.number())?)
}
