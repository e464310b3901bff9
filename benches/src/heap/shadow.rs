//! Which bytes are handed out, as seen from outside: one bit for each 16 bytes, in leaves made on demand.
//!
//! ```text
//!   address  ─┬─ / 1 MiB ──> leaf (8 KiB, made at the first block in it)
//!             └─ / 16    ──> bit in the leaf: 1 = part of a live block
//! ```
//! Every block begins at a multiple of 16 (checked before it comes here), so two blocks that do not overlap never share
//! a bit: the map is exact.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// Bytes that one bit stands for.
const GRANULE: usize = 16;
const LEAF_WORDS: usize = 1024;
const LEAF_GRANULES: usize = LEAF_WORDS * 64;

/// The map of live blocks.
#[derive(Debug, Default)]
pub struct Shadow {
    leaves: BTreeMap<usize, Box<[u64; LEAF_WORDS]>>,
}

/// A new block overlaps a live one: at this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub usize);

/// The holes of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Bytes in all holes.
    pub free: u64,
    /// Bytes in the largest.
    pub largest: u64,
    /// Bytes in those below 2 MiB.
    pub below_2m: u64,
    /// How many there are.
    pub count: u64,
}

impl Holes {
    fn add(&mut self, granules: usize) {
        // A hole below 64 bytes is a header and a rounding more often than not.
        let bytes = (granules * GRANULE) as u64;
        if bytes >= 64 {
            self.free += bytes;
            self.count += 1;
            self.largest = self.largest.max(bytes);
            self.below_2m += if bytes < 2 << 20 { bytes } else { 0 };
        }
    }

    /// 1 − largest / free; 0 if nothing is free.
    #[must_use]
    pub fn external(&self) -> f64 {
        if self.free == 0 { 0.0 } else { 1.0 - self.largest as f64 / self.free as f64 }
    }

    /// The share of the free bytes that lies in holes too small for 2 MiB; 0 if nothing is free.
    #[must_use]
    pub fn unusable_2m(&self) -> f64 {
        if self.free == 0 { 0.0 } else { self.below_2m as f64 / self.free as f64 }
    }
}

impl Shadow {
    /// Enters a block.
    ///
    /// # Errors
    /// If a byte of it belongs to a live block; then nothing is entered.
    pub fn insert(&mut self, address: usize, size: usize) -> Result<(), Overlap> {
        let (first, last) = granules(address, size);
        let mut overlap = None;
        self.words(first, last, |word, mask, at| {
            if *word & mask != 0 && overlap.is_none() && !cfg!(hectare_plant = "shadow_overlap") {
                overlap = Some((at + (*word & mask).trailing_zeros() as usize) * GRANULE);
            }
        });
        match overlap {
            Some(at) => Err(Overlap(at)),
            None => {
                self.words(first, last, |word, mask, _| *word |= mask);
                Ok(())
            }
        }
    }

    /// Removes a block.
    pub fn remove(&mut self, address: usize, size: usize) {
        let (first, last) = granules(address, size);
        self.words(first, last, |word, mask, _| *word &= !mask);
    }

    /// The holes between `start` and `end` (multiples of 1 KiB, or rounded inwards).
    #[must_use]
    pub fn holes(&self, start: usize, end: usize) -> Holes {
        let (mut holes, mut run) = (Holes::default(), 0);
        self.each_word(start, end, |word| {
            if word == 0 {
                run += 64;
                return;
            }
            let (mut rest, mut left) = (word, 64);
            while left > 0 {
                let zeros = (rest.trailing_zeros() as usize).min(left);
                run += zeros;
                left -= zeros;
                if left == 0 {
                    break;
                }
                holes.add(run);
                run = 0;
                rest = rest.checked_shr(zeros as u32).unwrap_or(0);
                let ones = (rest.trailing_ones() as usize).min(left);
                left -= ones;
                rest = rest.checked_shr(ones as u32).unwrap_or(0);
            }
        });
        holes.add(run);
        holes
    }

