//! All holes by address, in a B+-tree that knows the largest hole below each branch.
#![forbid(unsafe_code)]

mod check;

use super::chunk::{Chunk, Entry, HALF, WIDTH, first_of, last_of};
use super::step;
use crate::range::{NIL, Tables, Unit, View, nowhere};

/// How many chunks first, next and last fit need for a table of so many nodes.
///
/// Holes are separated by blocks, so that at most every second node is a hole; every chunk but the root is at least
/// half full.
///
/// ```
/// assert_eq!(hectare_fit::policy::chunks_for(1000), 70);
/// ```
#[must_use]
pub const fn chunks_for(nodes: usize) -> usize {
    let mut level = nodes / 2 + 1;
    let mut chunks = 0;
    while level >= WIDTH {
        level /= HALF;
        chunks += level;
    }
    chunks + 1
}

/// See [`Chunk`] and the [module](self).
///
/// Invariants:
/// * the leaves hold exactly the holes, in order of address, with their ends and sizes;
/// * an inner entry has the last end and the largest size of its chunk;
/// * a hole knows its leaf, and a chunk the one above it;
/// * all leaves are on level 0; every chunk but the root is at least half full; an inner root has two entries or more;
/// * entries past the used ones are empty.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: u32,
    levels: u32,
    /// Chunks given back, linked through their first link.
    spare: u32,
    /// Chunks from here on were never used.
    fresh: u32,
    /// The slots that the last descent took, four bits for each level: where to look first on the way up.
    finger: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: NIL, levels: 0, spare: NIL, fresh: 0, finger: 0 }
    }
}

#[inline]
fn chunk<'a, U: Unit>(v: View<'a, U>, index: u32) -> &'a Chunk<U> {
    step();
    match v.chunks.get(index as usize) {
        Some(chunk) => chunk,
        None => nowhere(U::CHUNK),
    }
}

#[inline]
fn edit<U: Unit, R: Default>(
    t: &mut Tables<'_, U>,
    index: u32,
    change: impl FnOnce(&mut Chunk<U>) -> R,
) -> R {
    step();
    t.chunks.get_mut(index as usize).map(change).unwrap_or_default()
}

/// The chunk that a hole is in.
#[inline]
fn leaf_of<U: Unit>(v: View<'_, U>, hole: u32) -> u32 {
    v.at(hole).link[0]
}

/// Tells what a chunk on `level` leads to, a hole or a chunk, that it is there now.
#[inline]
fn own<U: Unit>(t: &mut Tables<'_, U>, level: u32, link: u32, owner: u32) {
    if level == 0 {
        t.edit(link, |hole| hole.link[0] = owner);
    } else {
        edit(t, link, |chunk| chunk.above = owner);
    }
}

/// The slot that a finger has for a level.
#[inline]
fn slot_on(finger: u64, level: u32) -> usize {
    (finger >> ((4 * level) & 63) & 15) as usize
}

impl Tree {
    /// The lowest hole of at least `size`.
    #[inline]
    pub(super) fn first<U: Unit>(&mut self, v: View<'_, U>, size: U) -> Option<u32> {
        self.descend(v, size, self.levels, self.root, false)
    }

    /// The highest hole of at least `size`.
    #[inline]
    pub(super) fn last<U: Unit>(&mut self, v: View<'_, U>, size: U) -> Option<u32> {
        self.descend(v, size, self.levels, self.root, true)
    }

    /// The next hole of at least `size` above (or, with `last`, below) this one.
    pub(super) fn onward<U: Unit>(&mut self, v: View<'_, U>, hole: u32, size: U, last: bool) -> Option<u32> {
        let (mut from, mut at) = (hole, leaf_of(v, hole));
        for level in 0..self.levels {
            let here = chunk(v, at);
            let slot = here.slot_with(from, slot_on(self.finger, level));
            let found = here.at_least(size);
            let slot = if last { last_of(found.before(slot)) } else { first_of(found.after(slot)) };
            if let Some(slot) = slot {
                self.point(level, slot);
                return self.descend(v, size, level, here.link(slot), last);
            }
            (from, at) = (at, here.above);
        }
        None
    }

