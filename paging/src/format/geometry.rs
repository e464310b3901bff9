//! Shapes of tables and properties of the hardware that reads them.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, PhysAddr, VirtAddr};

use super::EntryError;

/// The most levels that any format has.
pub const MAX_LEVELS: usize = 5;

/// What the bits of an address above the tables' reach must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// Copies of the highest translated bit: canonical addresses (x86-64, Sv39 and wider).
    Both,
    /// Zeros: AArch64's TTBR0, 32-bit machines, guest-physical addresses.
    Lower,
    /// Ones: AArch64's TTBR1.
    Upper,
}

impl Half {
    /// The address whose low `bits` are those of `linear`.
    #[inline(always)]
    pub(super) fn extend(self, linear: u64, bits: u8) -> VirtAddr {
        let above = 64 - bits;
        VirtAddr::new(match self {
            // The shift to the right copies the highest translated bit.
            Self::Both => ((linear << above) as i64 >> above) as u64,
            Self::Lower => linear & mask(bits),
            Self::Upper => linear | !mask(bits),
        })
    }
}

/// The contiguous runs of a level: 2^`log2` entries, aligned, with equal attributes, whose frames are consecutive and
/// aligned alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The logarithm of the number of entries.
    pub log2: u8,
    /// Whether all entries of a run are equal words (Svnapot) instead of counting up by the stride (AArch64).
    pub repeats: bool,
}

/// Who sets an accessed or dirty bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// The hardware, at any time while the entry, or a cached copy of it, permits the access.
    Hardware,
    /// Software: the first access faults, and the handler sets the bit.
    Fault,
    /// Nobody: the format has no such bit. It reads as it was written, as software keeps it.
    Nobody,
}

/// What has to follow the store that makes an absent entry present, before the mapping may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fresh {
    /// Nothing: absent entries are not cached, stores are seen in order.
    Nothing,
    /// A barrier that makes the store visible to the walker (AArch64: `DSB ISHST`, then `ISB`; RISC-V with Svvptc:
    /// nothing, but a spurious fault may come within a bounded time).
    Barrier,
    /// An invalidation, or a handler that returns from a spurious fault: absent entries may be cached (RISC-V without
    /// Svvptc).
    Fence,
}

/// Consecutive bits of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The lowest bit.
    pub shift: u8,
    /// How many.
    pub bits: u8,
}

/// The low `bits` set; all for 64.
#[inline(always)]
pub(super) const fn mask(bits: u8) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

pub(super) const fn shifts(page: PageSize, index_bits: [u8; MAX_LEVELS]) -> [u8; MAX_LEVELS + 1] {
    let mut shifts = [page.log2(); MAX_LEVELS + 1];
    let mut level = 0;
    while level < MAX_LEVELS {
        shifts[level + 1] = shifts[level] + index_bits[level];
        level += 1;
    }
    shifts
}

/// The page of 2^`log2` bytes, for logarithms below 64.
#[inline(always)]
pub(super) const fn size(log2: u8) -> PageSize {
    match PageSize::from_log2(log2) {
        Some(size) => size,
        None => PageSize::SIZE_4K,
    }
}

/// Checks that an address is a multiple of 2^`log2` and below 2^`bits`.
#[inline]
pub(super) fn check(address: PhysAddr, log2: u8, bits: u8) -> Result<u64, EntryError> {
    let value = address.value();
    if value & mask(log2) != 0 {
        return Err(EntryError::Misaligned { address, size: size(log2) });
    }
    if value & !mask(bits) != 0 {
        return Err(EntryError::TooWide { address, bits });
    }
    Ok(value)
}

/// Checks that software state has at most `bits` bits.
#[inline]
pub(super) fn check_software(state: u64, bits: u8) -> Result<u64, EntryError> {
    if state & !mask(bits) != 0 { Err(EntryError::Software { state, bits }) } else { Ok(state) }
}