    /// The share of each column of `column` bytes (a multiple of 1 KiB) from `start` that is live, in 255ths.
    #[must_use]
    pub fn density(&self, start: usize, column: usize, columns: usize) -> Vec<u8> {
        let words = column / (64 * GRANULE);
        let (mut row, mut bits, mut seen) = (Vec::with_capacity(columns), 0, 0);
        self.each_word(start, start + column * columns, |word| {
            bits += word.count_ones() as usize;
            seen += 1;
            if seen == words {
                row.push((bits * 255).div_ceil(words * 64) as u8);
                (bits, seen) = (0, 0);
            }
        });
        row
    }

    fn each_word(&self, start: usize, end: usize, mut visit: impl FnMut(u64)) {
        let (mut word, last) = (start / GRANULE / 64, end / GRANULE / 64);
        while word < last {
            let (index, within) = (word / LEAF_WORDS, word % LEAF_WORDS);
            let stop = last.min((index + 1) * LEAF_WORDS);
            match self.leaves.get(&index) {
                Some(leaf) => leaf[within..within + (stop - word)].iter().for_each(|&w| visit(w)),
                None => (word..stop).for_each(|_| visit(0)),
            }
            word = stop;
        }
    }

    /// Calls `visit` with each word that holds granules from `first` to `last`, the mask of those, and the word's
    /// first granule.
    fn words(&mut self, first: usize, last: usize, mut visit: impl FnMut(&mut u64, u64, usize)) {
        let mut at = first;
        while at <= last {
            let leaf = self.leaves.entry(at / LEAF_GRANULES).or_insert_with(|| Box::new([0; LEAF_WORDS]));
            let leaf_last = last.min(at / LEAF_GRANULES * LEAF_GRANULES + LEAF_GRANULES - 1);
            while at <= leaf_last {
                let word_first = at / 64 * 64;
                let to = leaf_last.min(word_first + 63);
                let mask = (u64::MAX >> (63 - (to - word_first))) & (u64::MAX << (at - word_first));
                visit(&mut leaf[at % LEAF_GRANULES / 64], mask, word_first);
                at = to + 1;
            }
        }
    }
}

fn granules(address: usize, size: usize) -> (usize, usize) {
    (address / GRANULE, (address + size - 1) / GRANULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_overlap_is_seen_and_nothing_else() {
        for (at, size) in [(0, 1), (16, 4096), (1 << 20, 3 << 20), ((1 << 20) - 16, 40), (48, 1000)] {
            let mut s = Shadow::default();
            s.insert(at, size).unwrap();
            let end = at + size.next_multiple_of(16);
            s.insert(end, 100).unwrap();
            if at >= 16 {
                s.insert(at - 16, 16).unwrap();
            }
            assert_eq!(s.insert(at, 1), Err(Overlap(at)));
            assert_eq!(s.insert(end - 16, 1), Err(Overlap(end - 16)));
            s.remove(at, size);
            s.insert(at, size).unwrap();
        }
    }

    #[test]
    fn holes_and_density_agree_with_a_count_by_hand() {
        let base = 7 << 20;
        let mut s = Shadow::default();
        s.insert(base + 1024, 1024).unwrap();
        s.insert(base + 2048 + 64, 16).unwrap();
        s.insert(base + 2048 + 96, 4096).unwrap();
        // 1024 | 64 | 16 (ignored) | to the end of 4 MiB
        let rest = (4 << 20) - (2048 + 96 + 4096);
        let holes = s.holes(base, base + (4 << 20));
        assert_eq!(holes, Holes { free: 1024 + 64 + rest, largest: rest, below_2m: 1024 + 64, count: 3 });
        assert!((holes.external() - (1.0 - rest as f64 / (1088 + rest) as f64)).abs() < 1e-12);
        // The third kilobyte: 1 granule and 58 of its 64.
        assert_eq!(s.density(base, 1024, 3), [0, 255, (59 * 255_usize).div_ceil(64) as u8]);
    }
}
