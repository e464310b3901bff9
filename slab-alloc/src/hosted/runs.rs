//! Runs of set bits in a word: where granules are free together.
#![forbid(unsafe_code)]

/// Bit i is set if bits i to i + n − 1 of `bits` are, for n from 1 to 64. O(log n).
pub(crate) const fn starts(mut bits: u64, n: u32) -> u64 {
    let mut have = 1;
    while have < n {
        let step = if have < n - have { have } else { n - have };
        bits &= bits >> step;
        have += step;
    }
    bits
}

/// log2 of the longest run, rounded down; [`NONE`] if no bit is set.
pub(crate) const fn longest_log2(bits: u64) -> u8 {
    let mut log2 = 0;
    let mut runs = bits;
    if runs == 0 {
        return NONE;
    }
    while log2 < 5 {
        // Runs of twice the length begin where one begins and another follows.
        runs = runs & (runs >> (1_u32 << log2));
        if runs == 0 {
            return log2;
        }
        log2 += 1;
    }
    log2
}

/// No run.
pub(crate) const NONE: u8 = 7;

/// `n` bits from bit `at` on; n from 1 to 64 − at.
pub(crate) const fn mask(at: u32, n: u32) -> u64 {
    (u64::MAX >> (64 - n)) << at
}

/// The lowest run of set bits: its first bit and its length.
pub(crate) const fn lowest(bits: u64) -> Option<(u32, u32)> {
    if bits == 0 {
        return None;
    }
    let at = bits.trailing_zeros();
    Some((at, (bits >> at).trailing_ones()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_the_slow_one() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..if cfg!(miri) { 20 } else { 2000 } {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let word = match round % 3 {
                0 => bits | bits << 1 | bits << 2,
                1 => bits,
                _ => bits & !1 | bits << 7 | bits << 9 | bits << 20,
            };
            let run_at = |at: u32, n: u32| at + n <= 64 && word & mask(at, n) == mask(at, n);
            let mut longest = 0;
            for n in 1..=64 {
                let slow = (0..64).filter(|&at| run_at(at, n)).fold(0, |all, at| all | 1 << at);
                assert_eq!(starts(word, n), slow, "{n} in {word:b}");
                longest = if slow != 0 { n } else { longest };
            }
            assert_eq!(u32::from(longest_log2(word)), longest.ilog2().min(5), "{word:b}");
        }
        assert_eq!((longest_log2(0), lowest(0), lowest(0b1_1100)), (NONE, None, Some((2, 3))));
    }
}
