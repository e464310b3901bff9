//! All holes by address, in a B+-tree that knows the largest hole below each branch.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::step;
use crate::range::{NIL, Tables, Unit, View, nowhere};

/// Entries in a chunk: its starts and its sizes are a cache line of `u32` each.
const WIDTH: usize = 16;
/// The least number of entries in a chunk that is not the root.
const HALF: usize = WIDTH / 2;
/// How many numbers a scan handles at a time.
const LANES: usize = 4;
/// Levels of a tree of 2^32 holes, and one: 8^11.
const LEVELS: usize = 12;

/// A leaf or an inner chunk of the tree in which first, next and last fit keep the holes.
///
/// ```text
///  root    starts [  0 | 900 ]        the start of the first hole below each branch
///          sizes  [ 40 | 200 ]        the largest hole below each branch: a search for 100 takes the second
///          links  [  ● |  ●  ]
///             ┌──────┘    └───────┐
///  leaf    [ 0 | 50 |300 ]     [900|980|2000]    where the holes start
///          [20 | 40 | 8  ]     [200| 16| 4  ]    how large they are
///          [ node numbers ]    [ node numbers ]
/// ```
/// Starts and sizes lie in arrays of their own, so that one scan compares a whole chunk without branches.
#[derive(Clone, Debug)]
pub struct Chunk<U> {
    starts: [U; WIDTH],
    sizes: [U; WIDTH],
    links: [u32; WIDTH],
    used: usize,
}

impl<U: Unit> Chunk<U> {
    /// A chunk that is not yet used: what a fixed table is filled with. Entries past the used ones keep these values,
    /// which no search matches.
    pub const NEW: Self =
        Self { starts: [U::MAX; WIDTH], sizes: [U::ZERO; WIDTH], links: [NIL; WIDTH], used: 0 };

    /// The last entry that does not start above `start`; the first if all do.
    #[inline]
    fn slot_of(&self, start: U) -> usize {
        // `U::MAX` is above every start, and equals those of the unused entries.
        (count_up_to(&self.starts, start) as usize).min(self.used).saturating_sub(1)
    }

    /// A mask of the entries of at least `size`.
    #[inline]
    fn at_least(&self, size: U) -> u32 {
        mask_from(&self.sizes, size)
    }

    #[inline]
    fn largest(&self) -> U {
        greatest(&self.sizes)
    }

    #[inline]
    fn entry(&self, slot: usize) -> Entry<U> {
        let slot = slot % WIDTH;
        Entry { start: self.starts[slot], size: self.sizes[slot], link: self.links[slot] }
    }

    #[inline]
    fn set(&mut self, slot: usize, entry: Entry<U>) {
        let slot = slot % WIDTH;
        self.starts[slot] = entry.start;
        self.sizes[slot] = entry.size;
        self.links[slot] = entry.link;
    }

    /// Puts an entry before the one in `slot`. The chunk is not full.
    fn put(&mut self, slot: usize, entry: Entry<U>) {
        let slot = slot % WIDTH;
        self.starts.copy_within(slot..WIDTH - 1, slot + 1);
        self.sizes.copy_within(slot..WIDTH - 1, slot + 1);
        self.links.copy_within(slot..WIDTH - 1, slot + 1);
        self.set(slot, entry);
        self.used += 1;
    }

    /// Takes an entry out.
    fn cut(&mut self, slot: usize) {
        let slot = slot % WIDTH;
        self.starts.copy_within(slot + 1.., slot);
        self.sizes.copy_within(slot + 1.., slot);
        self.links.copy_within(slot + 1.., slot);
        self.set(WIDTH - 1, Entry::NONE);
        self.used -= 1;
    }

    /// Moves the last `count` entries of `self` before the first of `right`, or with a negative count the other way.
    fn balance(&mut self, right: &mut Self, left_used: usize) {
        while self.used > left_used {
            let entry = self.entry(self.used - 1);
            self.cut(self.used - 1);
            right.put(0, entry);
        }
        while self.used < left_used {
            let entry = right.entry(0);
            right.cut(0);
            self.put(self.used, entry);
        }
    }
}

// The three scans have no branches: how far they get cannot be predicted, and sixteen comparisons cost less than one
// wrong guess.

/// How many numbers are at most `limit`.
#[inline]
fn count_up_to<U: Unit>(numbers: &[U; WIDTH], limit: U) -> u32 {
    let mut counts = [0_u32; LANES];
    for block in numbers.chunks_exact(LANES) {
        for (count, number) in counts.iter_mut().zip(block) {
            *count += u32::from(*number <= limit);
        }
    }
    counts.iter().sum()
}

