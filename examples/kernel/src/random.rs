//! Numbers that look random and are the same in every run: xorshift64 (Marsaglia, 2003).

pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(0x2545_F491_4F6C_DD1D ^ (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// One below `limit`, which is not 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