    /// From `top` on level `levels − 1` (or, with no level, a hole) down to the first or last hole of at least `size`.
    #[inline]
    fn descend<U: Unit>(
        &mut self,
        v: View<'_, U>,
        size: U,
        levels: u32,
        top: u32,
        last: bool,
    ) -> Option<u32> {
        let mut at = top;
        for level in (0..levels).rev() {
            let here = chunk(v, at);
            let found = here.at_least(size);
            let slot = if last { last_of(found) } else { first_of(found) }?;
            self.point(level, slot);
            at = here.link(slot);
        }
        if at == NIL { None } else { Some(at) }
    }

    /// Remembers a slot of the last descent.
    #[inline]
    fn point(&mut self, level: u32, slot: usize) {
        let shift = (4 * level) & 63;
        self.finger = (self.finger & !(15 << shift)) | (slot as u64) << shift;
    }

    /// The lowest hole that ends above `place`; the highest hole if none does.
    pub(super) fn past<U: Unit>(&mut self, v: View<'_, U>, place: U) -> Option<u32> {
        let (leaf, slot) = self.locate(v, place);
        let here = chunk(v, leaf);
        let hole = here.link(slot.min(here.used().saturating_sub(1)));
        if hole == NIL { None } else { Some(hole) }
    }

    /// The leaf and the slot in it where a hole would be that began at `place`.
    #[inline]
    fn locate<U: Unit>(&mut self, v: View<'_, U>, place: U) -> (u32, usize) {
        let mut at = self.root;
        for level in (1..self.levels).rev() {
            let here = chunk(v, at);
            let slot = here.slot_past(place).min(here.used().saturating_sub(1));
            self.point(level, slot);
            at = here.link(slot);
        }
        (at, chunk(v, at).slot_past(place))
    }

    pub(super) fn largest<U: Unit>(&self, v: View<'_, U>) -> U {
        chunk(v, self.root).most
    }

