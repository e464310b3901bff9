//! Raw memory for allocators under test: what was not given away is watched by canaries.
//!
//! ```text
//!            offset 0 (aligned)                                       size
//!   ┌────────┬────────┬──────────────┬───────────┬──────────┬─────────┬────────┐
//!   │ canary │ canary │ given region │  canary   │  region  │ canary  │ canary │
//!   └────────┴────────┴──────────────┴───────────┴──────────┴─────────┴────────┘
//!    guard                                                             guard
//! ```
//! The memory is never behind a `Box` or a `&mut` while an allocator has pointers into it: such a reference would
//! end their right to it.
#![expect(unsafe_code, reason = "owns raw memory")]

use core::iter::once;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use thiserror::Error;

/// Canary bytes before and after, in bytes.
const GUARD: usize = 256;

/// A canary was overwritten: something wrote outside the regions that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a write outside every region, at offset {offset} of the arena")]
pub struct Damage {
    /// From the arena's offset 0; negative in the guard before it.
    pub offset: isize,
}

/// Memory from which regions are given away.
///
/// # Invariants
/// * `memory` is a live allocation of `layout`: `lead` guard bytes, `size` bytes, `GUARD` guard bytes
/// * the `given` ranges are disjoint, not empty and below `size`
/// * every byte outside them is initialised, and nobody else may write to it
#[derive(Debug)]
pub struct Arena {
    memory: NonNull<u8>,
    layout: Layout,
    lead: usize,
    size: usize,
    given: Vec<Range<usize>>,
}

/// Canaries repeat after so many bytes.
const PERIOD: usize = 1 << 16;

/// What stands at each offset of the whole allocation, modulo the period. As a table, to be compared in one go.
static CANARIES: [u8; PERIOD] = {
    let mut bytes = [0; PERIOD];
    let mut offset = 0;
    while offset < PERIOD {
        bytes[offset] = (offset * 0x9e35).to_le_bytes()[1] | 1;
        offset += 1;
    }
    bytes
};

/// What should stand from `offset` on, for at most `length` bytes.
fn canaries(offset: usize, length: usize) -> &'static [u8] {
    let rest = &CANARIES[offset % PERIOD..];
    &rest[..length.min(rest.len())]
}

impl Arena {
    /// An arena of `size` bytes whose offset 0 is a multiple of `align`.
    ///
    /// # Panics
    /// `align` is no power of two, or there is not so much memory.
    #[must_use]
    pub fn new(size: usize, align: usize) -> Self {
        let lead = GUARD.max(align);
        let layout = Layout::from_size_align(lead + size + GUARD, lead).expect("the size of an arena");
        // SAFETY: the layout has at least the guards' size.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let mut arena = Self { memory, layout, lead, size, given: Vec::new() };
        arena.fill(0..layout.size());
        arena
    }

