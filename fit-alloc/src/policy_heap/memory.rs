//! One region of memory: its tables, and the words that holes keep in themselves. The only code here that reads and
//! writes the managed memory.
//!
//! ```text
//!  region   │ map │ table │ hole . . . . . . . . . . │ block │ hole │ block │       16 bytes a granule
//!  granule  0             reserved                                        span
//!
//!  a hole   ┌──────┬──────┬──────┬──────┬───────┬──────┬┄┄┄┄┄┄┄┄┄┄┄┬──────┐
//!           │ next │ back │ size │ left │ right │  up  │ untouched │ size │       words of 32 bits
//!           └──────┴──────┴──────┴──────┴───────┴──────┴┄┄┄┄┄┄┄┄┄┄┄┴──────┘
//!             granule 0 of it             granule 1, if it has one
//! ```
//! **Nothing outside this file can touch a block by mistake.** Before a word is read or written, the map is asked
//! whether a hole begins there; the map's bits turn to *free* only for granules that the heap was given back. So
//! everything above this file is safe code, and a broken link, for instance after a write to freed memory, leads to a
//! wrong choice at worst, never to memory that somebody owns.
#![expect(unsafe_code, reason = "reads and writes the managed memory")]

use core::ptr::NonNull;
use core::slice;

use hectare_core::RegionError;

use super::map;

/// Bytes in a granule, the unit of every size and the smallest block.
pub(super) const GRANULE: usize = 16;
/// Regions have fewer granules than this, so that every sum of two positions in one fits into 32 bits and a bit more.
const MOST: usize = u32::MAX as usize - 0x100;

/// A word of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The next of its list or ring.
    Next = 0,
    /// The one before.
    Back = 1,
    /// Its granules.
    Size = 2,
    /// In a tree: the subtree with the next bit clear. For holes of two granules and more, as the following.
    Left = 3,
    /// In a tree: the subtree with the next bit set.
    Right = 4,
    /// In a tree: the hole above.
    Up = 5,
}

/// Consecutive free granules with none before and after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first granule.
    pub start: u32,
    /// How many.
    pub size: u32,
}

impl Hole {
    /// The first granule after the hole.
    #[inline(always)]
    pub(super) fn end(self) -> u32 {
        self.start.wrapping_add(self.size)
    }
}

/// Granules of one region that nobody uses and that are not free in its map: having one proves it.
#[derive(Debug)]
pub(super) struct Granules {
    start: u32,
    size: u32,
}

impl Granules {
    /// A block's granules that its owner gives back.
    ///
    /// # Safety
    /// They were handed out by the [`Memory`] that they will be released to, and nobody uses them any more.
    #[inline(always)]
    pub(super) unsafe fn given_back(start: u32, size: u32) -> Self {
        Self { start, size }
    }

    /// The first granule.
    #[inline(always)]
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// How many.
    #[inline(always)]
    pub(super) fn size(&self) -> u32 {
        self.size
    }
}

/// One region.
///
/// Invariants:
/// * M1: the `span` granules from `origin` are the heap's, as `add_region` says; `origin` is aligned to the granule;
/// * M2: the first `reserved` of them hold `words` words of the map and then `entries` of the table, all initialised,
///   reached only through [`map`](Self::map), [`table`](Self::table) and their mutable siblings, and never free;
/// * M3: a granule that is free in the map is used by nobody else;
/// * M4: the first two granules of each hole (or its only one) are initialised, and so is the last word of its last.
#[derive(Debug)]
pub struct Memory {
    origin: NonNull<u8>,
    span: u32,
    reserved: u32,
    words: usize,
    entries: usize,
}

// SAFETY: a region is memory that its heap owns; whoever has the heap has the memory.
unsafe impl Send for Memory {}

/// The aligned start and the number of whole granules in a piece of memory.
pub(super) fn granules_in(memory: NonNull<[u8]>) -> Result<(NonNull<u8>, u32), RegionError> {
    let start = memory.cast::<u8>();
    let (address, length) = (start.addr().get(), memory.len());
    if address.checked_add(length).is_none() || length > isize::MAX as usize {
        return Err(RegionError::BadRange);
    }
    let padding = address.wrapping_neg() % GRANULE;
    let span = length.saturating_sub(padding) / GRANULE;
    if span == 0 {
        return Err(RegionError::TooSmall);
    }
    let span =
        u32::try_from(span).ok().filter(|span| (*span as usize) < MOST).ok_or(RegionError::TooLarge)?;
    // SAFETY: `padding` is less than the length, which the caller of `add_region` vouches for.
    Ok((unsafe { start.add(padding) }, span))
}

