//! One slab: a header with a bitmap behind the objects. The only code that reads and writes headers.
//!
//! ```text
//!  header    owner           the number of the cache; the header of a dead slab has 0
//!            start           offset of object 0: the colour
//!            next  prev      neighbours in the list of the slabs that are as full
//!            summary         bit w: word w of the bitmap is not 0
//!            carved          objects from this index on were never handed out: a new slab writes nothing but this header
//!            taken           objects handed out
//!            least           fewer taken objects than that: it belongs into another list
//!            bin             the list that the slab is in
//!  bitmap    bit i: object i is free
//! ```
//! Free objects are in no list of their own: their memory is not touched, so that a constructed object keeps its state,
//! and a write after free breaks no link. What runs over the end of the last object meets the owner first: the slab is
//! then nobody's, before a link of it is followed.
#![expect(unsafe_code, reason = "reads and writes slab headers")]

use core::ptr::NonNull;

use crate::geometry::{BITS, Geometry, HEADER_BYTES};
use crate::prefetch;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Header {
    owner: u32,
    start: u32,
    next: Option<Slab>,
    prev: Option<Slab>,
    summary: usize,
    carved: u16,
    taken: u16,
    least: u16,
    bin: u8,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES, "the geometry knows the size of the header");

/// A slab, by its header.
///
/// Invariants: the header was written by [`lay`](Self::lay) in memory that is valid for reads and writes for the whole
/// slab, and its frames were not given back since. Only the owner of the memory (who has `&mut` access to the cache, or
/// its lock) has and uses such values, one access at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slab(NonNull<Header>);

/// An object that may be handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) slab: Slab,
    pub(crate) index: usize,
    /// Never handed out since its slab was laid.
    pub(crate) fresh: bool,
}

impl Slab {
    /// Writes the header of a slab of which every object is free.
    ///
    /// # Safety
    /// (1) `base` is valid for reads and writes of `geometry.slab_bytes()` bytes, which nobody else uses; (2) it is
    /// aligned to a word; (3) `start` is a colour of the geometry.
    pub(crate) unsafe fn lay(base: NonNull<u8>, geometry: &Geometry, owner: u32, start: u32) -> Self {
        // SAFETY: (1); the header lies inside the slab (geometry).
        let header = unsafe { base.add(geometry.header) }.cast::<Header>();
        let words = geometry.words();
        let summary = low_bits(words);
        let fields =
            Header { next: None, prev: None, summary, owner, start, carved: 0, taken: 0, least: 0, bin: 0 };
        // SAFETY: (1); (2) and the header's offset make it aligned.
        unsafe { header.write(fields) };
        let this = Self(header);
        for word in 0..words {
            this.set_word(word, low_bits(geometry.count - word * BITS));
        }
        this
    }

    /// The slab whose memory begins at `base`, if its header says that it belongs to `owner`.
    ///
    /// # Safety
    /// `base` is valid for reads of a slab whose header lies at this offset, aligned to a word, and the place of its header
    /// initialised.
    #[inline(always)]
    pub(crate) unsafe fn at(base: NonNull<u8>, header: usize, owner: u32) -> Option<Self> {
        // SAFETY: the header's place lies inside the slab (caller).
        let this = Self(unsafe { base.add(header) }.cast::<Header>());
        if this.header().owner == owner { Some(this) } else { None }
    }

    /// Makes the header that of no cache: nothing is found there any more.
    pub(crate) fn kill(mut self) {
        self.header_mut().owner = 0;
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: invariant: a live header, which nobody writes to during `self`'s borrow.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: invariant: a live header, which nobody else accesses meanwhile.
        unsafe { self.0.as_mut() }
    }

    /// Where word `word` of the bitmap is.
    #[inline(always)]
    fn place(self, word: usize) -> NonNull<usize> {
        // SAFETY: the header is followed by the bitmap, inside the slab.
        let bitmap = unsafe { self.0.add(1) }.cast::<usize>();
        // SAFETY: callers name a word of the bitmap.
        unsafe { bitmap.add(word) }
    }

    /// Word `word` of the bitmap; the caller knows that the geometry has it.
    #[inline(always)]
    fn word(self, word: usize) -> usize {
        // SAFETY: `lay` wrote every word; nobody else accesses it meanwhile.
        unsafe { self.place(word).read() }
    }

