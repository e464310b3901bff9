//! Fuzz bytes as numbers.

/// The next byte; `None` when they are used up.
pub(super) fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A number from 1 to 2^`log2_limit` (at most 2^23), small ones as likely as large: two bytes, of which one scales.
pub(super) fn scaled(bytes: &mut &[u8], log2_limit: u8) -> Option<u32> {
    let scale = byte(bytes)? % (log2_limit.min(23) + 1);
    let fraction = 256 + u32::from(byte(bytes)?);
    // 256..=511 times 2^scale, divided by 512 and rounded up: 1..=2^scale.
    Some((fraction << scale).div_ceil(512))
}

/// All the operations in some bytes.
pub fn decode_all<Op>(
    mut bytes: &[u8],
    decode: impl Fn(&mut &[u8]) -> Option<Op>,
) -> impl Iterator<Item = Op> {
    core::iter::from_fn(move || decode(&mut bytes))
}

/// Repeatable noise, for tests without a generator: xorshift64 (Marsaglia, "Xorshift RNGs", Journal of Statistical
/// Software 8, 2003), of each number one byte.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[2]
    };
    core::iter::repeat_with(next).take(length).collect()
}