/// A bit for each number that is at least `limit`.
#[inline]
fn mask_from<U: Unit>(numbers: &[U; WIDTH], limit: U) -> u32 {
    let mut flags = [0_u8; WIDTH];
    for (flag, number) in flags.iter_mut().zip(numbers) {
        *flag = u8::from(*number >= limit);
    }
    flags.iter().zip(0..).fold(0, |mask, (flag, place)| mask | u32::from(*flag) << place)
}

/// The greatest number.
#[inline]
fn greatest<U: Unit>(numbers: &[U; WIDTH]) -> U {
    let mut greatest = [U::ZERO; LANES];
    for block in numbers.chunks_exact(LANES) {
        for (most, number) in greatest.iter_mut().zip(block) {
            *most = if *number > *most { *number } else { *most };
        }
    }
    greatest.iter().fold(U::ZERO, |most, number| most.max(*number))
}

impl<U: Unit> Default for Chunk<U> {
    fn default() -> Self {
        Self::NEW
    }
}

#[derive(Clone, Copy)]
struct Entry<U> {
    start: U,
    size: U,
    link: u32,
}

impl<U: Unit> Entry<U> {
    const NONE: Self = Self { start: U::MAX, size: U::ZERO, link: NIL };
}

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

/// Where a search ended: chunk and slot at each level, leaf first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path([(u32, u32); LEVELS]);

impl Path {
    #[inline]
    fn at(&self, level: usize) -> (u32, usize) {
        self.0.get(level).map_or((NIL, 0), |(chunk, slot)| (*chunk, *slot as usize))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "slots are below WIDTH")]
    fn set(&mut self, level: usize, chunk: u32, slot: usize) {
        if let Some(place) = self.0.get_mut(level) {
            *place = (chunk, slot as u32);
        }
    }
}

/// See [`Chunk`] and the [module](self).
///
/// Invariants:
/// * the leaves hold exactly the holes, in order of address, with their starts and sizes;
/// * an inner entry has the first start and the largest size of its chunk;
/// * all leaves are on level 0; every chunk but the root is at least half full; an inner root has two entries or more;
/// * entries past the used ones are empty.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: u32,
    levels: usize,
    /// Chunks given back, linked through their first link.
    spare: u32,
    /// Chunks from here on were never used.
    fresh: u32,
    /// Where the last search ended, as long as the tree has kept its shape.
    finger: Option<Path>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: NIL, levels: 0, spare: NIL, fresh: 0, finger: None }
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

impl Tree {
    /// The lowest hole of at least `size`.
    #[inline]
    pub(super) fn first<U: Unit>(&mut self, v: View<'_, U>, size: U) -> Option<u32> {
        self.descend(v, size, self.levels, self.root, Path([(NIL, 0); LEVELS]), false)
    }

    /// The highest hole of at least `size`.
    #[inline]
    pub(super) fn last<U: Unit>(&mut self, v: View<'_, U>, size: U) -> Option<u32> {
        self.descend(v, size, self.levels, self.root, Path([(NIL, 0); LEVELS]), true)
    }

    /// From `top` on level `levels − 1` down to the first or last hole of at least `size`.
    #[inline]
    fn descend<U: Unit>(
        &mut self,
        v: View<'_, U>,
        size: U,
        levels: usize,
        top: u32,
        mut path: Path,
        last: bool,
    ) -> Option<u32> {
        let mut at = top;
        for level in (0..levels).rev() {
            let here = chunk(v, at);
            let slot = pick(here.at_least(size), last)?;
            path.set(level, at, slot);
            at = here.entry(slot).link;
        }
        self.finger = Some(path);
        if at == NIL { None } else { Some(at) }
    }

    /// The next hole of at least `size` above (or, with `last`, below) the one where the last search ended.
    pub(super) fn onward<U: Unit>(&mut self, v: View<'_, U>, size: U, last: bool) -> Option<u32> {
        let mut path = self.finger?;
        for level in 0..self.levels {
            let (at, slot) = path.at(level);
            let here = chunk(v, at);
            let beyond = if last { !(u32::MAX << slot) } else { (u32::MAX - 1) << slot };
            if let Some(slot) = pick(here.at_least(size) & beyond, last) {
                path.set(level, at, slot);
                if level == 0 {
                    self.finger = Some(path);
                    return Some(here.entry(slot).link);
                }
                return self.descend(v, size, level, here.entry(slot).link, path, last);
            }
        }
        None
    }

    /// The highest hole that does not start above `start`; the lowest hole if all do. A search may go on from there.
    pub(super) fn around<U: Unit>(&mut self, v: View<'_, U>, start: U) -> Option<u32> {
        let path = self.locate(v, start);
        self.finger = Some(path);
        let (leaf, slot) = path.at(0);
        let hole = chunk(v, leaf).entry(slot).link;
        if hole == NIL { None } else { Some(hole) }
    }

