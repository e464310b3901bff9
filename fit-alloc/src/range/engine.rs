//! How blocks are cut from holes and become holes again.
#![forbid(unsafe_code)]

use core::ops::Range;

use hectare_core::{Failures, FreeError};

use super::work::Order;
use super::{Block, Handle, MOST_NODES, NIL, Node, RangeAllocator, RangeError, Request, Storage, Unit};
use crate::policy::{Chunk, Found, Index, Policy, Search};

impl<P: Policy, U: Unit, S: Storage<U>> RangeAllocator<P, U, S> {
    pub(super) fn build(space: Range<U>, mut storage: S) -> Result<Self, RangeError> {
        if space.start >= space.end {
            return Err(RangeError::Empty);
        }
        let length = space.end - space.start;
        if storage.view().nodes.is_empty() {
            storage.grow(1, P::Index::<U>::chunks);
        }
        let tables = storage.tables();
        let nodes = tables.nodes.len();
        if nodes == 0 || nodes > MOST_NODES || P::Index::<U>::chunks(nodes) > tables.chunks.len() {
            return Err(RangeError::TableFull);
        }
        tables.nodes.fill(Node::NEW);
        tables.chunks.fill(Chunk::NEW);
        let mut allocator = Self {
            index: P::Index::<U>::default(),
            storage,
            search: Search::default(),
            order: Order::ONE,
            start: space.start,
            end: space.end,
            free: length,
            peak: U::ZERO,
            least_free: length,
            unasked: 0,
            failures: Failures::default(),
        };
        allocator.work().add_hole(0, space.start, length);
        Ok(allocator)
    }

    #[inline]
    pub(super) fn place_anywhere(&mut self, length: U) -> Result<Block<U>, RangeError> {
        if length == U::ZERO {
            return Err(RangeError::Empty);
        }
        if length > self.free {
            return Err(self.refuse(length));
        }
        let view = self.storage.view();
        let found = match self.index.find(view, length) {
            Some(found) => found,
            None => Found::new(self.find_hidden(length)?, length),
        };
        let block = if P::Index::<U>::FROM_TOP {
            let end = self.storage.view().at(found.hole).end();
            self.cut(found.hole, end - found.length, found.length, false)?
        } else {
            self.cut_found(found)?
        };
        self.index.placed(block.end());
        if P::Index::<U>::ROUNDS {
            self.unasked(block.handle.index(), found.length - length);
        }
        Ok(block)
    }

    /// Notes that so much more was granted than was asked for.
    fn unasked(&mut self, block: u32, units: U) {
        let units = u32::try_from(units.into()).unwrap_or(u32::MAX);
        self.storage.tables().edit(block, |node| node.link[1] = units);
        self.unasked += u64::from(units);
    }

    /// The last resort of a policy whose search overlooks holes.
    #[cold]
    fn find_hidden(&mut self, length: U) -> Result<u32, RangeError> {
        let hidden = P::Index::<U>::HIDES && self.search == Search::Complete;
        let found = if hidden { self.index.find_hidden(self.storage.view(), length) } else { None };
        found.ok_or_else(|| self.refuse(length))
    }

    /// Why a request for `length` units fails; counts it.
    #[cold]
    fn refuse(&mut self, length: U) -> RangeError {
        if length > self.free {
            self.failures.out_of_memory += 1;
            if length > self.end - self.start { RangeError::TooLarge } else { RangeError::OutOfSpace }
        } else {
            self.failures.fragmented += 1;
            RangeError::Fragmented
        }
    }

    pub(super) fn place(&mut self, request: &Request<U>) -> Result<Block<U>, RangeError> {
        if request.is_free() || request.length == U::ZERO {
            return self.place_anywhere(request.length);
        }
        if !request.is_sound() {
            return Err(RangeError::Unsound);
        }
        let length = request.length;
        if length > self.free {
            return Err(self.refuse(length));
        }
        let found = match self.search {
            Search::Complete => self.index.find_place(self.storage.view(), request),
            Search::Bounded => self.find_bounded(request),
        };
        let Some((hole, start)) = found else { return Err(self.refuse(length)) };
        let block = self.cut(hole, start, length, false)?;
        self.index.placed(block.end());
        Ok(block)
    }

