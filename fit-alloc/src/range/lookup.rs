//! From the start of a block to its node: chained buckets, in the links that blocks do not need otherwise.
#![forbid(unsafe_code)]

use super::{NIL, Tables, Unit, View};

/// 2^64 divided by the golden ratio (Knuth, *The Art of Computer Programming*, vol. 3, section 6.4): multiplying by it
/// spreads equally spaced starts evenly over the upper bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn bucket<U: Unit>(buckets: &[u32], start: U) -> usize {
    let hash: u64 = start.into();
    let upper = hash.wrapping_mul(SPREAD) >> 32;
    // Maps 32 bits evenly onto the buckets, whatever their number.
    let place = (upper * (buckets.len() as u64 & 0xFFFF_FFFF)) >> 32;
    usize::try_from(place).unwrap_or(0)
}

impl<U: Unit> View<'_, U> {
    /// The block that starts there, if there are buckets. O(1) expected.
    pub(crate) fn lookup(self, start: U) -> u32 {
        let mut block = self.buckets.get(bucket(self.buckets, start)).copied().unwrap_or(NIL);
        while block != NIL && self.at(block).start != start {
            block = self.at(block).older;
        }
        block
    }
}

impl<U: Unit> Tables<'_, U> {
    /// Makes a block findable by its start. O(1).
    #[inline]
    pub(crate) fn enter(&mut self, block: u32) {
        if self.buckets.is_empty() {
            return;
        }
        let start = self.at(block).start;
        let place = bucket(self.buckets, start);
        let first = self.buckets.get(place).copied().unwrap_or(NIL);
        self.push(first, block);
        self.set_bucket(place, block);
    }

    /// The opposite of [`enter`](Self::enter). O(1).
    #[inline]
    pub(crate) fn leave(&mut self, block: u32) {
        if self.buckets.is_empty() {
            return;
        }
        let start = self.at(block).start;
        let place = bucket(self.buckets, start);
        if let Some(first) = self.pull(block) {
            self.set_bucket(place, first);
        }
    }

    #[inline]
    fn set_bucket(&mut self, place: usize, first: u32) {
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket = first;
        }
    }

    /// Enters every block anew, after the number of buckets changed.
    #[cfg(feature = "alloc")]
    pub(crate) fn fill_buckets(&mut self) {
        self.buckets.fill(NIL);
        for index in 0..self.nodes.len() {
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32 nodes")]
            let index = index as u32;
            if !self.at(index).is_hole() {
                self.enter(index);
            }
        }
    }
}
