//! Which units are handed out, as seen from outside: one bit each.
//!
//! ```text
//!  units    0 . . . . . . . . 63 | 64 . . .        bit set: in a live block
//!  words    [0…0111100000111111] [0…0000001] …     gaps are runs of clear bits, counted a word at a time
//! ```
#![forbid(unsafe_code)]

const BITS: u64 = 64;

/// A bit for each unit of a space.
#[derive(Debug)]
pub(super) struct Occupied {
    words: Vec<u64>,
    units: u64,
}

impl Occupied {
    /// Nothing is.
    pub(super) fn new(units: u32) -> Self {
        Self { words: vec![0; (u64::from(units) / BITS + 1) as usize], units: units.into() }
    }

    /// Enters a block; false, and nothing is entered, if a unit of it is in a live one or outside the space.
    pub(super) fn insert(&mut self, start: u64, length: u32) -> bool {
        if start > self.units || u64::from(length) > self.units - start {
            return false;
        }
        let mut met = 0;
        self.each(start, length, |word, mask| met |= *word & mask);
        if met == 0 {
            self.each(start, length, |word, mask| *word |= mask);
        }
        met == 0
    }

    /// Removes a block that was entered.
    pub(super) fn remove(&mut self, start: u64, length: u32) {
        self.each(start, length, |word, mask| *word &= !mask);
    }

    /// The highest unit of a block, and one.
    pub(super) fn top(&self) -> u64 {
        let last = self.words.iter().rposition(|word| *word != 0);
        last.map_or(0, |index| (index as u64 + 1) * BITS - u64::from(self.words[index].leading_zeros()))
    }

    /// Whether so many units lie free together.
    pub(super) fn has_gap(&self, length: u32) -> bool {
        let mut found = false;
        self.gaps(self.units, |gap| {
            found = gap >= length.into();
            !found
        });
        found
    }

    /// Calls `each` with the length of each gap below `end`, until it returns false.
    pub(super) fn gaps(&self, end: u64, mut each: impl FnMut(u64) -> bool) {
        let mut run = 0;
        for (at, word) in (0..end).step_by(BITS as usize).zip(&self.words) {
            // Beyond the end nothing is free.
            let left = (end - at).min(BITS);
            let mut rest = if left < BITS { *word | u64::MAX << left } else { *word };
            let mut bits = BITS;
            while bits > 0 {
                let zeros = u64::from(rest.trailing_zeros()).min(bits);
                (run, bits) = (run + zeros, bits - zeros);
                if bits == 0 {
                    break;
                }
                if run > 0 && !each(run) {
                    return;
                }
                rest >>= zeros;
                let ones = u64::from(rest.trailing_ones()).min(bits);
                (run, bits) = (0, bits - ones);
                rest = rest.checked_shr(ones as u32).unwrap_or(0);
            }
        }
        if run > 0 {
            each(run);
        }
    }

    /// Calls `visit` with each word that has units of a block, and the mask of those.
    fn each(&mut self, start: u64, length: u32, mut visit: impl FnMut(&mut u64, u64)) {
        let (mut at, end) = (start, start + u64::from(length));
        while at < end {
            let to = end.min((at / BITS + 1) * BITS);
            let mask = (u64::MAX >> (BITS - (to - at))) << (at % BITS);
            visit(&mut self.words[(at / BITS) as usize], mask);
            at = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(map: &Occupied, end: u64) -> Vec<u64> {
        let mut found = vec![];
        map.gaps(end, |gap| {
            found.push(gap);
            true
        });
        found
    }

    #[test]
    fn blocks_and_gaps_agree_with_a_flag_for_each_unit() {
        let (mut state, units) = (0x9E37_79B9_7F4A_7C15_u64, 333_u32);
        let (mut map, mut flags, mut blocks) = (Occupied::new(units), vec![false; units as usize], vec![]);
        for _ in 0..4000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (start, length) = (state % 340, (state >> 20) as u32 % 150 + 1);
            let units = start as usize..start as usize + length as usize;
            if state >> 60 & 1 == 0 && !blocks.is_empty() {
                let (start, length): (u64, u32) = blocks.swap_remove(state as usize % blocks.len());
                map.remove(start, length);
                flags[start as usize..start as usize + length as usize].fill(false);
            } else {
                let fits = flags.get(units.clone()).is_some_and(|flags| flags.iter().all(|taken| !taken));
                assert_eq!(map.insert(start, length), fits);
                if fits {
                    flags[units].fill(true);
                    blocks.push((start, length));
                }
            }
            let top = flags.iter().rposition(|taken| *taken).map_or(0, |last| last + 1);
            assert_eq!(map.top(), top as u64);
            for end in [top, flags.len()] {
                let runs = flags[..end].split(|taken| *taken).map(|run| run.len() as u64);
                let runs: Vec<u64> = runs.filter(|run| *run > 0).collect();
                assert_eq!(gaps(&map, end as u64), runs);
                let longest = gaps(&map, flags.len() as u64).into_iter().max().unwrap_or(0) as u32;
                assert!(longest == 0 || map.has_gap(longest));
                assert!(!map.has_gap(longest + 1));
            }
        }
    }
}