    /// Looks at two holes: one that any alignment leaves long enough, and one that may happen to serve.
    fn find_bounded(&mut self, request: &Request<U>) -> Option<(u32, U)> {
        let view = self.storage.view();
        let roomy = request.length.plus(request.align - U::ONE);
        [roomy, Some(request.length)].into_iter().flatten().find_map(|length| {
            let hole = self.index.find(view, length)?.hole;
            let node = view.at(hole);
            let place = if P::Index::<U>::FROM_TOP {
                request.highest_in(node.start, node.end())
            } else {
                request.lowest_in(node.start, node.end())
            };
            Some((hole, place?))
        })
    }

    pub(super) fn place_at(&mut self, start: U, length: U, pinned: bool) -> Result<Block<U>, RangeError> {
        if length == U::ZERO {
            return Err(RangeError::Empty);
        }
        let end = start.plus(length).filter(|end| start >= self.start && *end <= self.end);
        let end = end.ok_or(RangeError::Outside)?;
        let view = self.storage.view();
        let hole = self.index.containing(view, self.order.lowest, start);
        let hole = hole.filter(|hole| view.at(*hole).end() >= end).ok_or(RangeError::InUse)?;
        self.cut(hole, start, length, pinned)
    }

    /// Makes the part `[start, start + length)` of a hole a block.
    ///
    /// What is left below stays the hole; what is left above does if nothing is left below.
    #[inline]
    fn cut(&mut self, hole: u32, start: U, length: U, pinned: bool) -> Result<Block<U>, RangeError> {
        let node = self.storage.view().at(hole);
        let (low, end, high) = (node.start, start + length, node.end());
        let (below, above) = (start - low, high - end);
        let new = u32::from(below > U::ZERO) + u32::from(above > U::ZERO);
        if new > 0 && !self.has_nodes(new) {
            return Err(RangeError::TableFull);
        }
        let mut work = self.work();
        let block = if below > U::ZERO {
            work.set_hole(hole, low, below);
            let block = work.node_above(hole);
            if above > U::ZERO {
                let rest = work.node_above(block);
                work.add_hole(rest, end, above);
            }
            block
        } else if above > U::ZERO {
            work.set_hole(hole, end, above);
            work.node_below(hole)
        } else {
            work.drop_hole(hole);
            hole
        };
        Ok(self.hand_out(block, start, length, pinned))
    }

    /// Makes the lower end of a hole that was found a block.
    #[inline]
    fn cut_found(&mut self, found: Found<U>) -> Result<Block<U>, RangeError> {
        let node = self.storage.view().at(found.hole);
        let (start, rest) = (node.start, node.length - found.length);
        let block = if rest > U::ZERO {
            if !self.has_nodes(1) {
                return Err(RangeError::TableFull);
            }
            let mut work = self.work();
            work.set_found(found, start + found.length, rest);
            work.node_below(found.hole)
        } else {
            self.work().drop_found(found);
            found.hole
        };
        Ok(self.hand_out(block, start, found.length, false))
    }

    /// Makes a node of the space that is in no index a block.
    #[inline]
    fn hand_out(&mut self, block: u32, start: U, length: U, pinned: bool) -> Block<U> {
        let mut generation = 0;
        let mut work = self.work();
        work.t.edit(block, |node| {
            node.start = start;
            node.length = length;
            node.flip(pinned);
            generation = node.generation();
            if P::Index::<U>::ROUNDS {
                node.link[1] = 0;
            }
        });
        work.t.enter(block);
        self.free = self.free - length;
        self.least_free = self.least_free.min(self.free);
        Block { handle: Handle::new(block, generation), start, length }
    }