impl Memory {
    /// No region.
    pub(super) const NONE: Self =
        Self { origin: NonNull::<usize>::dangling().cast(), span: 0, reserved: 0, words: 0, entries: 0 };

    /// How many granules the map and a table of `entries` take in a region of `span` granules.
    pub(super) fn reserved_for(span: u32, entries: usize) -> u32 {
        let bytes = map::words(span) * size_of::<usize>() + entries * size_of::<u32>();
        u32::try_from(bytes.div_ceil(GRANULE)).unwrap_or(u32::MAX)
    }

    /// Lays the tables of a region into its first granules. All other granules count as used.
    ///
    /// # Safety
    /// (1) The `span` granules from `start` are the heap's, as `add_region` says; (2) `start` is aligned to the
    /// granule; (3) `reserved_for(span, entries)` is less than `span`.
    pub(super) unsafe fn lay(start: NonNull<u8>, span: u32, entries: usize) -> Self {
        let reserved = Self::reserved_for(span, entries);
        // SAFETY: (1), (3): inside the region.
        unsafe { start.write_bytes(0, reserved as usize * GRANULE) };
        Self { origin: start, span, reserved, words: map::words(span), entries }
    }

    /// The granules after the tables of a region that was just laid.
    ///
    /// # Safety
    /// They were not handed out yet.
    pub(super) unsafe fn unused(&self) -> Granules {
        Granules { start: self.reserved, size: self.span - self.reserved }
    }

    /// The number of granules, with the reserved ones.
    #[inline(always)]
    pub(super) fn span(&self) -> u32 {
        self.span
    }

    /// The first granule that can be handed out.
    #[inline(always)]
    pub(super) fn reserved(&self) -> u32 {
        self.reserved
    }

    /// The map of free granules.
    #[inline(always)]
    pub(super) fn map(&self) -> &[usize] {
        // SAFETY: M2: so many initialised words, aligned as granules are, changed only through `&mut self`.
        unsafe { slice::from_raw_parts(self.origin.as_ptr().cast(), self.words) }
    }

    #[inline(always)]
    fn map_mut(&mut self) -> &mut [usize] {
        // SAFETY: M2, and `&mut self`.
        unsafe { slice::from_raw_parts_mut(self.origin.as_ptr().cast(), self.words) }
    }

    /// The policy's table.
    #[inline(always)]
    pub(super) fn table(&self) -> &[u32] {
        let start = self.origin.as_ptr().cast::<usize>().wrapping_add(self.words);
        // SAFETY: M2: so many initialised entries, changed only through `&mut self`.
        unsafe { slice::from_raw_parts(start.cast(), self.entries) }
    }

    /// The policy's table, to change.
    #[inline(always)]
    pub(super) fn table_mut(&mut self) -> &mut [u32] {
        let start = self.origin.as_ptr().cast::<usize>().wrapping_add(self.words);
        // SAFETY: M2, and `&mut self`.
        unsafe { slice::from_raw_parts_mut(start.cast(), self.entries) }
    }