    /// Gives a hole another start and size; it stays between the same other holes.
    #[inline]
    pub(super) fn resize<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32, start: U, size: U) {
        let node = t.at(hole);
        let (leaf, end) = (node.link[0], node.end());
        let after = start + size;
        t.edit(hole, |n| {
            n.start = start;
            n.length = size;
        });
        let finger = self.finger;
        let changed = edit(t, leaf, |c| {
            let slot = c.slot_with(hole, slot_on(finger, 0));
            let last = after != end && c.set_end(slot, after);
            c.set_size(slot, size) || last
        });
        if changed {
            self.repair(t, leaf, 0);
        }
    }

    /// Brings the entries above a chunk on `level` up to date.
    #[inline(never)]
    fn repair<U: Unit>(&self, t: &mut Tables<'_, U>, chunk_below: u32, level: u32) {
        let mut below = chunk_below;
        for level in level + 1..self.levels {
            let here = chunk(t.view(), below);
            let (above, new) = (here.above, here.summary(below));
            let changed = edit(t, above, |c| {
                let slot = c.slot_with(below, slot_on(self.finger, level));
                let last = c.set_end(slot, new.end);
                c.set_size(slot, new.size) || last
            });
            if !changed {
                return;
            }
            below = above;
        }
    }

    pub(super) fn insert<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        let node = t.at(hole);
        let mut entry = Entry { end: node.end(), size: node.length, link: hole };
        let (mut at, mut slot) = self.locate(t.view(), node.start);
        for level in 0..self.levels {
            own(t, level, entry.link, at);
            let (full, changed, above) = edit(t, at, |c| {
                let most = c.most;
                if c.used() >= WIDTH {
                    return (true, true, c.above);
                }
                c.put(slot, entry);
                (false, slot + 1 == c.used() || c.most != most, c.above)
            });
            if !full {
                if changed {
                    self.repair(t, at, level);
                }
                return;
            }
            // The upper half goes into a chunk of its own, which the level above takes in next.
            let mut right = Chunk::NEW;
            edit(t, at, |left| {
                left.split(&mut right);
                if slot <= HALF { left.put(slot, entry) } else { right.put(slot - HALF, entry) }
            });
            right.above = above;
            let summary = right.summary(NIL);
            let right = self.take(t, right);
            self.adopt(t, level, right);
            self.repair(t, at, level);
            entry = Entry { link: right, ..summary };
            if above != NIL {
                slot = chunk(t.view(), above).slot_with(at, slot_on(self.finger, level + 1)) + 1;
                at = above;
            }
        }
        // Past the root: the tree becomes one level higher.
        let mut root = Chunk::NEW;
        if self.levels > 0 {
            root.put(0, chunk(t.view(), self.root).summary(self.root));
        }
        root.put(root.used(), entry);
        self.root = self.take(t, root);
        self.adopt(t, self.levels, self.root);
        self.levels += 1;
    }

    /// Tells everything in a chunk on `level` that it is there.
    fn adopt<U: Unit>(&self, t: &mut Tables<'_, U>, level: u32, owner: u32) {
        for slot in 0..chunk(t.view(), owner).used() {
            let link = chunk(t.view(), owner).link(slot);
            own(t, level, link, owner);
        }
    }

    pub(super) fn remove<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        let (mut gone, mut at) = (hole, leaf_of(t.view(), hole));
        for level in 0..self.levels {
            let finger = self.finger;
            let (used, above, changed) = edit(t, at, |c| {
                let (slot, most) = (c.slot_with(gone, slot_on(finger, level)), c.most);
                c.cut(slot);
                (c.used(), c.above, slot == c.used() || c.most != most)
            });
            if above == NIL {
                return self.lower(t);
            }
            if used >= HALF {
                if changed {
                    self.repair(t, at, level);
                }
                return;
            }
            let parent = chunk(t.view(), above);
            let slot = parent.slot_with(at, slot_on(finger, level + 1));
            let left_slot = if slot + 1 < parent.used() { slot } else { slot.saturating_sub(1) };
            let (left, right) = (parent.link(left_slot), parent.link(left_slot + 1));
            let mut other = chunk(t.view(), right).clone();
            let both = other.used() + chunk(t.view(), left).used();
            let merge = both < WIDTH;
            edit(t, left, |c| c.balance(&mut other, if merge { both } else { both / 2 }));
            edit(t, right, |c| *c = other);
            self.adopt(t, level, left);
            if !merge {
                self.adopt(t, level, right);
                self.repair(t, left, level);
                return self.repair(t, right, level);
            }
            self.repair(t, left, level);
            self.give_back(t, right);
            (gone, at) = (right, above);
        }
    }

    /// Drops roots that have become needless.
    fn lower<U: Unit>(&mut self, t: &mut Tables<'_, U>) {
        let root = chunk(t.view(), self.root);
        let (used, only) = (root.used(), root.link(0));
        if used == 0 || (used == 1 && self.levels > 1) {
            self.give_back(t, self.root);
            self.levels -= 1;
            self.root = if self.levels == 0 { NIL } else { only };
            if self.levels > 0 {
                edit(t, only, |c| c.above = NIL);
            }
        }
    }

    /// A chunk with these entries. There is one: the allocator keeps [`chunks_for`] its nodes.
    fn take<U: Unit>(&mut self, t: &mut Tables<'_, U>, content: Chunk<U>) -> u32 {
        let index = if self.spare != NIL {
            let index = self.spare;
            self.spare = chunk(t.view(), index).link(0);
            index
        } else {
            self.fresh += 1;
            self.fresh - 1
        };
        debug_assert!((index as usize) < t.chunks.len(), "chunks_for() is enough");
        edit(t, index, |c| *c = content);
        index
    }

    fn give_back<U: Unit>(&mut self, t: &mut Tables<'_, U>, index: u32) {
        let next = self.spare;
        edit(t, index, |c| *c = Chunk::spare(next));
        self.spare = index;
    }
}
