//! One region of memory and its boundary map: the only place that reads and writes the managed memory.
//!
//! ```text
//!  region   │ map │ block │ hole . . . . . . . │ block │ block │ hole │
//!  index     GUARD                                                   end
//!  map  0000 00000 0000000 1 0 0 0 0 0 0 0 0 1 0000000 0000000 1 0 0 1 000
//!       guard                                                          guard
//!
//!  a hole, in its own memory        ┌──────┬──────┬──────┬┄┄┄┄┄┄┄┄┄┄┄┬──────┐
//!  (W = the shape's word)           │ next │ back │ size │ untouched │ size │
//!                                   └──────┴──────┴──────┴┄┄┄┄┄┄┄┄┄┄┄┴──────┘
//! ```
//! One bit a granule is enough: it is set on the first and on the last granule of a hole. A block's neighbours begin
//! and end where the block does, so the bit after a block tells whether a hole begins there, and the bit before it
//! whether a hole ends there. The bits between mean nothing and are clear. Blocks have no header at all: their size
//! comes back with the `Layout`.
//!
//! A hardened heap has a second map after the first, with a bit set on the first granule of each block.
#![expect(unsafe_code, reason = "reads and writes the managed memory")]

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use hectare_core::RegionError;

use super::eights::clear;
use super::shape::{Shape, Word};
use crate::policy::step;

/// The index of the first granule. Those before have map bits and are never used: index 0 means none, and the bit before
/// the first granule is read when the first block is freed.
pub(crate) const GUARD: usize = 1;

/// Bits in a word of the map.
pub(crate) const BITS: usize = usize::BITS as usize;

/// One region: where its granules and its boundary map are.
///
/// Invariants of a region that `lay` returned:
/// * granule index `i`, `GUARD ≤ i < end()`, is the `GRANULE` bytes at `origin + i·GRANULE`, inside the memory that it
///   was laid over, aligned to the granule;
/// * each map has initialised words for the indices up to `end()`, which lie in the granules
///   `[map_first, map_first + map_span)` of the region: never part of a hole or of a caller's block.
#[derive(Debug)]
pub(crate) struct Region<S: Shape> {
    /// Where granule index 0 would be; it has the provenance of the whole region.
    origin: *mut u8,
    /// The map's first word: the bits from index 0 on.
    map: *mut usize,
    /// The second map; null in a heap that is not hardened.
    starts: *mut usize,
    span: usize,
    map_first: usize,
    map_span: usize,
    shape: PhantomData<S>,
}

impl<S: Shape> Clone for Region<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Shape> Copy for Region<S> {}

// SAFETY: a region is a set of pointers into memory that its heap owns; whoever has the heap has the memory.
unsafe impl<S: Shape> Send for Region<S> {}

/// Words of a map for `span` granules.
const fn map_words(span: usize) -> usize {
    (GUARD + span + 1).div_ceil(BITS)
}

/// Granules that hold the map (both maps, if hardened) of `span` granules.
pub(crate) const fn map_granules<S: Shape>(span: usize, hardened: bool) -> usize {
    (map_words(span) * size_of::<usize>() * (1 + hardened as usize)).div_ceil(S::GRANULE)
}

/// The aligned start and the number of whole granules inside `memory`.
pub(crate) fn granules_in<S: Shape>(memory: NonNull<[u8]>) -> Result<(NonNull<u8>, usize), RegionError> {
    let start = memory.cast::<u8>();
    let (address, length) = (start.addr().get(), memory.len());
    if address.checked_add(length).is_none() || length > isize::MAX as usize {
        return Err(RegionError::BadRange);
    }
    let padding = address.wrapping_neg() & (S::GRANULE - 1);
    let span = length.saturating_sub(padding) >> S::LOG2_GRANULE;
    if span == 0 {
        return Err(RegionError::TooSmall);
    }
    // SAFETY: `padding` is less than the length, which the caller of `add_region` vouches for.
    Ok((unsafe { start.add(padding) }, span))
}

impl<S: Shape> Region<S> {
    pub(crate) const NONE: Self = Self {
        origin: ptr::null_mut(),
        map: ptr::null_mut(),
        starts: ptr::null_mut(),
        span: 0,
        map_first: 0,
        map_span: 0,
        shape: PhantomData,
    };

