//! The slabs of one cache, in lists by how full they are.
//!
//! ```text
//!  full    ¾ … full    ½ … ¾    ¼ … ½    … ¼      empty
//!   0         1          2        3        4         5        taken from 1 first, then 2, …
//! ```
//! Taking from the fullest lets the others run empty (Bonwick 1994, section 3.2), so that their frames can go back.
//! Every operation is O(1): a slab moves at most once, and the first free object is found in two words.
#![forbid(unsafe_code)]

use core::ptr::NonNull;

use hectare_core::{AllocError, FrameSource, FreeError, PhysWindow, Violation};

use crate::geometry::{BITS, Geometry};
use crate::memory::Memory;
use crate::owner;
use crate::slab::{Candidate, Slab};

const FULL: u8 = 0;
const EMPTY: u8 = 5;
const LISTS: usize = 6;

/// The slabs of one cache.
///
/// Invariants:
/// * L1: each slab is in the list of its bin, linked both ways, and its header names this cache;
/// * L2: a slab's bin follows from how many of its objects are taken;
/// * L3: `slabs`, `empty` and `taken` are the sums over all lists;
/// * L4: each slab's summary, bitmap, count and watermark agree.
#[derive(Debug)]
pub(crate) struct Slabs {
    heads: [Option<Slab>; LISTS],
    slabs: usize,
    empty: usize,
    taken: usize,
    /// The number in the headers; 0 until the first slab comes.
    pub(crate) owner: u32,
    /// Slabs laid so far: the next colour.
    laid: u32,
}

impl Slabs {
    pub(crate) const NONE: Self =
        Self { heads: [None; LISTS], slabs: 0, empty: 0, taken: 0, owner: 0, laid: 0 };

    pub(crate) const fn slabs(&self) -> usize {
        self.slabs
    }

    pub(crate) const fn empty(&self) -> usize {
        self.empty
    }

    pub(crate) const fn taken(&self) -> usize {
        self.taken
    }

    /// Free objects in all slabs.
    pub(crate) const fn free(&self, geometry: &Geometry) -> usize {
        self.slabs * geometry.count - self.taken
    }

    /// The list of a slab of which so many objects are taken.
    const fn bin(taken: usize, count: usize) -> u8 {
        let free = count - taken;
        if free == 0 {
            FULL
        } else if taken == 0 {
            EMPTY
        } else if cfg!(hectare_plant = "slab_emptiest_first") {
            if free * 4 <= count { 4 } else { 1 }
        } else if free * 4 <= count {
            1
        } else if free * 2 <= count {
            2
        } else if free * 4 <= count * 3 {
            3
        } else {
            4
        }
    }

    /// The fewest objects that are taken of a slab in this bin.
    const fn least(bin: u8, count: usize) -> usize {
        match bin {
            EMPTY => 0,
            _ if cfg!(hectare_plant = "slab_emptiest_first") => count,
            FULL => count,
            1 => count - count / 4,
            2 => count - count / 2,
            3 => count - count * 3 / 4,
            _ => 1,
        }
    }

    /// Takes in a slab that was just laid.
    fn add(&mut self, geometry: &Geometry, slab: Slab) {
        self.push(slab, EMPTY, geometry.count);
        self.slabs += 1;
        self.empty += 1;
        self.laid = self.laid.wrapping_add(1);
    }

    /// Takes an empty slab out, if there is one.
    pub(crate) fn remove_empty(&mut self) -> Option<Slab> {
        let slab = *self.heads.get(usize::from(EMPTY))?;
        let slab = slab?;
        self.unlink(slab);
        self.slabs -= 1;
        self.empty -= 1;
        Some(slab)
    }

    /// The slab to take from: of the fullest that are not full, the one that changed last.
    #[inline]
    fn fullest(&self) -> Option<Slab> {
        self.heads.iter().skip(1).find_map(|head| *head)
    }

    /// The object to hand out next; [`take`](Self::take) does it.
    #[inline]
    pub(crate) fn candidate(&self) -> Option<Candidate> {
        self.fullest()?.first_free()
    }

    /// Some free object of that slab.
    pub(crate) fn random_candidate(&self, random: usize) -> Option<Candidate> {
        self.fullest()?.some_free(random)
    }

