//! Address-space identifiers: short numbers that CPUs tag translations with, dealt out by generations.
#![forbid(unsafe_code)]

/// An address-space identifier (x86: PCID, 12 bits; RISC-V: up to 16; AArch64: 8 or 16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asid(u16);

impl Asid {
    /// Identifier `number`.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}