    /// Lays a region over the `span` granules from `start`, with its map at their beginning and clear. The granules after the map count as allocated.
    ///
    /// # Safety
    /// (1) The granules are the heap's, as `add_region` says; (2) `start` is aligned to the granule; (3)
    /// `map_granules(span)` is less than `span`.
    pub(crate) unsafe fn lay(start: NonNull<u8>, span: usize, hardened: bool) -> Self {
        let map_span = map_granules::<S>(span, hardened);
        let mut region = Self {
            origin: start.as_ptr().wrapping_sub(GUARD << S::LOG2_GRANULE),
            map: ptr::null_mut(),
            starts: ptr::null_mut(),
            span,
            map_first: GUARD,
            map_span,
            shape: PhantomData,
        };
        if S::COMPACT {
            // SAFETY: (1) and (3): the map's granules are the heap's; (2): aligned to 8 bytes at least.
            unsafe { clear(start.cast(), map_span << (S::LOG2_GRANULE - 3)) };
        } else {
            // SAFETY: as above.
            unsafe { start.write_bytes(0, map_span << S::LOG2_GRANULE) };
        }
        region.place_maps(map_words(span), hardened);
        region
    }

    /// Points the maps of `words` words each at the granules `[map_first, …)`.
    fn place_maps(&mut self, words: usize, hardened: bool) {
        self.map = self.pointer(self.map_first).cast();
        self.starts = if hardened { self.map.wrapping_add(words) } else { ptr::null_mut() };
    }

    /// The same region with `span` granules, its maps copied to the granules from `map_first`.
    ///
    /// # Safety
    /// (1) `[GUARD, GUARD + span)` are the heap's granules, as `add_region` says, and `span` is at least the old one;
    /// (2) `[map_first, map_first + map_granules(span))` are among them and of no block, hole or old map.
    pub(crate) unsafe fn relay(&self, span: usize, map_first: usize) -> Self {
        let hardened = !self.starts.is_null();
        let (words, old_words) = (map_words(span), map_words(self.span));
        let mut region = *self;
        region.span = span;
        region.map_first = map_first;
        region.map_span = map_granules::<S>(span, hardened);
        region.place_maps(words, hardened);
        // SAFETY: (2): the new map's granules are the heap's and used for nothing else.
        unsafe { region.pointer(map_first).write_bytes(0, region.map_span << S::LOG2_GRANULE) };
        // SAFETY: the old map has `old_words` words (invariant), the new one at least as many; (2): no overlap.
        unsafe { region.map.copy_from_nonoverlapping(self.map, old_words) };
        if hardened {
            // SAFETY: as above.
            unsafe { region.starts.copy_from_nonoverlapping(self.starts, old_words) };
        }
        region
    }

    /// The same region with another span, which its map must cover.
    pub(crate) fn with_span(&self, span: usize) -> Self {
        Self { span, ..*self }
    }

    /// Where granule `index` is. Any index gives a pointer; only the region's own may be used.
    #[inline]
    pub(crate) fn pointer(&self, index: usize) -> *mut u8 {
        self.origin.wrapping_add(index << S::LOG2_GRANULE)
    }

    /// The same for a granule of this region.
    ///
    /// # Safety
    /// `GUARD ≤ index < end()`.
    #[inline]
    pub(crate) unsafe fn block(&self, index: usize) -> NonNull<u8> {
        // SAFETY: the granule is inside the memory that the region was laid over, which begins after null.
        unsafe { NonNull::new_unchecked(self.pointer(index)) }
    }

    /// The index of the granule of this region that begins at `address`.
    ///
    /// A misaligned address rotates into a huge index, so that one comparison refuses both it and foreign ones.
    #[inline]
    pub(crate) fn index_of(&self, address: usize) -> Option<usize> {
        let index = address.wrapping_sub(self.origin.addr()).rotate_right(S::LOG2_GRANULE);
        if index.wrapping_sub(GUARD) < self.span { Some(index) } else { None }
    }

    /// Whether `address` lies in the region, at whatever alignment.
    pub(crate) fn covers(&self, address: usize) -> bool {
        address.wrapping_sub(self.pointer(GUARD).addr()) < self.span << S::LOG2_GRANULE
    }