    /// Where a granule is. Its bytes may be used by whom they are handed out to.
    #[inline(always)]
    pub(super) fn pointer(&self, granule: u32) -> NonNull<u8> {
        let pointer = self.origin.as_ptr().wrapping_add(granule as usize * GRANULE);
        // A granule of the region is not null; any other number gives any other pointer.
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// The number of the granule that begins at an address of this region.
    #[inline(always)]
    pub(super) fn granule_at(&self, address: usize) -> Option<u32> {
        let offset = address.wrapping_sub(self.origin.addr().get());
        // A misaligned address rotates into a huge number, so that one comparison refuses both it and foreign ones.
        let granule = offset.rotate_right(GRANULE.ilog2());
        if granule < self.span as usize { u32::try_from(granule).ok() } else { None }
    }

    /// The number of granules of this size from address 0 to this region's first.
    #[inline(always)]
    pub(super) fn base(&self) -> usize {
        self.origin.addr().get() / GRANULE
    }

    /// Whether an address lies in the region.
    pub(super) fn covers(&self, address: usize) -> bool {
        address.wrapping_sub(self.origin.addr().get()) < self.span as usize * GRANULE
    }

    /// The region's addresses.
    pub(super) fn addresses(&self) -> core::ops::Range<usize> {
        let start = self.origin.addr().get();
        start..start + self.span as usize * GRANULE
    }

    /// Takes free granules; `None`, and nothing is changed, if one of them is not free. One step for each section.
    #[inline(always)]
    pub(super) fn claim(&mut self, start: u32, size: u32) -> Option<Granules> {
        // The planted fault: whatever is asked for is taken.
        let free = cfg!(hectare_plant = "policy_unchecked") || map::all(self.map(), start, size, true);
        if !free {
            return None;
        }
        map::mark(self.map_mut(), start, size, false);
        // M4 for what is left below and above.
        let end = start.wrapping_add(size);
        self.clear_last(start);
        self.clear_first(end);
        Some(Granules { start, size })
    }

    /// Makes granules free. One step for each section.
    #[inline(always)]
    pub(super) fn release(&mut self, granules: Granules) {
        let Granules { start, size } = granules;
        map::mark(self.map_mut(), start, size, true);
        // M4, whether or not holes are beside them.
        self.clear_first(start);
        self.clear_last(start.wrapping_add(size));
    }

    /// Initialises a granule and the one after it, as far as they are free.
    #[inline(always)]
    fn clear_first(&mut self, granule: u32) {
        if !map::is_free(self.map(), granule) {
            return;
        }
        let two = map::is_free(self.map(), granule + 1);
        let bytes = if two { 2 * GRANULE } else { GRANULE };
        // SAFETY: (1) free granules of the region (M1, M3); (2) aligned, for bytes.
        unsafe { self.pointer(granule).write_bytes(0, bytes) };
    }

    /// Initialises the last word before `end`, if it is free.
    #[inline(always)]
    fn clear_last(&mut self, end: u32) {
        if map::ends(self.map(), end) {
            // SAFETY: the last word of a free granule of the region (M1, M3).
            unsafe { self.last_word(end).write(0) };
        }
    }

    /// The last word before a granule.
    #[inline(always)]
    fn last_word(&self, end: u32) -> *mut u32 {
        self.pointer(end).as_ptr().cast::<u32>().wrapping_sub(1)
    }

    /// Whether a hole begins at a granule and has this word.
    #[inline(always)]
    fn has(&self, hole: u32, field: Field) -> bool {
        // The words of the second granule, and the word that a single granule needs for its size.
        let second = field as usize >= Field::Left as usize;
        map::begins(self.map(), hole) && (!second || map::is_free(self.map(), hole + 1))
    }

    /// A word of the hole that begins there; 0 if none does.
    #[inline(always)]
    pub(super) fn get(&self, hole: u32, field: Field) -> u32 {
        if !self.has(hole, field) {
            return 0;
        }
        let word = self.pointer(hole).as_ptr().cast::<u32>().wrapping_add(field as usize);
        // SAFETY: `has`: a word of the first two granules of a hole, initialised (M4), used by nobody else (M3), aligned.
        unsafe { word.read() }
    }

    /// Changes a word of the hole that begins there; nothing if none does.
    #[inline(always)]
    pub(super) fn set(&mut self, hole: u32, field: Field, value: u32) {
        if !self.has(hole, field) {
            return;
        }
        let word = self.pointer(hole).as_ptr().cast::<u32>().wrapping_add(field as usize);
        // SAFETY: as in `get`.
        unsafe { word.write(value) };
    }

    /// Notes the size of a hole at both of its ends.
    #[inline(always)]
    pub(super) fn set_size(&mut self, hole: Hole) {
        self.set(hole.start, Field::Size, hole.size);
        if map::ends(self.map(), hole.end()) {
            // SAFETY: the last word of a free granule of the region (M1, M3), aligned.
            unsafe { self.last_word(hole.end()).write(hole.size) };
        }
    }

    /// The hole that begins at a granule.
    #[inline(always)]
    pub(super) fn hole_from(&self, start: u32) -> Option<Hole> {
        let size = self.get(start, Field::Size);
        if size == 0 { None } else { Some(Hole { start, size }) }
    }

    /// The hole that ends before a granule.
    #[inline(always)]
    pub(super) fn hole_before(&self, end: u32) -> Option<Hole> {
        if !map::ends(self.map(), end) {
            return None;
        }
        // SAFETY: the last word of a hole's last granule: initialised (M4), used by nobody else (M3), aligned.
        let size = unsafe { self.last_word(end).read() };
        Some(Hole { start: end.checked_sub(size)?, size })
    }

    /// The holes that begin in a section, by address. Reads nothing but the map, and of a hole that leaves the section
    /// its size.
    #[inline(always)]
    pub(super) fn holes_in(&self, section: usize) -> impl Iterator<Item = Hole> {
        let mut starts = map::starts(self.map(), section);
        core::iter::from_fn(move || {
            if starts == 0 {
                return None;
            }
            let bit = starts.trailing_zeros();
            starts &= starts - 1;
            let start = u32::try_from(section).ok()?.checked_mul(map::BITS)?.checked_add(bit)?;
            let run = map::run(self.map(), start);
            let size = if bit + run < map::BITS { run } else { self.get(start, Field::Size) };
            Some(Hole { start, size })
        })
    }
}