    #[inline(always)]
    fn set_word(self, word: usize, bits: usize) {
        // SAFETY: a word of the bitmap, which is the owner's.
        unsafe { self.place(word).write(bits) };
    }

    /// The first byte of the slab.
    #[inline(always)]
    pub(crate) fn base(self, geometry: &Geometry) -> NonNull<u8> {
        // SAFETY: the header lies `header` bytes after the slab's first byte (`lay`, `at`).
        unsafe { self.0.cast::<u8>().sub(geometry.header) }
    }

    /// The first byte of object `index`, which is below the geometry's count.
    #[inline(always)]
    pub(crate) fn object(self, geometry: &Geometry, index: usize) -> NonNull<u8> {
        let offset = self.header().start as usize + index * geometry.stride;
        // SAFETY: the objects lie inside the slab whatever the colour (geometry).
        unsafe { self.base(geometry).add(offset) }
    }

    /// The object that begins at `address`, which lies in this slab.
    #[inline(always)]
    pub(crate) fn index_of(self, geometry: &Geometry, address: usize) -> Option<usize> {
        let first = self.base(geometry).addr().get() + self.header().start as usize;
        geometry.index_of(address.wrapping_sub(first))
    }

    /// Whether object `index`, below the geometry's count, is free.
    #[inline(always)]
    pub(crate) fn is_free(self, index: usize) -> bool {
        self.word(index / BITS) >> (index % BITS) & 1 != 0
    }

    /// The free object with the lowest index.
    #[inline]
    pub(crate) fn first_free(self) -> Option<Candidate> {
        let summary = self.header().summary;
        if summary == 0 {
            return None;
        }
        let word = summary.trailing_zeros() as usize;
        let index = word * BITS + self.word(word).trailing_zeros() as usize;
        Some(Candidate { slab: self, index, fresh: index >= self.carved() })
    }

    /// Some free object: which one follows from `random`.
    pub(crate) fn some_free(self, random: usize) -> Option<Candidate> {
        let summary = self.header().summary;
        if summary == 0 {
            return None;
        }
        // A set bit of a word, beginning the search at a random one.
        let pick = |bits: usize, from: usize| {
            #[expect(clippy::cast_possible_truncation, reason = "below the bits of a word")]
            let from = (from % BITS) as u32;
            (bits.rotate_right(from).trailing_zeros() + from) as usize % BITS
        };
        let word = pick(summary, random / BITS);
        let index = word * BITS + pick(self.word(word), random);
        Some(Candidate { slab: self, index, fresh: index >= self.carved() })
    }

    /// Hands object `index` out, which is free.
    #[inline]
    pub(crate) fn take(mut self, index: usize) {
        let (word, bit) = (index / BITS, 1 << (index % BITS));
        let bits = self.word(word) & !bit;
        self.set_word(word, bits);
        let header = self.header_mut();
        if bits == 0 {
            header.summary &= !(1 << word);
        }
        header.taken = header.taken.wrapping_add(1);
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 · 64")]
        let next = index as u16 + 1;
        header.carved = header.carved.max(next);
    }

    /// Takes object `index` back, which is handed out.
    #[inline(always)]
    pub(crate) fn give(mut self, index: usize) {
        let word = index / BITS;
        let bits = self.word(word) | 1 << (index % BITS);
        self.set_word(word, bits);
        let header = self.header_mut();
        header.summary |= 1 << word;
        header.taken = header.taken.wrapping_sub(1);
    }

    /// Takes object `index` back; `false` if it is not handed out.
    #[inline(always)]
    pub(crate) fn give_taken(mut self, index: usize) -> bool {
        let word = index / BITS;
        let (bits, bit) = (self.word(word), 1 << (index % BITS));
        if bits & bit != 0 && !cfg!(hectare_plant = "slab_double_free") {
            return false;
        }
        self.set_word(word, bits | bit);
        let header = self.header_mut();
        if bits == 0 {
            header.summary |= 1 << word;
        }
        header.taken = header.taken.wrapping_sub(1);
        true
    }

