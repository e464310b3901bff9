//! The chunks of the tree by address, and the scans of their sixteen entries.
#![forbid(unsafe_code)]
#![expect(clippy::cast_possible_truncation, reason = "slots are at most WIDTH")]

use crate::range::{NIL, Unit};

/// Entries in a chunk: its sizes, links and ends are a cache line of `u32` each.
pub(super) const WIDTH: usize = 16;
/// The least number of entries in a chunk that is not the root.
pub(super) const HALF: usize = WIDTH / 2;
/// How many numbers a scan handles at a time.
const LANES: usize = 4;

/// A leaf or an inner chunk of the tree in which first, next and last fit keep the holes.
///
/// ```text
///  root    sizes  [ 40 | 200 ]        the largest hole below each branch: a search for 100 takes the second
///          links  [  ● |  ●  ]
///          ends   [308 |2004 ]        where the last hole below each branch ends
///             ┌──────┘    └───────┐
///  leaf    [20 | 40 | 8  ]     [200| 16| 4  ]    how large the holes are; their largest
///          [ node numbers ]    [ node numbers ]  and the chunk above
///          [20 | 90 |308 ]     [1100|..|2004]    where they end
/// ```
/// Sizes, links and ends lie in arrays of their own, so that one scan compares a whole chunk without branches. A block is
/// cut from a hole's lower end: that leaves the ends as they are. Links lead up as well: what is to be changed is found
/// from the hole, not from the root.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Chunk<U> {
    sizes: [U; WIDTH],
    links: [u32; WIDTH],
    ends: [U; WIDTH],
    /// The largest size.
    pub(super) most: U,
    used: u32,
    /// The chunk above; [`NIL`] for the root.
    pub(super) above: u32,
}

impl<U: Unit> Chunk<U> {
    /// A chunk that is not yet used: what a fixed table is filled with. Entries past the used ones keep these values,
    /// which no search matches.
    pub const NEW: Self = Self {
        sizes: [U::ZERO; WIDTH],
        most: U::ZERO,
        used: 0,
        links: [NIL; WIDTH],
        above: NIL,
        ends: [U::MAX; WIDTH],
    };

    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used as usize
    }

    /// How many entries end at or below `place`, which is not the greatest number: the slot of the first that does not.
    #[inline]
    pub(super) fn slot_past(&self, place: U) -> usize {
        count_up_to(&self.ends, place)
    }

    /// The entry with this link, which is there; perhaps it is in this slot.
    #[inline]
    pub(super) fn slot_with(&self, link: u32, perhaps: usize) -> usize {
        if self.links.get(perhaps).is_some_and(|there| *there == link) {
            perhaps
        } else {
            first_of(equal_to(&self.links, link)).unwrap_or(0)
        }
    }

    /// The entries of at least `size`.
    #[inline]
    pub(super) fn at_least(&self, size: U) -> Flags {
        at_least(&self.sizes, size)
    }

    #[inline]
    pub(super) fn link(&self, slot: usize) -> u32 {
        self.links.get(slot).copied().unwrap_or(NIL)
    }

    #[inline]
    pub(super) fn size(&self, slot: usize) -> U {
        self.sizes.get(slot).copied().unwrap_or(U::ZERO)
    }

    #[inline]
    pub(super) fn end(&self, slot: usize) -> U {
        self.ends.get(slot).copied().unwrap_or(U::MAX)
    }

    /// What the level above keeps of this chunk.
    #[inline]
    pub(super) fn summary(&self, this: u32) -> Entry<U> {
        Entry { end: self.end(self.used().wrapping_sub(1)), size: self.most, link: this }
    }

    pub(super) fn entry(&self, slot: usize) -> Entry<U> {
        Entry { end: self.end(slot), size: self.size(slot), link: self.link(slot) }
    }

    fn set(&mut self, slot: usize, entry: Entry<U>) {
        if slot < WIDTH {
            self.ends[slot] = entry.end;
            self.sizes[slot] = entry.size;
            self.links[slot] = entry.link;
        }
    }

    /// For a chunk that is given back: its first link, and nothing else.
    pub(super) fn spare(next: u32) -> Self {
        let mut chunk = Self::NEW;
        chunk.links[0] = next;
        chunk
    }

    /// Gives an entry another size; tells whether the largest is another one now.
    #[inline]
    pub(super) fn set_size(&mut self, slot: usize, after: U) -> bool {
        let (before, most) = (self.size(slot), self.most);
        if let Some(size) = self.sizes.get_mut(slot) {
            *size = after;
        }
        self.replaced(before, after);
        self.most != most
    }

    /// Gives an entry another end; tells whether it was and is the last.
    #[inline]
    pub(super) fn set_end(&mut self, slot: usize, after: U) -> bool {
        match self.ends.get_mut(slot) {
            Some(end) if *end != after => {
                *end = after;
                slot + 1 == self.used()
            }
            _ => false,
        }
    }

    #[inline]
    fn replaced(&mut self, before: U, after: U) {
        if after >= self.most {
            self.most = after;
        } else if before == self.most && !cfg!(hectare_plant = "stale_maximum") {
            // The planted fault: a maximum that left is kept.
            self.most = greatest(&self.sizes);
        }
    }

    /// Puts an entry before the one in `slot`. The chunk is not full.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, entry: Entry<U>) {
        open(&mut self.sizes, slot, entry.size);
        open(&mut self.links, slot, entry.link);
        open(&mut self.ends, slot, entry.end);
        self.used += 1;
        self.most = self.most.max(entry.size);
    }

    /// Takes an entry out.
    #[inline]
    pub(super) fn cut(&mut self, slot: usize) {
        let before = self.size(slot);
        close(&mut self.sizes, slot, U::ZERO);
        close(&mut self.links, slot, NIL);
        close(&mut self.ends, slot, U::MAX);
        self.used = self.used.saturating_sub(1);
        self.replaced(before, U::ZERO);
    }

    /// Moves the upper half of a full chunk into an empty one.
    pub(super) fn split(&mut self, right: &mut Self) {
        for slot in HALF..WIDTH {
            right.set(slot - HALF, self.entry(slot));
            self.set(slot, Entry::NONE);
        }
        self.used = HALF as u32;
        right.used = (WIDTH - HALF) as u32;
        self.most = greatest(&self.sizes);
        right.most = greatest(&right.sizes);
    }

    /// Moves entries between two neighbours, until this one, the left, has `left_used`.
    pub(super) fn balance(&mut self, right: &mut Self, left_used: usize) {
        while self.used() > left_used {
            let last = self.used() - 1;
            let entry = self.entry(last);
            self.cut(last);
            right.put(0, entry);
        }
        while self.used() < left_used {
            let entry = right.entry(0);
            right.cut(0);
            self.put(self.used(), entry);
        }
    }
}

