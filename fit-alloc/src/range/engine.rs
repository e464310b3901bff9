//! How blocks are cut from holes and become holes again.
#![forbid(unsafe_code)]

use core::ops::Range;

use hectare_core::{Failures, FreeError};

use super::{Block, Handle, NIL, Node, RangeAllocator, RangeError, Request, Storage, Unit};
use crate::policy::{Chunk, Index, Policy, Search};

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
        // Two numbers are no indices.
        if nodes == 0 || nodes >= NIL as usize - 1 || P::Index::<U>::chunks(nodes) > tables.chunks.len() {
            return Err(RangeError::TableFull);
        }
        tables.nodes.fill(Node::NEW);
        tables.chunks.fill(Chunk::NEW);
        let mut allocator = Self {
            index: P::Index::<U>::default(),
            storage,
            search: Search::default(),
            lowest: 0,
            highest: 0,
            spare: NIL,
            fresh: 1,
            nodes: 1,
            holes: 0,
            start: space.start,
            end: space.end,
            free: length,
            peak: U::ZERO,
            failures: Failures::default(),
        };
        allocator.add_hole(0, space.start, length);
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
        let (hole, length) = match self.index.find(view, length) {
            Some(found) => found,
            None => (self.find_hidden(length)?, length),
        };
        let node = self.storage.view().at(hole);
        let start = if P::Index::<U>::FROM_TOP { node.end() - length } else { node.start };
        let block = self.cut(hole, start, length, false)?;
        self.index.placed(block.end());
        Ok(block)
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
            let (hole, _) = self.index.find(view, length)?;
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
        let hole = self.index.containing(view, self.lowest, start);
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
        let block = if below > U::ZERO {
            self.set_hole(hole, low, below);
            let block = self.node_above(hole);
            if above > U::ZERO {
                let rest = self.node_above(block);
                self.add_hole(rest, end, above);
            }
            block
        } else if above > U::ZERO {
            self.set_hole(hole, end, above);
            self.node_below(hole)
        } else {
            self.drop_hole(hole);
            hole
        };
        self.free = self.free - length;
        self.peak = self.peak.max(self.end - self.start - self.free);
        let mut tables = self.storage.tables();
        let mut generation = 0;
        tables.edit(block, |node| {
            node.start = start;
            node.length = length;
            node.flip(pinned);
            generation = node.generation();
        });
        tables.enter(block);
        Ok(Block { handle: Handle::new(block, generation), start, length })
    }

    /// Makes a block a hole, or part of the holes beside it.
    #[inline]
    pub(super) fn release(&mut self, block: u32) {
        let mut tables = self.storage.tables();
        tables.leave(block);
        tables.edit(block, |node| node.flip(false));
        let node = tables.at(block);
        let (start, length, prev, next) = (node.start, node.length, node.prev, node.next);
        self.free = self.free + length;
        let (below, above) = (tables.at(prev), tables.at(next));
        // The planted fault: the hole above is not joined.
        let joins_above = above.is_hole() && !cfg!(hectare_plant = "no_coalesce");
        match (prev != NIL && below.is_hole(), next != NIL && joins_above) {
            (false, false) => self.add_hole(block, start, length),
            (true, false) => {
                let (low, whole) = (below.start, below.length + length);
                self.drop_node(block);
                self.set_hole(prev, low, whole);
            }
            (false, true) => {
                let whole = length + above.length;
                self.drop_node(block);
                self.set_hole(next, start, whole);
            }
            (true, true) => {
                let (low, whole) = (below.start, below.length + length + above.length);
                self.drop_hole(next);
                self.drop_node(next);
                self.drop_node(block);
                self.set_hole(prev, low, whole);
            }
        }
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
        let mut index = self.lowest;
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
        let top = self.storage.view().at(self.highest);
        if top.is_hole() {
            let (start, length) = (top.start, top.length + units);
            self.set_hole(self.highest, start, length);
        } else {
            if !self.has_nodes(1) {
                return Err(RangeError::TableFull);
            }
            let hole = self.node_above(self.highest);
            self.add_hole(hole, self.end, units);
        }
        self.end = end;
        self.free = self.free + units;
        Ok(())
    }

    pub(super) fn truncate(&mut self, units: U) -> Result<(), RangeError> {
        if units == U::ZERO {
            return Err(RangeError::Empty);
        }
        if units >= self.end - self.start {
            return Err(RangeError::Outside);
        }
        let (hole, top) = (self.highest, self.storage.view().at(self.highest));
        if !top.is_hole() || top.length < units {
            return Err(RangeError::InUse);
        }
        let (start, left) = (top.start, top.length - units);
        if left == U::ZERO {
            self.drop_hole(hole);
            self.drop_node(hole);
        } else {
            self.set_hole(hole, start, left);
        }
        self.end = self.end - units;
        self.free = self.free - units;
        Ok(())
    }

    /// Whether so many nodes can be taken, after growth if need be.
    #[inline]
    pub(super) fn has_nodes(&mut self, count: u32) -> bool {
        let wanted = self.nodes as usize + count as usize;
        wanted <= self.storage.view().nodes.len() || self.storage.grow(wanted, P::Index::<U>::chunks)
    }

    /// A node that [`has_nodes`](Self::has_nodes) promised.
    #[inline]
    fn take_node(&mut self) -> u32 {
        self.nodes += 1;
        if self.spare == NIL {
            self.fresh += 1;
            self.fresh - 1
        } else {
            let node = self.spare;
            self.spare = self.storage.view().at(node).next;
            node
        }
    }

    /// A new node above this one.
    #[inline]
    pub(super) fn node_above(&mut self, below: u32) -> u32 {
        let new = self.take_node();
        let above = self.storage.view().at(below).next;
        self.attach(below, new, above);
        new
    }

    /// A new node below this one.
    #[inline]
    pub(super) fn node_below(&mut self, above: u32) -> u32 {
        let new = self.take_node();
        let below = self.storage.view().at(above).prev;
        self.attach(below, new, above);
        new
    }

    /// Takes a node out of the space and gives it back.
    #[inline]
    pub(super) fn drop_node(&mut self, index: u32) {
        self.detach(index);
        let spare = self.spare;
        self.storage.tables().edit(index, |node| node.next = spare);
        self.spare = index;
        self.nodes -= 1;
    }

    /// Links a node into the order of addresses.
    #[inline]
    pub(super) fn attach(&mut self, below: u32, index: u32, above: u32) {
        self.storage.tables().link_between(below, index, above);
        if below == NIL {
            self.lowest = index;
        }
        if above == NIL {
            self.highest = index;
        }
    }

    /// Takes a node out of the order of addresses.
    #[inline]
    pub(super) fn detach(&mut self, index: u32) {
        let mut tables = self.storage.tables();
        let node = tables.at(index);
        let (below, above) = (node.prev, node.next);
        tables.unlink(index);
        if below == NIL {
            self.lowest = above;
        }
        if above == NIL {
            self.highest = below;
        }
    }

    /// Enters a node as a new hole.
    #[inline]
    pub(super) fn add_hole(&mut self, hole: u32, start: U, length: U) {
        self.holes += 1;
        let mut tables = self.storage.tables();
        tables.edit(hole, |node| {
            node.start = start;
            node.length = length;
        });
        self.index.insert(&mut tables, hole);
    }

    /// Takes a hole out of the index.
    #[inline]
    pub(super) fn drop_hole(&mut self, hole: u32) {
        self.holes -= 1;
        self.index.remove(&mut self.storage.tables(), hole);
    }

    /// Gives a hole another start and length.
    #[inline]
    pub(super) fn set_hole(&mut self, hole: u32, start: U, length: U) {
        self.index.resize(&mut self.storage.tables(), hole, start, length);
    }
}