    /// Fills `slots` from the end with free objects, the lowest address last; how many.
    #[inline]
    pub(crate) fn take_batch(mut self, geometry: &Geometry, slots: &mut [Option<NonNull<u8>>]) -> usize {
        let first = self.object(geometry, 0);
        let wanted = slots.len();
        let mut places = slots.iter_mut().rev();
        let (mut summary, mut left, mut end) = (self.header().summary, wanted, 0);
        while summary != 0 && left > 0 {
            let word = summary.trailing_zeros() as usize;
            let mut bits = self.word(word);
            while bits != 0 {
                let Some(place) = places.next() else { break };
                let index = word * BITS + bits.trailing_zeros() as usize;
                // SAFETY: the objects lie inside the slab whatever the colour (geometry): `index` is one's.
                let object = unsafe { first.add(index * geometry.stride) };
                // Their users will write to them soon.
                prefetch::to_write(object);
                *place = Some(object);
                bits &= bits - 1;
                left -= 1;
                end = index + 1;
            }
            self.set_word(word, bits);
            if bits == 0 {
                summary &= summary - 1;
            }
        }
        let header = self.header_mut();
        header.summary = summary;
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 · 64")]
        {
            header.taken = header.taken.wrapping_add((wanted - left) as u16);
            header.carved = header.carved.max(end as u16);
        }
        wanted - left
    }

    /// Hands out up to `limit` free objects of the word with the lowest one: their bits, and the word's number.
    #[inline]
    pub(crate) fn take_many(mut self, limit: usize) -> (usize, usize) {
        let summary = self.header().summary;
        if summary == 0 || limit == 0 {
            return (0, 0);
        }
        let word = summary.trailing_zeros() as usize;
        let bits = self.word(word);
        let mut rest = bits;
        let mut count = 0;
        while rest != 0 && count < limit {
            rest &= rest - 1;
            count += 1;
        }
        let taken = bits & !rest;
        self.set_word(word, rest);
        let header = self.header_mut();
        if rest == 0 {
            header.summary &= !(1 << word);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 · 64")]
        {
            header.taken = header.taken.wrapping_add(count as u16);
            header.carved = header.carved.max((word * BITS + (BITS - taken.leading_zeros() as usize)) as u16);
        }
        (word, taken)
    }

    /// Objects handed out.
    #[inline(always)]
    pub(crate) fn taken(self) -> usize {
        usize::from(self.header().taken)
    }

    /// Objects from this index on were never handed out.
    #[inline(always)]
    pub(crate) fn carved(self) -> usize {
        usize::from(self.header().carved)
    }

    pub(crate) fn next(self) -> Option<Self> {
        self.header().next
    }

    pub(crate) fn set_next(mut self, next: Option<Self>) {
        self.header_mut().next = next;
    }

    pub(crate) fn prev(self) -> Option<Self> {
        self.header().prev
    }

    pub(crate) fn set_prev(mut self, prev: Option<Self>) {
        self.header_mut().prev = prev;
    }

    #[inline(always)]
    pub(crate) fn bin(self) -> u8 {
        self.header().bin
    }

    pub(crate) fn set_bin(mut self, bin: u8, least: usize) {
        let header = self.header_mut();
        header.bin = bin;
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 · 64")]
        {
            header.least = least as u16;
        }
    }

    /// With fewer objects handed out than that, the slab belongs into another bin.
    #[inline(always)]
    pub(crate) fn least(self) -> usize {
        usize::from(self.header().least)
    }

    pub(crate) fn owner(self) -> u32 {
        self.header().owner
    }

    /// Whether summary, bitmap, count and watermark agree.
    pub(crate) fn is_consistent(self, geometry: &Geometry) -> bool {
        let mut free = 0;
        for word in 0..geometry.words() {
            let bits = self.word(word);
            free += bits.count_ones() as usize;
            let valid = low_bits(geometry.count - word * BITS);
            if (bits != 0) != (self.header().summary >> word & 1 != 0) || bits & !valid != 0 {
                return false;
            }
        }
        let untouched = (self.carved()..geometry.count).all(|index| self.is_free(index));
        free + self.taken() == geometry.count && untouched && self.carved() <= geometry.count
    }

    /// Where the header is: a number for reports.
    pub(crate) fn address(self) -> u64 {
        self.0.addr().get() as u64
    }
}

/// A word with the lowest `count` bits set; all of them for more than a word has.
const fn low_bits(count: usize) -> usize {
    if count >= BITS { usize::MAX } else { (1 << count) - 1 }
}