    /// As [`around`](Self::around), but no search can go on from there.
    pub(super) fn below<U: Unit>(&self, v: View<'_, U>, start: U) -> Option<u32> {
        let (leaf, slot) = self.locate(v, start).at(0);
        let hole = chunk(v, leaf).entry(slot).link;
        if hole == NIL { None } else { Some(hole) }
    }

    #[inline]
    fn locate<U: Unit>(&self, v: View<'_, U>, start: U) -> Path {
        let mut path = Path([(NIL, 0); LEVELS]);
        let mut at = self.root;
        for level in (0..self.levels).rev() {
            let here = chunk(v, at);
            let slot = here.slot_of(start);
            path.set(level, at, slot);
            at = here.entry(slot).link;
        }
        path
    }

    /// The path to a hole in the tree.
    #[inline]
    fn path_to<U: Unit>(&self, v: View<'_, U>, hole: u32) -> Path {
        if let Some(path) = self.finger {
            let (leaf, slot) = path.at(0);
            if chunk(v, leaf).entry(slot).link == hole {
                return path;
            }
        }
        self.locate(v, v.at(hole).start)
    }

    pub(super) fn largest<U: Unit>(&self, v: View<'_, U>) -> U {
        chunk(v, self.root).largest()
    }

    /// Gives a hole another start and size; it stays between the same other holes.
    #[inline]
    pub(super) fn resize<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32, start: U, size: U) {
        let path = self.path_to(t.view(), hole);
        let (leaf, slot) = path.at(0);
        let before = t.at(hole).length;
        edit(t, leaf, |c| c.set(slot, Entry { start, size, link: hole }));
        t.edit(hole, |n| {
            n.start = start;
            n.length = size;
        });
        self.repair(t, &path, 0, before, size);
    }

    /// Brings the entries above the chunk on `level` up to date, in which an entry of size `before` has gone and one of
    /// size `after` has come.
    #[inline]
    fn repair<U: Unit>(&self, t: &mut Tables<'_, U>, path: &Path, level: usize, before: U, after: U) {
        let (mut before, mut after) = (before, after);
        for level in level + 1..self.levels {
            let (below, _) = path.at(level - 1);
            let (at, slot) = path.at(level);
            let here = chunk(t.view(), below);
            let old = chunk(t.view(), at).entry(slot);
            let size = if after >= old.size {
                after
            } else if before < old.size || cfg!(hectare_plant = "stale_maximum") {
                // The planted fault: a maximum that left is kept.
                old.size
            } else {
                here.largest()
            };
            let start = here.entry(0).start;
            if start == old.start && size == old.size {
                break;
            }
            edit(t, at, |c| c.set(slot, Entry { start, size, link: below }));
            (before, after) = (old.size, size);
        }
    }

    pub(super) fn insert<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        let node = t.at(hole);
        let mut entry = Entry { start: node.start, size: node.length, link: hole };
        let path = self.locate(t.view(), entry.start);
        self.finger = None;
        for level in 0..self.levels {
            let (at, slot) = path.at(level);
            let here = chunk(t.view(), at);
            let slot = slot + usize::from(here.entry(slot).start <= entry.start);
            if here.used < WIDTH {
                edit(t, at, |c| c.put(slot, entry));
                return self.repair(t, &path, level, U::ZERO, entry.size);
            }
            // Full: the upper half goes into a chunk of its own, which the level above takes in next.
            let mut right = Chunk::NEW;
            edit(t, at, |left| {
                left.balance(&mut right, HALF);
                if slot <= HALF { left.put(slot, entry) } else { right.put(slot - HALF, entry) }
            });
            entry = Entry { start: right.entry(0).start, size: right.largest(), link: self.take(t, right) };
            self.repair(t, &path, level, U::MAX, U::ZERO);
        }
        // Past the root: the tree becomes one level higher.
        let mut root = Chunk::NEW;
        if self.levels > 0 {
            let old = chunk(t.view(), self.root);
            root.put(0, Entry { start: old.entry(0).start, size: old.largest(), link: self.root });
        }
        root.put(root.used, entry);
        self.root = self.take(t, root);
        self.levels += 1;
    }

    pub(super) fn remove<U: Unit>(&mut self, t: &mut Tables<'_, U>, hole: u32) {
        let path = self.path_to(t.view(), hole);
        self.finger = None;
        let mut gone = path.at(0).1;
        let mut before = t.at(hole).length;
        for level in 0..self.levels {
            let (at, _) = path.at(level);
            let used = edit(t, at, |c| {
                c.cut(gone);
                c.used
            });
            if level + 1 == self.levels {
                return self.lower(t);
            }
            if used >= HALF {
                return self.repair(t, &path, level, before, U::ZERO);
            }
            let (above, slot) = path.at(level + 1);
            let parent = chunk(t.view(), above);
            let left_slot = if slot + 1 < parent.used { slot } else { slot.saturating_sub(1) };
            let (left, right) = (parent.entry(left_slot).link, parent.entry(left_slot + 1).link);
            let mut other = chunk(t.view(), right).clone();
            let both = other.used + chunk(t.view(), left).used;
            let merge = both < WIDTH;
            let first = edit(t, left, |c| {
                c.balance(&mut other, if merge { both } else { both / 2 });
                Some(Entry { start: c.entry(0).start, size: c.largest(), link: left })
            });
            let second = Entry { start: other.entry(0).start, size: other.largest(), link: right };
            edit(t, right, |c| *c = other);
            edit(t, above, |c| {
                c.set(left_slot, first.unwrap_or(Entry::NONE));
                c.set(left_slot + 1, second);
            });
            if !merge {
                return self.repair(t, &path, level + 1, U::MAX, U::ZERO);
            }
            self.give_back(t, right);
            gone = left_slot + 1;
            // Both entries above have changed: no maximum there is known any more.
            before = U::MAX;
        }
    }

    /// Drops roots that have become needless.
    fn lower<U: Unit>(&mut self, t: &mut Tables<'_, U>) {
        let root = chunk(t.view(), self.root);
        let (used, only) = (root.used, root.entry(0).link);
        if used == 0 || (used == 1 && self.levels > 1) {
            self.give_back(t, self.root);
            self.levels -= 1;
            self.root = if self.levels == 0 { NIL } else { only };
        }
    }

    /// A chunk with these entries. There is one: the allocator keeps [`chunks_for`] its nodes.
    fn take<U: Unit>(&mut self, t: &mut Tables<'_, U>, content: Chunk<U>) -> u32 {
        let index = if self.spare != NIL {
            let index = self.spare;
            self.spare = chunk(t.view(), index).entry(0).link;
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
        edit(t, index, |c| {
            *c = Chunk::NEW;
            c.set(0, Entry { link: next, ..Entry::NONE });
        });
        self.spare = index;
    }

    /// Whether a hole is where its start leads.
    pub(super) fn contains<U: Unit>(&self, v: View<'_, U>, hole: u32) -> bool {
        let node = v.at(hole);
        let (leaf, slot) = self.locate(v, node.start).at(0);
        let entry = chunk(v, leaf).entry(slot);
        entry.link == hole && entry.start == node.start && entry.size == node.length
    }

    /// Checks every chunk, and gives the number of holes.
    pub(super) fn check<U: Unit>(&self, v: View<'_, U>) -> Result<u64, Violation> {
        if self.levels == 0 {
            return Ok(0);
        }
        self.check_below(v, self.root, self.levels - 1)
    }

    fn check_below<U: Unit>(&self, v: View<'_, U>, at: u32, level: usize) -> Result<u64, Violation> {
        let here = chunk(v, at);
        let least = match (at == self.root, level) {
            (false, _) => HALF,
            (true, 0) => 1,
            (true, _) => 2,
        };
        let good = (least..=WIDTH).contains(&here.used);
        Violation::unless(good, "a chunk is at least half full, an inner root has two entries", at.into())?;
        let mut holes = 0;
        for slot in 0..WIDTH {
            let entry = here.entry(slot);
            if slot >= here.used {
                let empty = entry.link == NIL && entry.size == U::ZERO && entry.start == U::MAX;
                Violation::unless(empty, "entries past the used ones are empty", at.into())?;
            } else if level == 0 {
                let node = v.at(entry.link);
                let same = node.is_hole() && node.start == entry.start && node.length == entry.size;
                Violation::unless(same, "a leaf's entry is a hole as it lies", at.into())?;
                holes += 1;
            } else {
                let below = chunk(v, entry.link);
                let same = below.entry(0).start == entry.start && below.largest() == entry.size;
                Violation::unless(same, "an inner entry has its chunk's start and largest size", at.into())?;
                holes += self.check_below(v, entry.link, level - 1)?;
            }
            if slot > 0 && slot < here.used {
                let ordered = here.entry(slot - 1).start < entry.start;
                Violation::unless(ordered, "entries are in the order of their starts", at.into())?;
            }
        }
        Ok(holes)
    }
}

/// The lowest or highest bit of a mask.
#[inline]
fn pick(mask: u32, last: bool) -> Option<usize> {
    if mask == 0 {
        None
    } else if last {
        Some(mask.ilog2() as usize)
    } else {
        Some(mask.trailing_zeros() as usize)
    }
}