    /// Lays one more slab, filled with `poison` before.
    #[cold]
    pub(crate) fn grow<S: FrameSource, W: PhysWindow>(
        &mut self,
        geometry: &Geometry,
        memory: &mut Memory<S, W>,
        poison: Option<u8>,
    ) -> Result<(), AllocError> {
        if self.owner == 0 {
            self.owner = owner::next();
        }
        let slab = memory.lay(geometry, self.owner, geometry.colour(self.laid), poison)?;
        self.add(geometry, slab);
        Ok(())
    }

    /// Lays `count` more slabs in one run of frames, or else one. The slabs are a power of two of bytes long, and the source
    /// takes parts of runs back.
    #[cold]
    pub(crate) fn grow_by<S: FrameSource, W: PhysWindow>(
        &mut self,
        geometry: &Geometry,
        memory: &mut Memory<S, W>,
        poison: Option<u8>,
        count: u32,
    ) -> Result<(), AllocError> {
        if count > 1 {
            if self.owner == 0 {
                self.owner = owner::next();
            }
            let (owner, laid) = (self.owner, self.laid);
            let colour = |number| geometry.colour(laid.wrapping_add(number));
            // The lowest is the first of the list.
            if memory
                .lay_many(geometry, owner, colour, poison, count, |slab| self.add(geometry, slab))
                .is_ok()
            {
                return Ok(());
            }
        }
        self.grow(geometry, memory, poison)
    }

    /// Whether the slab's neighbours in its list name it, as far as its links can be followed.
    pub(crate) fn is_linked(&self, slab: Slab) -> bool {
        let head = self.heads.get(usize::from(slab.bin())).copied().flatten();
        match slab.prev() {
            None => head == Some(slab),
            Some(prev) => head.is_some() && prev.next() == Some(slab),
        }
    }

    /// Hands a candidate out.
    #[inline]
    pub(crate) fn take(&mut self, geometry: &Geometry, candidate: Candidate) -> NonNull<u8> {
        candidate.slab.take(candidate.index);
        self.taken += 1;
        self.rebin(geometry.count, candidate.slab);
        candidate.slab.object(geometry, candidate.index)
    }

    /// Hands out up to `limit` objects of one slab; `each` gets them, in the order of their addresses. How many.
    #[inline]
    pub(crate) fn take_many(
        &mut self,
        geometry: &Geometry,
        limit: usize,
        mut each: impl FnMut(NonNull<u8>),
    ) -> usize {
        let Some(slab) = self.fullest() else { return 0 };
        let mut count = 0;
        while count < limit {
            let (word, mut bits) = slab.take_many(limit - count);
            if bits == 0 {
                break;
            }
            while bits != 0 {
                each(slab.object(geometry, word * BITS + bits.trailing_zeros() as usize));
                bits &= bits - 1;
                count += 1;
            }
        }
        self.taken += count;
        self.rebin(geometry.count, slab);
        count
    }

    /// Fills `slots` from the start with free objects, of the fullest slabs first, the lowest address of each last; how
    /// many.
    pub(crate) fn take_batch(&mut self, geometry: &Geometry, slots: &mut [Option<NonNull<u8>>]) -> usize {
        let wanted = slots.len();
        let mut rest = &mut slots[..];
        while let Some(slab) = self.fullest() {
            let count = slab.take_batch(geometry, rest);
            self.taken += count;
            self.rebin(geometry.count, slab);
            let left = rest.len() - count;
            if left == 0 || count == 0 {
                rest = rest.get_mut(..left).unwrap_or(&mut []);
                break;
            }
            rest = rest.get_mut(..left).unwrap_or(&mut []);
        }
        let left = rest.len();
        slots.copy_within(left.., 0);
        wanted - left
    }