    /// Makes a block a hole, or part of the holes beside it.
    #[inline]
    pub(super) fn release(&mut self, block: u32) {
        if P::Index::<U>::ROUNDS {
            self.unasked -= u64::from(self.storage.view().at(block).link[1]);
        }
        let mut work = self.work();
        work.t.leave(block);
        work.t.edit(block, |node| node.flip(false));
        let node = work.t.at(block);
        let (start, length, prev, next) = (node.start, node.length, node.prev, node.next);
        if P::Index::<U>::REPLACES {
            work.absorb(block);
            self.free = self.free + length;
            return;
        }
        let (below, above) = (work.t.at(prev), work.t.at(next));
        // The planted fault: the hole above is not joined.
        let joins_above = above.is_hole() && !cfg!(hectare_plant = "no_coalesce");
        match (prev != NIL && below.is_hole(), next != NIL && joins_above) {
            (false, false) => work.add_hole(block, start, length),
            (true, false) => {
                let (low, whole) = (below.start, below.length + length);
                work.drop_node(block);
                work.set_hole(prev, low, whole);
            }
            (false, true) => {
                let whole = length + above.length;
                work.drop_node(block);
                work.set_hole(next, start, whole);
            }
            (true, true) => {
                let (low, whole) = (below.start, below.length + length + above.length);
                work.drop_hole(next);
                work.drop_node(next);
                work.drop_node(block);
                work.set_hole(prev, low, whole);
            }
        }
        self.free = self.free + length;
    }

    /// The most units that were allocated at one time.
    pub(super) fn peak(&self) -> U {
        self.peak.max(self.end - self.start - self.least_free)
    }

    pub(super) fn find_block(&self, start: U) -> Result<Handle, RangeError> {
        let view = self.storage.view();
        let index = view.lookup(start);
        let node = view.at(index);
        if index != NIL && !node.is_hole() {
            return Ok(Handle::new(index, node.generation()));
        }
        if start < self.start || start >= self.end {
            return Err(FreeError::Foreign.into());
        }
        let mut index = self.order.lowest;
        while index != NIL && view.at(index).end() <= start {
            index = view.at(index).next;
        }
        let node = view.at(index);
        match (node.is_hole(), node.start == start) {
            (true, _) => Err(FreeError::NotAllocated.into()),
            (false, false) => Err(FreeError::Misaligned.into()),
            (false, true) => Ok(Handle::new(index, node.generation())),
        }
    }

    pub(super) fn extend(&mut self, units: U) -> Result<(), RangeError> {
        if units == U::ZERO {
            return Err(RangeError::Empty);
        }
        let end = self.end.plus(units).ok_or(RangeError::Outside)?;
        let (highest, start) = (self.order.highest, self.end);
        let top = self.storage.view().at(highest);
        if top.is_hole() {
            let (start, length) = (top.start, top.length + units);
            self.work().set_hole(highest, start, length);
        } else {
            if !self.has_nodes(1) {
                return Err(RangeError::TableFull);
            }
            let mut work = self.work();
            let hole = work.node_above(highest);
            work.add_hole(hole, start, units);
        }
        self.peak = self.peak();
        self.end = end;
        self.free = self.free + units;
        self.least_free = self.free;
        Ok(())
    }

    pub(super) fn truncate(&mut self, units: U) -> Result<(), RangeError> {
        if units == U::ZERO {
            return Err(RangeError::Empty);
        }
        if units >= self.end - self.start {
            return Err(RangeError::Outside);
        }
        let (hole, top) = (self.order.highest, self.storage.view().at(self.order.highest));
        if !top.is_hole() || top.length < units {
            return Err(RangeError::InUse);
        }
        let (start, left) = (top.start, top.length - units);
        let mut work = self.work();
        if left == U::ZERO {
            work.drop_hole(hole);
            work.drop_node(hole);
        } else {
            work.set_hole(hole, start, left);
        }
        self.peak = self.peak();
        self.end = self.end - units;
        self.free = self.free - units;
        self.least_free = self.free;
        Ok(())
    }
}
