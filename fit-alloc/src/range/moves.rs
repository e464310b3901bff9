//! A block changes its place and keeps its handle: what makes a plan of compaction come true.
#![forbid(unsafe_code)]

use hectare_core::FreeError;

use super::{Handle, NIL, RangeAllocator, RangeError, Storage, Unit, View};
use crate::compact_plan::Move;
use crate::policy::{Index, Policy};

/// A block's hole below or above, if there is one.
#[derive(Clone, Copy)]
struct Beside<U> {
    hole: u32,
    length: U,
}

impl<P: Policy, U: Unit, S: Storage<U>> RangeAllocator<P, U, S> {
    pub(crate) fn view(&self) -> View<'_, U> {
        self.storage.view()
    }

    pub(crate) fn lowest(&self) -> u32 {
        self.order.lowest
    }

    /// Records that a block was moved: it lies at its new place from now on, under the same handle.
    ///
    /// Costs as much as a free and an [`allocate_at`](Self::allocate_at); O(1) plus the policy's bound if the block
    /// slides into a hole beside it.
    ///
    /// # Errors
    /// [`RangeError::BadHandle`] if the handle is stale or the block does not lie as the move says,
    /// [`RangeError::Pinned`] if it is pinned, [`RangeError::Outside`] or [`RangeError::InUse`] if the new place is not
    /// free (the block's own units count as free), [`RangeError::TableFull`] if a node more is needed and there is none.
    pub fn commit(&mut self, step: Move<U>) -> Result<(), RangeError> {
        let block = self.block(step.handle)?;
        if block.start != step.from || block.length != step.length {
            return Err(FreeError::WrongSize.into());
        }
        if self.is_pinned(step.handle)? {
            return Err(RangeError::Pinned);
        }
        let end = step.to.plus(step.length).filter(|end| step.to >= self.start && *end <= self.end);
        let end = end.ok_or(RangeError::Outside)?;
        let view = self.storage.view();
        let node = view.at(step.handle.index());
        let (below, above) = (self.beside(node.prev), self.beside(node.next));
        let low = below.map_or(block.start, |b| view.at(b.hole).start);
        let high = above.map_or(block.end(), |a| view.at(a.hole).end());
        if low <= step.to && end <= high {
            return self.slide(step.handle, below, above, step.to - low, high - end, step.to);
        }
        let hole = self.index.containing(view, self.order.lowest, step.to);
        let hole = hole.filter(|hole| view.at(*hole).end() >= end).ok_or(RangeError::InUse)?;
        self.carry(step, below, above, hole)
    }

    fn beside(&self, index: u32) -> Option<Beside<U>> {
        let node = self.storage.view().at(index);
        if index != NIL && node.is_hole() { Some(Beside { hole: index, length: node.length }) } else { None }
    }

    /// Moves a block within itself and the holes beside it, so that `room_below` and `room_above` are left.
    fn slide(
        &mut self,
        handle: Handle,
        below: Option<Beside<U>>,
        above: Option<Beside<U>>,
        room_below: U,
        room_above: U,
        to: U,
    ) -> Result<(), RangeError> {
        let block = handle.index();
        let (low, high) = (to - room_below, to + self.storage.view().at(block).length);
        let sides = [(below, low, room_below), (above, high, room_above)];
        let new = sides.iter().filter(|(hole, _, room)| hole.is_none() && *room > U::ZERO).count();
        let gone = sides.iter().filter(|(hole, _, room)| hole.is_some() && *room == U::ZERO).count();
        if new > gone && !self.has_nodes(1) {
            return Err(RangeError::TableFull);
        }
        for (hole, _, room) in sides {
            if let (Some(hole), true) = (hole, room == U::ZERO) {
                self.work().drop_hole(hole.hole);
                self.work().drop_node(hole.hole);
            }
        }
        self.settle(block, to);
        for (up, (hole, start, room)) in sides.into_iter().enumerate() {
            match hole {
                _ if room == U::ZERO => {}
                Some(hole) => self.work().set_hole(hole.hole, start, room),
                None => {
                    let hole =
                        if up == 1 { self.work().node_above(block) } else { self.work().node_below(block) };
                    self.work().add_hole(hole, start, room);
                }
            }
        }
        Ok(())
    }

    /// Moves a block into a hole that is not beside it.
    fn carry(
        &mut self,
        step: Move<U>,
        below: Option<Beside<U>>,
        above: Option<Beside<U>>,
        hole: u32,
    ) -> Result<(), RangeError> {
        let (block, length) = (step.handle.index(), step.length);
        let target = *self.storage.view().at(hole);
        let (room_below, room_above) = (step.to - target.start, target.end() - (step.to + length));
        // Nodes: the place that is left needs one unless it joins a hole; the hole gives its own or needs one more.
        let new = i32::from(below.is_none() && above.is_none())
            - i32::from(below.is_some() && above.is_some())
            + i32::from(room_below > U::ZERO)
            + i32::from(room_above > U::ZERO)
            - 1;
        if new > 0 && !self.has_nodes(new.unsigned_abs()) {
            return Err(RangeError::TableFull);
        }
        // The hole first, as its node may be the one that the place that is left needs.
        let (mut under, mut over) = (target.prev, target.next);
        if room_below == U::ZERO && room_above == U::ZERO {
            self.work().drop_hole(hole);
            self.work().drop_node(hole);
        } else if room_below > U::ZERO {
            self.work().set_hole(hole, target.start, room_below);
            under = hole;
        } else {
            self.work().set_hole(hole, step.to + length, room_above);
            over = hole;
        }
        let node = *self.storage.view().at(block);
        match (below, above) {
            (None, None) => {
                let left = self.work().node_above(block);
                self.work().detach(block);
                self.work().add_hole(left, node.start, length);
            }
            (Some(below), None) => {
                self.work().detach(block);
                self.work().set_hole(below.hole, node.start - below.length, below.length + length);
            }
            (None, Some(above)) => {
                self.work().detach(block);
                self.work().set_hole(above.hole, node.start, length + above.length);
            }
            (Some(below), Some(above)) => {
                self.work().drop_hole(above.hole);
                self.work().drop_node(above.hole);
                self.work().detach(block);
                let whole = below.length + length + above.length;
                self.work().set_hole(below.hole, node.start - below.length, whole);
            }
        }
        self.work().attach(under, block, over);
        self.settle(block, step.to);
        if room_below > U::ZERO && room_above > U::ZERO {
            let rest = self.work().node_above(block);
            self.work().add_hole(rest, step.to + length, room_above);
        }
        Ok(())
    }

    /// Gives a block another start.
    fn settle(&mut self, block: u32, start: U) {
        let mut tables = self.storage.tables();
        tables.leave(block);
        tables.edit(block, |node| node.start = start);
        tables.enter(block);
    }
}
