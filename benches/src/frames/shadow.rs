//! Which frames are handed out, as seen from outside: one bit a frame.
#![forbid(unsafe_code)]

/// Orders that are told apart; larger free blocks count as several of the last. As in `/proc/buddyinfo`.
pub(super) const ORDERS: usize = 11;

/// The map of live blocks.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// Bit = free. Beyond the last frame nothing is free.
    free: Vec<u64>,
    frames: usize,
}

/// A new block shares a frame with a live one, or lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// With a live block.
    Live,
    /// A frame beyond the last.
    Outside,
}

impl Shadow {
    /// So many frames, all free.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        let mut this = Self { free: vec![0; frames.div_ceil(64)], frames };
        this.change(0, frames, |word, mask| *word |= mask);
        this
    }

    /// Enters a block.
    ///
    /// # Errors
    /// If a frame of it is not free; then nothing is entered.
    pub fn insert(&mut self, first: u64, order: u32) -> Result<(), Overlap> {
        let end = first.checked_add(1 << order).filter(|end| *end <= self.frames as u64);
        if end.is_none() {
            return Err(Overlap::Outside);
        }
        let mut live = false;
        self.change(first as usize, 1 << order, |word, mask| live |= *word & mask != mask);
        if live && !cfg!(hectare_plant = "frames_overlap") {
            return Err(Overlap::Live);
        }
        self.change(first as usize, 1 << order, |word, mask| *word &= !mask);
        Ok(())
    }

    /// Removes a block that was entered.
    pub fn remove(&mut self, first: u64, order: u32) {
        self.change(first as usize, 1 << order, |word, mask| *word |= mask);
    }

    /// How many aligned free blocks there are of each order up to `top`: a frame counts in every order.
    #[must_use]
    pub fn blocks(&self, top: u32) -> Vec<u64> {
        let mut counts = Vec::with_capacity(top as usize + 1);
        let mut words = self.free.clone();
        counts.push(ones(&words));
        for _ in 1..=top {
            // Bit i of the next order: bits 2i and 2i + 1 of this one.
            let halves: Vec<u32> = words.iter().map(|word| pairs(word & word >> 1)).collect();
            let join = |two: &[u32]| u64::from(two[0]) | u64::from(two.get(1).copied().unwrap_or(0)) << 32;
            words = halves.chunks(2).map(join).collect();
            counts.push(ones(&words));
        }
        counts
    }

    /// How many free blocks there are of each order, a frame counted once, in the largest block that has it.
    #[must_use]
    pub fn census(&self) -> [u64; ORDERS] {
        let every = self.blocks(ORDERS as u32 - 1);
        core::array::from_fn(|order| every[order] - 2 * every.get(order + 1).copied().unwrap_or(0))
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames as u64
    }

    /// How many frames are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        ones(&self.free)
    }

    /// Whether an aligned free block of this order exists.
    #[must_use]
    pub fn has(&self, order: u32) -> bool {
        self.blocks(order).last().is_some_and(|count| *count > 0)
    }

    /// The largest hole, in frames.
    #[must_use]
    pub fn largest_hole(&self) -> u64 {
        let (mut largest, mut run) = (0_u64, 0_u64);
        for &word in &self.free {
            let (mut rest, mut left) = (word, 64_u32);
            while left > 0 {
                let ones = rest.trailing_ones().min(left);
                run += u64::from(ones);
                left -= ones;
                if left > 0 {
                    largest = largest.max(run);
                    run = 0;
                    rest = rest.checked_shr(ones).unwrap_or(0);
                    let zeros = rest.trailing_zeros().min(left);
                    left -= zeros;
                    rest = rest.checked_shr(zeros).unwrap_or(0);
                }
            }
        }
        largest.max(run)
    }

    fn change(&mut self, first: usize, count: usize, mut act: impl FnMut(&mut u64, u64)) {
        let (mut at, end) = (first, first + count);
        while at < end {
            let to = end.min(at / 64 * 64 + 64);
            let mask = u64::MAX >> (64 - (to - at)) << (at % 64);
            act(&mut self.free[at / 64], mask);
            at = to;
        }
    }
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The even bits, pushed together (H. S. Warren, Hacker's Delight, 7-2).
fn pairs(word: u64) -> u32 {
    let mut x = word & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333_u64),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        x = (x | x >> shift) & mask;
    }
    x as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_overlap_of_frames_is_seen_and_nothing_else() {
        let mut s = Shadow::new(1000);
        for (first, order) in [(0, 0), (64, 6), (512, 8), (8, 3), (999, 0)] {
            s.insert(first, order).unwrap();
            assert_eq!(s.insert(first, 0), Err(Overlap::Live));
            assert!(s.insert(first + (1 << order) - 1, 0).is_err());
            s.remove(first, order);
            s.insert(first, order).unwrap();
        }
        assert_eq!(s.insert(992, 3), Err(Overlap::Live));
        assert_eq!(s.insert(996, 3), Err(Overlap::Outside));
        assert_eq!(s.insert(u64::MAX, 0), Err(Overlap::Outside));
        assert_eq!(s.free(), 1000 - 1 - 64 - 256 - 8 - 1);
    }

    /// The counts, block by block.
    fn slow(s: &Shadow, order: u32) -> u64 {
        let size = 1 << order;
        let is_free = |frame: usize| s.free[frame / 64] >> (frame % 64) & 1 == 1;
        (0..s.frames / size).filter(|b| (b * size..(b + 1) * size).all(is_free)).count() as u64
    }

    #[test]
    fn blocks_and_holes_agree_with_a_slow_count() {
        let mut random = crate::figures::Random::new(5);
        for frames in [1, 63, 64, 65, 1000, 5000] {
            let mut s = Shadow::new(frames);
            for _ in 0..frames / 200 + 1 {
                let order = random.range(0, 6) as u32;
                let first = (random.range(0, frames) >> order << order) as u64;
                let _ = s.insert(first, order);
            }
            let fast = s.blocks(14);
            for order in 0..=14 {
                assert_eq!(fast[order as usize], slow(&s, order), "{frames} frames, order {order}");
                assert_eq!(s.has(order), slow(&s, order) > 0);
            }
            let census = s.census();
            assert_eq!(census.iter().enumerate().map(|(k, n)| n << k).sum::<u64>(), s.free());
            let bits: String =
                (0..frames).map(|f| if s.free[f / 64] >> (f % 64) & 1 == 1 { '1' } else { '0' }).collect();
            let longest = bits.split('0').map(str::len).max().unwrap() as u64;
            assert_eq!(s.largest_hole(), longest, "{frames}");
        }
    }
}