impl<U: Unit> Default for Chunk<U> {
    fn default() -> Self {
        Self::NEW
    }
}

#[derive(Clone, Copy)]
pub(super) struct Entry<U> {
    pub(super) end: U,
    pub(super) size: U,
    pub(super) link: u32,
}

impl<U: Unit> Entry<U> {
    pub(super) const NONE: Self = Self { end: U::MAX, size: U::ZERO, link: NIL };
}

// None of the scans has branches: how far they get cannot be predicted, and sixteen comparisons cost less than one wrong
// guess. They are written so that compilers make vector instructions of them.

/// A bit for each entry of a chunk, the first one lowest.
#[derive(Clone, Copy)]
pub(super) struct Flags(u32);

impl Flags {
    /// Those of the entries after `slot`.
    #[inline]
    pub(super) fn after(self, slot: usize) -> Self {
        Self(self.0 & (u32::MAX - 1) << (slot & 31))
    }

    /// Those of the entries before `slot`.
    #[inline]
    pub(super) fn before(self, slot: usize) -> Self {
        Self(self.0 & !(u32::MAX << (slot & 31)))
    }
}

/// The first entry whose flag is set.
#[inline]
pub(super) fn first_of(flags: Flags) -> Option<usize> {
    if flags.0 == 0 { None } else { Some(flags.0.trailing_zeros() as usize) }
}

/// The last entry whose flag is set.
#[inline]
pub(super) fn last_of(flags: Flags) -> Option<usize> {
    flags.0.checked_ilog2().map(|bit| bit as usize)
}

/// Those of the numbers that are at least `limit`.
#[inline(never)]
fn at_least<U: Unit>(numbers: &[U; WIDTH], limit: U) -> Flags {
    let mut bits = [0_u16; WIDTH];
    for (slot, (bit, number)) in bits.iter_mut().zip(numbers).enumerate() {
        *bit = if *number >= limit { 1 << slot } else { 0 };
    }
    Flags(bits.iter().fold(0, |all, bit| all | bit).into())
}

/// Those of the numbers that equal `number`.
#[inline(never)]
fn equal_to(numbers: &[u32; WIDTH], wanted: u32) -> Flags {
    let mut bits = [0_u16; WIDTH];
    for (slot, (bit, number)) in bits.iter_mut().zip(numbers).enumerate() {
        *bit = if *number == wanted { 1 << slot } else { 0 };
    }
    Flags(bits.iter().fold(0, |all, bit| all | bit).into())
}

/// How many numbers are at most `limit`.
#[inline(never)]
fn count_up_to<U: Unit>(numbers: &[U; WIDTH], limit: U) -> usize {
    let mut counts = [0_u32; LANES];
    for block in numbers.chunks_exact(LANES) {
        for (count, number) in counts.iter_mut().zip(block) {
            *count += u32::from(*number <= limit);
        }
    }
    counts.iter().sum::<u32>() as usize
}

/// The greatest number.
#[inline(never)]
fn greatest<U: Unit>(numbers: &[U; WIDTH]) -> U {
    let mut greatest = [U::ZERO; LANES];
    for block in numbers.chunks_exact(LANES) {
        for (most, number) in greatest.iter_mut().zip(block) {
            *most = if *number > *most { *number } else { *most };
        }
    }
    greatest.iter().fold(U::ZERO, |most, number| most.max(*number))
}

/// Moves the numbers from `slot` on up by one and puts a new one there; the last one is lost.
#[inline(never)]
fn open<T: Copy>(numbers: &mut [T; WIDTH], slot: usize, new: T) {
    let old = *numbers;
    for place in 1..WIDTH {
        numbers[place] = if place as u32 > slot as u32 { old[place - 1] } else { old[place] };
    }
    if let Some(number) = numbers.get_mut(slot) {
        *number = new;
    }
}

/// Moves the numbers above `slot` down by one, and puts `last` at the end.
#[inline(never)]
fn close<T: Copy>(numbers: &mut [T; WIDTH], slot: usize, last: T) {
    let old = *numbers;
    for place in 0..WIDTH - 1 {
        numbers[place] = if place as u32 >= slot as u32 { old[place + 1] } else { old[place] };
    }
    numbers[WIDTH - 1] = last;
}