    /// Takes back what lies at these addresses, as far as objects of these slabs that are handed out do; how many do not.
    /// `find` gives the slab that an address lies in.
    ///
    /// Where the next object lies cannot be foretold: so what is done for each is the same, without a branch on it, and a
    /// slab is looked at again only when it leaves its bin. Not inlined, so that the loop has all registers.
    #[inline(never)]
    pub(crate) fn give_batch(
        &mut self,
        geometry: &Geometry,
        blocks: &[Option<NonNull<u8>>],
        find: impl Fn(usize) -> Option<Slab>,
    ) -> u64 {
        // A copy, so that nothing of it is read again after each write to a slab.
        let geometry = *geometry;
        let mut given = 0;
        for block in blocks.iter().flatten() {
            let address = block.addr().get();
            let Some(slab) = find(address) else { continue };
            let Some(index) = slab.index_of(&geometry, address) else { continue };
            if slab.give_taken(index) {
                given += 1;
                if slab.taken() < slab.least() {
                    self.leaves_bin(geometry.count, slab);
                }
            }
        }
        self.taken -= given;
        (blocks.len() - given) as u64
    }

    /// Out of line, so that the loop above keeps its registers.
    #[inline(never)]
    fn leaves_bin(&mut self, count: usize, slab: Slab) {
        self.rebin(count, slab);
    }

    /// The index of the object of `slab` that begins at `address`, if that object is handed out.
    #[inline]
    pub(crate) fn taken_at(slab: Slab, geometry: &Geometry, address: usize) -> Result<usize, FreeError> {
        let index = slab.index_of(geometry, address).ok_or(FreeError::Misaligned)?;
        let free = slab.is_free(index) && !cfg!(hectare_plant = "slab_double_free");
        if free { Err(FreeError::NotAllocated) } else { Ok(index) }
    }

    /// Takes back object `index` of `slab`, which is handed out.
    #[inline]
    pub(crate) fn give(&mut self, geometry: &Geometry, slab: Slab, index: usize) {
        slab.give(index);
        self.taken -= 1;
        self.rebin(geometry.count, slab);
    }

    #[inline]
    fn rebin(&mut self, count: usize, slab: Slab) {
        let (old, new) = (slab.bin(), Self::bin(slab.taken(), count));
        if old != new {
            self.unlink(slab);
            self.push(slab, new, count);
            self.empty = self.empty + usize::from(new == EMPTY) - usize::from(old == EMPTY);
        }
    }

    fn push(&mut self, slab: Slab, bin: u8, count: usize) {
        let Some(head) = self.heads.get_mut(usize::from(bin)) else { return };
        slab.set_bin(bin, Self::least(bin, count));
        slab.set_prev(None);
        slab.set_next(*head);
        if let Some(next) = *head {
            next.set_prev(Some(slab));
        }
        *head = Some(slab);
    }

    fn unlink(&mut self, slab: Slab) {
        let (prev, next) = (slab.prev(), slab.next());
        match (prev, self.heads.get_mut(usize::from(slab.bin()))) {
            (Some(prev), _) => prev.set_next(next),
            (None, Some(head)) => *head = next,
            (None, None) => {}
        }
        if let Some(next) = next {
            next.set_prev(prev);
        }
    }

    /// Checks L1 to L4. O(slabs · objects).
    pub(crate) fn check(&self, geometry: &Geometry) -> Result<(), Violation> {
        let (mut slabs, mut taken, mut empty) = (0, 0, 0);
        for (bin, head) in self.heads.iter().enumerate() {
            let mut prev = None;
            for slab in core::iter::successors(*head, |slab| slab.next()) {
                let at = slab.address();
                Violation::unless(slab.owner() == self.owner, "L1: a slab names its cache", at)?;
                Violation::unless(slab.prev() == prev, "L1: a slab is linked both ways", at)?;
                Violation::unless(
                    usize::from(slab.bin()) == bin,
                    "L1: a slab is in the list of its bin",
                    at,
                )?;
                Violation::unless(slab.is_consistent(geometry), "L4: bitmap and counts agree", at)?;
                let right = Self::bin(slab.taken(), geometry.count);
                let least = slab.least() == Self::least(right, geometry.count);
                Violation::unless(slab.bin() == right && least, "L2: the bin says how full a slab is", at)?;
                slabs += 1;
                taken += slab.taken();
                empty += usize::from(slab.taken() == 0);
                Violation::unless(slabs <= self.slabs, "L3: no more slabs than counted", at)?;
                prev = Some(slab);
            }
        }
        let sums = (slabs, taken, empty) == (self.slabs, self.taken, self.empty);
        Violation::unless(sums, "L3: the sums are right", slabs as u64)
    }
}
