//! A base and a limit register: the oldest protection of a process, and still the cheapest.
//!
//! ```text
//!   0        base                    base + length           2^64
//!   ├──────────┼────────────────────────┼──────────────────────┤
//!              │◄──────── legal ───────►│
//!   offset:    0                 length − 1
//! ```
//! Legality is tested as `address − base < length`: a sum of base and length can wrap around at the top of the address
//! space, this difference cannot.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::VirtAddr;

/// One contiguous range of addresses, possibly empty.
///
/// Having one proves that its last byte is not above 2^64 − 1. `length` is the number of legal bytes, *not* the last legal
/// offset, which is what x86 descriptors hold.
///
/// ```
/// use hectare_core::VirtAddr;
/// use hectare_segmentation::BaseLimit;
///
/// // The highest 4 KiB that there are. A sum of base and length would wrap to 0 and let nothing, or everything, in.
/// let stack = BaseLimit::new(VirtAddr::new(u64::MAX - 0xFFF), 0x1000).expect("its last byte is 2^64 - 1");
/// assert!(stack.contains(VirtAddr::new(u64::MAX)));
/// assert!(!stack.contains(VirtAddr::new(0)));
/// assert!(stack.contains_range(VirtAddr::new(u64::MAX - 7), 8));
/// assert!(!stack.contains_range(VirtAddr::new(u64::MAX - 7), 9)); // the last of the nine does not exist
/// assert_eq!(BaseLimit::new(VirtAddr::new(u64::MAX - 0xFFF), 0x1001), None);
///
/// let nothing = BaseLimit::new(VirtAddr::new(0x1000), 0).expect("empty is fine");
/// assert!(!nothing.contains(VirtAddr::new(0x1000)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BaseLimit {
    base: u64,
    length: u64,
}

impl BaseLimit {
    /// The range of `length` bytes from `base`; `None` if its last byte lies above 2^64 − 1. It may end exactly there.
    #[must_use]
    pub const fn new(base: VirtAddr, length: u64) -> Option<Self> {
        let base = base.value();
        // A range that is not empty ends at base + (length − 1).
        match base.checked_add(length.saturating_sub(1)) {
            Some(_) => Some(Self { base, length }),
            None => None,
        }
    }

    /// The first legal address, if there is one.
    #[must_use]
    pub const fn base(self) -> VirtAddr {
        VirtAddr::new(self.base)
    }

    /// How many bytes are legal.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length
    }

    /// Whether the byte at `address` is legal. O(1).
    #[inline]
    #[must_use]
    pub const fn contains(self, address: VirtAddr) -> bool {
        address.value().wrapping_sub(self.base) < self.length
    }

    /// Whether all `bytes` from `address` are legal; an access of no bytes is legal nowhere outside either. O(1).
    #[inline]
    #[must_use]
    pub const fn contains_range(self, address: VirtAddr, bytes: u64) -> bool {
        self.relocates(address.value().wrapping_sub(self.base), bytes)
    }

    /// The address of the byte at `offset`, if all `bytes` from there are legal (and `offset` itself is). O(1).
    ///
    /// ```
    /// use hectare_core::VirtAddr;
    /// use hectare_segmentation::BaseLimit;
    ///
    /// let process = BaseLimit::new(VirtAddr::new(0x30_0000), 0x40_0000).unwrap();
    /// assert_eq!(process.relocate(0x10, 4), Some(VirtAddr::new(0x30_0010)));
    /// assert_eq!(process.relocate(0x3F_FFFE, 4), None); // straddles the limit
    /// ```
    #[inline]
    #[must_use]
    pub const fn relocate(self, offset: u64, bytes: u64) -> Option<VirtAddr> {
        if self.relocates(offset, bytes) { Some(VirtAddr::new(self.base.wrapping_add(offset))) } else { None }
    }

    #[inline]
    const fn relocates(self, offset: u64, bytes: u64) -> bool {
        offset < self.length && bytes <= self.length - offset
    }
}

impl fmt::Debug for BaseLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.base, self.length)
    }
}
