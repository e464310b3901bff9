//! Allocation of an order: one compare-and-swap on the row that has it, or on a row above whose unit is then split.
#![forbid(unsafe_code)]

use hectare_core::Slot;
use hectare_core::sync::atomic::Ordering::Relaxed;

use crate::geometry::Geometry;
use crate::shared::Rows;
use crate::shared::bits::{full, low, offset_of, place_in, place_of};
use crate::shared::hand::{BIG, Hand, TAKEN, count};

/// Where a search looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Not where others work.
    Apart,
    /// Everywhere.
    Anywhere,
}

impl<G: Geometry> Rows<'_, G> {
    /// Takes 2^order frames; their offset. Looks where the hints say.
    #[inline]
    pub(super) fn take_order(&self, hand: &mut Hand, order: u32) -> Option<usize> {
        let (wanted, class) = place_of::<G>(order);
        if wanted == 0 {
            if let Some(offset) = self.take_stock(hand, class) {
                return Some(offset);
            }
        }
        if wanted >= self.layout.count {
            return None;
        }
        let offset = self.take_near(hand, wanted, class);
        offset.or_else(|| self.take_far(hand, wanted, class))
    }

    /// Takes a block of the order that has a path of its own from the caller's own tree, if that breaks no larger one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rows are numbered by usize")]
    pub(super) fn take_huge(&self, slot: Option<Slot>) -> Option<usize> {
        let (level, class) = place_of::<G>(G::HUGE);
        if level != 1 || self.layout.count < 3 {
            return None;
        }
        let record = self.record_of(slot)?;
        let tree = (record[BIG].load(Relaxed) as usize).checked_sub(1)?;
        let position = self.claim_if(1, tree, class, true)?;
        count(&record[TAKEN], 1 << G::HUGE);
        Some(offset_of::<G>(1, tree << G::LOG2 | position as usize))
    }

    /// Takes from the caller's own tree.
    fn take_near(&self, hand: &mut Hand, wanted: usize, class: u32) -> Option<usize> {
        if wanted > 1 || wanted + 1 >= self.layout.count {
            return None;
        }
        let tree = self.tree(hand, wanted == 1)?;
        if wanted == 1 {
            // Only if that breaks no larger block.
            let position = self.claim_exact(1, tree, class)?;
            return Some(offset_of::<G>(1, tree << G::LOG2 | position as usize));
        }
        if class == 0 {
            if let Some(row) = self.stock_row(hand).filter(|row| self.stock_up(hand, *row)) {
                debug_assert!(self.stock_row(hand) == Some(row));
                return self.take_stock(hand, class);
            }
        }
        for hinted in class..G::LOG2 {
            let at = self.layout.hint::<G>(0, hinted, 1, tree);
            let mut units = self.peek(at);
            while units != 0 {
                let row = tree << G::LOG2 | units.trailing_zeros() as usize;
                if let Some(offset) = self.take_hinted(hand, 0, row, hinted, class) {
                    return Some(offset);
                }
                units &= units - 1;
            }
        }
        None
    }

    /// Takes from wherever there is something: the smallest class that fits, lowest address first.
    fn take_far(&self, hand: &mut Hand, wanted: usize, class: u32) -> Option<usize> {
        for place in [Where::Apart, Where::Anywhere] {
            if let Some(offset) = self.take_hinted_at(hand, wanted, class, wanted, place) {
                return Some(offset);
            }
            self.begin(hand);
            let near = if wanted == 0 && place == Where::Apart { self.tree(hand, false) } else { None };
            let split = near.and_then(|tree| {
                let position = self.claim(1, tree, 0)?;
                Some(self.split(hand, 1, tree << G::LOG2 | position as usize, wanted, class))
            });
            let offset = split.or_else(|| {
                (wanted + 1..self.layout.count)
                    .find_map(|level| self.take_hinted_at(hand, wanted, class, level, place))
            });
            self.end(hand, offset.is_some());
            if offset.is_some() {
                return offset;
            }
        }
        None
    }

    /// Takes from a level that hints name a row of.
    fn take_hinted_at(
        &self,
        hand: &mut Hand,
        wanted: usize,
        class: u32,
        level: usize,
        place: Where,
    ) -> Option<usize> {
        let least = if level == wanted { class } else { 0 };
        for hinted in least..G::LOG2 {
            let mut from = 0;
            while let Some(row) = self.next(level, hinted, from) {
                from = row + 1;
                if place == Where::Apart && self.layout.count > 1 && self.is_others(hand, level, row) {
                    if level == 0 {
                        from = ((row >> G::LOG2) + 1) << G::LOG2;
                    }
                    continue;
                }
                let found = if level == wanted {
                    self.take_hinted(hand, level, row, hinted, class)
                } else if !self.suits(level, row, hinted, 0) {
                    None
                } else {
                    let position = self.claim_hinted(level, row, hinted, 0);
                    position.map(|at| self.split(hand, level, row << G::LOG2 | at as usize, wanted, class))
                };
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Takes from the row that a hint names, on the level where the order lives.
    fn take_hinted(
        &self,
        hand: &mut Hand,
        level: usize,
        row: usize,
        hinted: u32,
        class: u32,
    ) -> Option<usize> {
        if !self.suits(level, row, hinted, class) {
            return None;
        }
        if level == 0 && class == 0 && self.layout.count > 1 && self.adopt(hand, row >> G::LOG2, false) {
            // A row for single frames is taken as a whole.
            if self.stock_up(hand, row) {
                return self.take_stock(hand, class);
            }
            self.correct(level, row, hinted);
            return None;
        }
        let position = self.claim_hinted(level, row, hinted, class)?;
        if level == 1 {
            self.adopt(hand, row, true);
        }
        Some(offset_of::<G>(level, row << G::LOG2 | position as usize))
    }

    /// Claims 2^class units of a row that is hinted at; on failure the hint is corrected.
    fn claim_hinted(&self, level: usize, row: usize, hinted: u32, class: u32) -> Option<u32> {
        let position = self.claim(level, row, class);
        if position.is_none() {
            self.correct(level, row, hinted);
        }
        position
    }

    /// Claims 2^class units of a row, if it has such a run: one compare-and-swap. A full row has nothing to claim, its
    /// frames stand in the row above.
    #[inline(never)]
    pub(super) fn claim(&self, level: usize, row: usize, class: u32) -> Option<u32> {
        self.claim_if(level, row, class, false)
    }

    /// The same, only of a run that is no part of a larger one.
    #[inline(never)]
    fn claim_exact(&self, level: usize, row: usize, class: u32) -> Option<u32> {
        self.claim_if(level, row, class, true)
    }

    /// The same; if `exact`, only a run that is no part of a larger one.
    #[inline(always)]
    fn claim_if(&self, level: usize, row: usize, class: u32, exact: bool) -> Option<u32> {
        let at = self.layout.row(level, row);
        let mut word = self.load(at);
        loop {
            if word == 0 || word == full::<G>() {
                return None;
            }
            let position = place_in::<G>(word, class, exact)?;
            let rest = word & !(low(class) << position);
            // Planted faults: the claim of units, or of frames, does not look whether the row has changed.
            if cfg!(hectare_plant = "shared_blind_units") && level > 0
                || cfg!(hectare_plant = "shared_blind_frames") && level == 0
            {
                self.store(at, rest);
                return Some(position);
            }
            match self.exchange(at, word, rest) {
                Ok(()) => return Some(position),
                Err(now) => word = now,
            }
        }
    }

    /// Splits a unit that was claimed on `level`, down to 2^class units of `wanted`: each row below is full, and nobody
    /// touches it until it is written. Inside a move.
    pub(super) fn split(
        &self,
        hand: &mut Hand,
        level: usize,
        unit: usize,
        wanted: usize,
        class: u32,
    ) -> usize {
        let (mut level, mut unit) = (level, unit);
        while level > wanted {
            level -= 1;
            let row = unit;
            if level == 0 && self.adopt(hand, row >> G::LOG2, false) {
                self.stock_whole(hand, row, low(class));
                return row << G::LOG2;
            }
            let mut rest = full::<G>() & !low(if level == wanted { class } else { 0 });
            if level == 1 && wanted == 1 {
                rest &= !self.settle(hand, row);
            }
            self.store(self.layout.row(level, row), rest);
            self.reindex(level, row, rest);
            unit = row << G::LOG2;
        }
        offset_of::<G>(wanted, unit)
    }

    /// A new tree for large blocks; of a caller that has none at all, also for small ones: it takes the last row as its
    /// stock, which keeps the tree from merging each time a block is given back. The units that it takes. Inside a move.
    fn settle(&self, hand: &mut Hand, tree: usize) -> u64 {
        self.adopt(hand, tree, true);
        if self.tree(hand, false).is_some() || !self.adopt(hand, tree, false) {
            return 0;
        }
        let last = G::BITS - 1;
        self.stock_whole(hand, tree << G::LOG2 | last as usize, 0);
        1 << last
    }

    /// Takes 2^order frames from whichever row has them, hints or not. O(rows of the level and above).
    #[cold]
    fn take_anywhere(&self, hand: &mut Hand, order: u32) -> Option<usize> {
        let (wanted, class) = place_of::<G>(order);
        for level in wanted..self.layout.count {
            let here = self.layout.level(level);
            let taken = if level == wanted { class } else { 0 };
            self.begin(hand);
            let found = (here.first..here.first + here.rows).find_map(|row| {
                let position = self.claim(level, row, taken)?;
                Some(row << G::LOG2 | position as usize)
            });
            let offset = found.map(|unit| {
                if level == wanted {
                    offset_of::<G>(level, unit)
                } else {
                    self.split(hand, level, unit, wanted, class)
                }
            });
            self.end(hand, offset.is_some());
            if offset.is_some() {
                return offset;
            }
        }
        None
    }

    /// Takes 2^order frames, or nothing if every row has been seen without such a run while nothing was moved.
    #[inline]
    pub(super) fn take(&self, hand: &mut Hand, order: u32) -> Option<usize> {
        match self.take_order(hand, order) {
            Some(offset) => Some(offset),
            None => self.take_after_all(hand, order),
        }
    }

    #[cold]
    fn take_after_all(&self, hand: &mut Hand, order: u32) -> Option<usize> {
        if place_of::<G>(order).0 >= self.layout.count {
            return None;
        }
        self.surely(hand, |hand| {
            let offset = self.take_order(hand, order);
            // The planted fault: hints are believed.
            let believed = cfg!(hectare_plant = "shared_hints_only");
            offset.or_else(|| if believed { None } else { self.take_anywhere(hand, order) })
        })
    }

    /// Repeats a search that found nothing until nothing was moved meanwhile, and the caller's stock is put back.
    pub(super) fn surely<T>(
        &self,
        hand: &mut Hand,
        mut search: impl FnMut(&mut Hand) -> Option<T>,
    ) -> Option<T> {
        let found = self.patiently(|| {
            let before = self.moves(hand);
            if let Some(found) = search(hand) {
                return Some(Some(found));
            }
            hand.seen = before;
            // The planted fault: whatever is on its way is overlooked.
            if cfg!(hectare_plant = "shared_no_moves") && !self.put_back(hand) {
                return Some(None);
            }
            let looked_at_all = !self.put_back(hand) && before.is_some() && self.moves(hand) == before;
            if looked_at_all { Some(None) } else { None }
        });
        found.flatten()
    }
}