    /// An arena of which the bytes from `misalign` on, `size` of them, are one region, and that region.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn with_region(size: usize, align: usize, misalign: usize) -> (Self, NonNull<[u8]>) {
        let mut arena = Self::new(size + misalign, align);
        let region = arena.give(misalign..misalign + size);
        (arena, region)
    }

    /// How many bytes can be given away.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The ranges that are given away, in the order in which they were given.
    #[must_use]
    pub fn given(&self) -> &[Range<usize>] {
        &self.given
    }

    /// Whether a range is free to be given away: not empty, inside the arena, and no byte of it given.
    #[must_use]
    pub fn is_free(&self, range: &Range<usize>) -> bool {
        let apart = |given: &Range<usize>| given.end <= range.start || range.end <= given.start;
        range.start < range.end && range.end <= self.size && self.given.iter().all(apart)
    }

    /// Gives a range away. Its contents are unspecified.
    ///
    /// # Panics
    /// The range is not [free](Self::is_free).
    pub fn give(&mut self, range: Range<usize>) -> NonNull<[u8]> {
        assert!(self.is_free(&range), "{range:?} is not free");
        self.given.push(range.clone());
        self.pointer(range)
    }

    /// Makes the region number `index` of [`given`](Self::given) larger or smaller. Bytes that leave it become canaries.
    ///
    /// # Panics
    /// There is no such region, the new range is empty or overlaps another region, or begins or ends outside.
    pub fn reshape(&mut self, index: usize, new: Range<usize>) -> NonNull<[u8]> {
        let old = self.given.swap_remove(index);
        assert!(self.is_free(&new), "{new:?} is not free");
        self.given.push(new.clone());
        let last = self.given.len() - 1;
        self.given.swap(index, last);
        self.retire(old.start..old.end.min(new.start));
        self.retire(old.start.max(new.end)..old.end);
        self.pointer(new)
    }

    /// Takes the region number `index` of [`given`](Self::given) back.
    ///
    /// # Panics
    /// There is no such region.
    pub fn take_back(&mut self, index: usize) {
        let old = self.given.remove(index);
        self.retire(old);
    }

    /// The bytes of a range.
    ///
    /// # Panics
    /// The range is not inside the arena.
    #[must_use]
    pub fn pointer(&self, range: Range<usize>) -> NonNull<[u8]> {
        assert!(range.start <= range.end && range.end <= self.size);
        // SAFETY: lead + start ≤ lead + size, which is inside the allocation.
        let start = unsafe { self.memory.add(self.lead + range.start) };
        NonNull::slice_from_raw_parts(start, range.end - range.start)
    }

    /// Whether `length` bytes from `address` lie in one given region.
    #[must_use]
    pub fn contains(&self, address: usize, length: usize) -> bool {
        let Some(start) = address.checked_sub(self.memory.addr().get() + self.lead) else { return false };
        let Some(end) = start.checked_add(length) else { return false };
        self.given.iter().any(|given| given.start <= start && end <= given.end)
    }

    /// Whether all canaries live. O(size).
    ///
    /// # Errors
    /// The first byte that does not.
    pub fn check(&self) -> Result<(), Damage> {
        let mut given: Vec<_> =
            self.given.iter().map(|given| given.start + self.lead..given.end + self.lead).collect();
        given.sort_by_key(|given| given.start);
        let mut from = 0;
        for stop in given.into_iter().chain(once(self.layout.size()..self.layout.size())) {
            // SAFETY: the bytes before `stop` are inside the allocation.
            let start = unsafe { self.memory.add(from) };
            // SAFETY: (1) the bytes from there to `stop.start` are inside the allocation and initialised (third
            // invariant); (2) only this arena writes to them, and it does not while `found` lives.
            let mut found = unsafe { slice::from_raw_parts(start.as_ptr(), stop.start - from) };
            while !found.is_empty() {
                let right = canaries(from, found.len());
                let (part, rest) = found.split_at(right.len());
                if part != right {
                    let at = part.iter().zip(right).take_while(|(found, right)| found == right).count();
                    return Err(Damage { offset: (from + at).wrapping_sub(self.lead).cast_signed() });
                }
                (from, found) = (from + right.len(), rest);
            }
            from = stop.end;
        }
        Ok(())
    }

    /// Makes the free ones of these bytes canaries again.
    fn retire(&mut self, range: Range<usize>) {
        if range.start < range.end {
            self.fill(range.start + self.lead..range.end + self.lead);
        }
    }

    /// Writes canaries to a range of the whole allocation.
    fn fill(&mut self, mut range: Range<usize>) {
        while !range.is_empty() {
            let right = canaries(range.start, range.len());
            // SAFETY: callers name offsets inside the allocation.
            let start = unsafe { self.memory.add(range.start) };
            // SAFETY: (1) as many bytes are inside the allocation, and given to nobody (callers' ranges); (2) a static
            // table lies elsewhere.
            unsafe { start.copy_from_nonoverlapping(NonNull::from(right).cast(), right.len()) };
            range.start += right.len();
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: first invariant; the arena ends here.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

// SAFETY: the arena owns its memory, and and its address does not change when it is moved.
unsafe impl Send for Arena {}
// SAFETY: methods that take `&self` write nothing, and read only bytes that nobody else may write to.
unsafe impl Sync for Arena {}

#[cfg(test)]
mod tests;