    /// Whether a byte of `[low, high)` lies in the region.
    pub(crate) fn meets(&self, low: usize, high: usize) -> bool {
        let start = self.pointer(GUARD).addr();
        start < high && low < start + (self.span << S::LOG2_GRANULE)
    }

    /// The index of the first granule.
    pub(crate) fn first(&self) -> usize {
        GUARD
    }

    /// The number of granules.
    pub(crate) fn span(&self) -> usize {
        self.span
    }

    /// The first granule of the maps.
    pub(crate) fn map_first(&self) -> usize {
        self.map_first
    }

    /// How many granules the maps take.
    pub(crate) fn map_span(&self) -> usize {
        self.map_span
    }

    /// The index after the last granule.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        GUARD + self.span
    }

    /// Whether the map's bit of `index` is set.
    ///
    /// # Safety
    /// `index ≤ end()`.
    #[inline]
    pub(crate) unsafe fn bit(&self, index: usize) -> bool {
        let word = self.map.wrapping_add(index / BITS);
        // SAFETY: an initialised word of the map (invariant).
        let bits = unsafe { word.read() };
        bits >> (index % BITS) & 1 != 0
    }

    /// The map's word that holds the bit of `index`.
    ///
    /// # Safety
    /// As [`bit`](Self::bit).
    pub(crate) unsafe fn map_word(&self, index: usize) -> usize {
        // SAFETY: an initialised word of the map (invariant).
        unsafe { self.map.wrapping_add(index / BITS).read() }
    }

    /// Sets the bits of a hole: of its first and of its last granule.
    ///
    /// # Safety
    /// Both are granules of this region.
    #[inline]
    pub(crate) unsafe fn set_ends(&self, first: usize, last: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.set(first) };
        // SAFETY: as above.
        unsafe { self.set(last) };
    }

    /// Clears the bits of a hole.
    ///
    /// # Safety
    /// As [`set_ends`](Self::set_ends).
    #[inline]
    pub(crate) unsafe fn clear_ends(&self, first: usize, last: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.clear(first) };
        // SAFETY: as above.
        unsafe { self.clear(last) };
    }

    /// Sets the bit of `index`.
    ///
    /// # Safety
    /// It is a granule of this region.
    #[inline]
    pub(crate) unsafe fn set(&self, index: usize) {
        // SAFETY: the map has a word for every granule of the region (invariant).
        unsafe { set_bit(self.map, index) };
    }

    /// Clears the bit of `index`.
    ///
    /// # Safety
    /// It is a granule of this region.
    #[inline]
    pub(crate) unsafe fn clear(&self, index: usize) {
        // SAFETY: the map has a word for every granule of the region (invariant).
        unsafe { clear_bit(self.map, index) };
    }

    /// Clears the bit of `index` if `clear`, without a branch.
    ///
    /// # Safety
    /// It is a granule of this region.
    #[inline]
    pub(crate) unsafe fn clear_if(&self, index: usize, clear: bool) {
        let word = self.map.wrapping_add(index / BITS);
        // SAFETY: an initialised word of the map (invariant).
        let bits = unsafe { word.read() };
        // SAFETY: as above.
        unsafe { word.write(bits & !(usize::from(clear) << (index % BITS))) };
    }

    /// The three words of the hole that begins at `index`: next, back, size. For a hole's granule only.
    #[inline]
    pub(crate) fn node(&self, index: usize) -> *mut S::Word {
        self.pointer(index).cast()
    }

    /// The last word of the hole that ends before `end`: its size again.
    #[inline]
    fn tail(&self, end: usize) -> *mut S::Word {
        self.pointer(end).cast::<S::Word>().wrapping_sub(1)
    }

    /// Writes the words of a hole with its links.
    ///
    /// # Safety
    /// `[index, index + size)` are granules of this region, of no block and of no other hole.
    #[inline]
    pub(crate) unsafe fn write_hole(&self, index: usize, size: usize, next: usize, back: S::Word) {
        let node = self.node(index);
        // SAFETY: the first word of the hole's memory, which the caller vouches for; a granule has four words.
        unsafe { node.write(S::Word::from_index(next)) };
        // SAFETY: the second word.
        unsafe { node.wrapping_add(1).write(back) };
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.write_size(index, size) };
    }

    /// Writes the two copies of a hole's size.
    ///
    /// # Safety
    /// As [`write_hole`](Self::write_hole).
    #[inline]
    pub(crate) unsafe fn write_size(&self, index: usize, size: usize) {
        step();
        // SAFETY: the third word of the hole's memory.
        unsafe { self.node(index).wrapping_add(2).write(S::Word::from_index(size)) };
        if cfg!(hectare_plant = "heap_tail_size") {
            return;
        }
        // SAFETY: the last word of the hole's memory, at the earliest its fourth.
        unsafe { self.tail(index + size).write(S::Word::from_index(size)) };
    }

    /// The size of the listed hole that begins at `index`.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    pub(crate) unsafe fn size_from(&self, index: usize) -> usize {
        step();
        // SAFETY: the third word of a hole, written by `write_size`.
        unsafe { self.node(index).wrapping_add(2).read() }.to_index()
    }

    /// The size of the listed hole that ends before `end`.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    pub(crate) unsafe fn size_before(&self, end: usize) -> usize {
        step();
        // SAFETY: the last word of a hole, written by `write_size`.
        unsafe { self.tail(end).read() }.to_index()
    }

    /// Marks `index` as the beginning of a block. For hardened heaps only.
    ///
    /// # Safety
    /// It is a granule of this region, whose heap is hardened.
    pub(crate) unsafe fn begin_block(&self, index: usize) {
        // SAFETY: a hardened heap's region has the second map.
        unsafe { set_bit(self.starts, index) };
    }

    /// Takes that mark away.
    ///
    /// # Safety
    /// As [`begin_block`](Self::begin_block).
    pub(crate) unsafe fn end_block(&self, index: usize) {
        // SAFETY: a hardened heap's region has the second map.
        unsafe { clear_bit(self.starts, index) };
    }

    /// Whether a block begins at `index`, and the first index after it at which a block, a hole or the map begins or the
    /// region ends, looking no further than `limit`. Linear in the words of the map between.
    ///
    /// # Safety
    /// `index` is a granule of this region, whose heap is hardened.
    pub(crate) unsafe fn block_at(&self, index: usize, limit: usize) -> Option<usize> {
        // SAFETY: a hardened heap's region has the second map, with a word for `index`.
        let begins = unsafe { self.starts.wrapping_add(index / BITS).read() } >> (index % BITS) & 1 != 0;
        if !begins {
            return None;
        }
        // The maps have no mark of their own, and after an extension they may lie right behind a block.
        let marks_end = index > self.map_first || cfg!(hectare_plant = "heap_map_unmarked");
        let behind = if marks_end { self.end() } else { self.map_first };
        let limit = limit.min(behind);
        let mut next = index + 1;
        while next < limit {
            // SAFETY: `next` is a granule of the region, so the first map has a word for it.
            let holes = unsafe { self.map.wrapping_add(next / BITS).read() };
            // SAFETY: as above, for the second map.
            let blocks = unsafe { self.starts.wrapping_add(next / BITS).read() };
            let bits = (holes | blocks) >> (next % BITS);
            if bits != 0 {
                return Some(limit.min(next + bits.trailing_zeros() as usize));
            }
            next = (next / BITS + 1) * BITS;
        }
        Some(limit)
    }
}

/// Sets bit `index` of the map at `map`.
///
/// # Safety
/// The map has an initialised word for it, which nothing else uses.
#[inline]
unsafe fn set_bit(map: *mut usize, index: usize) {
    let word = map.wrapping_add(index / BITS);
    // SAFETY: the caller vouches for the word.
    let bits = unsafe { word.read() };
    // SAFETY: as above.
    unsafe { word.write(bits | 1 << (index % BITS)) };
}

/// Clears bit `index` of the map at `map`.
///
/// # Safety
/// As [`set_bit`].
#[inline]
unsafe fn clear_bit(map: *mut usize, index: usize) {
    let word = map.wrapping_add(index / BITS);
    // SAFETY: the caller vouches for the word.
    let bits = unsafe { word.read() };
    // SAFETY: as above.
    unsafe { word.write(bits & !(1 << (index % BITS))) };
}
