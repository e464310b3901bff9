//! Frames, pages and runs of them, by number: the currency between page-frame allocators, slabs and page tables.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZero;

use crate::{PhysAddr, VirtAddr};

/// A power-of-two page size in bytes.
///
/// ```
/// use hectare_core::{Page, PageSize, VirtAddr};
///
/// // One address, two sizes of pages: the number of the page, and the offset into it.
/// let address = VirtAddr::new(0x1234_5678);
/// assert_eq!(address.split(PageSize::SIZE_4K), (Page::new(0x1_2345), 0x678));
/// assert_eq!(address.split(PageSize::SIZE_2M), (Page::new(0x91), 0x14_5678));
/// assert_eq!(Page::new(0x91).start(PageSize::SIZE_2M), Some(VirtAddr::new(0x1220_0000)));
///
/// // What firmware says is checked once, and cannot be wrong later.
/// assert_eq!(PageSize::from_bytes(0x4000), Some(PageSize::SIZE_16K));
/// assert_eq!(PageSize::from_bytes(48 << 10), None);
/// assert_eq!(Page::new(u64::MAX).start(PageSize::SIZE_4K), None); // no such address
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB, the base page of x86, RISC-V and most AArch64 systems.
    pub const SIZE_4K: Self = Self(12);
    /// 16 KiB, an AArch64 granule.
    pub const SIZE_16K: Self = Self(14);
    /// 64 KiB, an AArch64 granule.
    pub const SIZE_64K: Self = Self(16);
    /// 2 MiB, the huge page above a 4 KiB granule.
    pub const SIZE_2M: Self = Self(21);
    /// 1 GiB, the second huge page above a 4 KiB granule.
    pub const SIZE_1G: Self = Self(30);

    /// A page of 2^`log2` bytes; `None` for 64 and more.
    #[must_use]
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 < 64 { Some(Self(log2)) } else { None }
    }

    /// A page of `bytes`; `None` unless that is a power of two.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a bit number is at most 63")]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes.trailing_zeros() as u8)) } else { None }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }

    /// The logarithm of the size.
    #[must_use]
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// The bits of an address that are the offset into a page.
    #[must_use]
    pub const fn offset_mask(self) -> u64 {
        self.bytes() - 1
    }
}

/// The size class of a block of 2^k frames; k is at most 63.
///
/// ```
/// use hectare_core::{Frame, FrameRun, Order};
///
/// let order = Order::holding(5).expect("at least 1, at most 2^63");
/// assert_eq!((order.get(), order.frames()), (3, 8)); // three frames more than asked
/// assert_eq!(Order::holding(0), None);
///
/// // A block is aligned to its own size, so its buddy is found by one bit.
/// let first = Frame::new(0x48);
/// assert!(first.is_aligned(order));
/// let buddy = Frame::new(first.number() ^ order.frames());
/// assert_eq!(FrameRun::of_order(buddy, order), FrameRun::new(Frame::new(0x40), 8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order(u8);

impl Order {
    /// One frame.
    pub const ZERO: Self = Self(0);

    /// Order `k`; `None` for 64 and more.
    #[must_use]
    pub const fn new(k: u8) -> Option<Self> {
        if k < 64 { Some(Self(k)) } else { None }
    }

    /// The smallest order that holds `frames`; `None` for 0 and for more than 2^63.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a bit number is at most 63")]
    pub const fn holding(frames: u64) -> Option<Self> {
        match frames.checked_next_power_of_two() {
            Some(power) if frames != 0 => Some(Self(power.trailing_zeros() as u8)),
            _ => None,
        }
    }

    /// The exponent k.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number of frames, 2^k.
    #[must_use]
    pub const fn frames(self) -> u64 {
        1 << self.0
    }
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $address:ident, $(#[$run_doc:meta])* $run:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The one with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }

            /// `count` further up; `None` past 2^64 − 1.
            #[must_use]
            pub const fn checked_add(self, count: u64) -> Option<Self> {
                match self.0.checked_add(count) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// `count` further down; `None` below 0.
            #[must_use]
            pub const fn checked_sub(self, count: u64) -> Option<Self> {
                match self.0.checked_sub(count) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// Whether the number is a multiple of 2^k.
            #[must_use]
            pub const fn is_aligned(self, order: Order) -> bool {
                self.0 & (order.frames() - 1) == 0
            }

            /// Its first byte; `None` if that is past 2^64 − 1.
            #[must_use]
            pub const fn start(self, size: PageSize) -> Option<$address> {
                if self.0 > u64::MAX >> size.log2() {
                    return None;
                }
                Some($address::new(self.0 << size.log2()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        $(#[$run_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $run {
            first: $name,
            count: NonZero<u64>,
        }

        impl $run {
            /// `count` of them from `first`; `None` if there is none or the end exceeds 2^64 − 1.
            #[must_use]
            pub const fn new(first: $name, count: u64) -> Option<Self> {
                match (NonZero::new(count), first.checked_add(count)) {
                    (Some(count), Some(_)) => Some(Self { first, count }),
                    _ => None,
                }
            }

            /// The 2^k from `first`; `None` if the end exceeds 2^64 − 1.
            #[must_use]
            pub const fn of_order(first: $name, order: Order) -> Option<Self> {
                Self::new(first, order.frames())
            }

            /// The first one.
            #[must_use]
            pub const fn first(self) -> $name {
                self.first
            }

            /// How many, at least 1.
            #[must_use]
            pub const fn count(self) -> u64 {
                self.count.get()
            }

            /// The first one after the run.
            #[must_use]
            pub const fn end(self) -> $name {
                $name(self.first.0 + self.count.get())
            }

            /// Whether the two share a member.
            #[must_use]
            pub const fn overlaps(self, other: Self) -> bool {
                self.first.0 < other.end().0 && other.first.0 < self.end().0
            }

            /// Whether every member of `other` is in this run.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.first.0 <= other.first.0 && other.end().0 <= self.end().0
            }

            /// Its members from first to last.
            pub fn iter(self) -> impl DoubleEndedIterator<Item = $name> {
                (self.first.0..self.end().0).map($name)
            }
        }

        impl fmt::Debug for $run {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($run), "[{:#x}, {:#x})"), self.first.0, self.end().0)
            }
        }
    };
}

numbered! {
    /// A physical page, by number: its address divided by the frame size.
    ///
    /// Having one does *not* prove that the machine has that memory or that it is yours.
    Frame, PhysAddr,
    /// Consecutive frames. Having one proves that it is not empty and that its end does not exceed 2^64 − 1.
    ///
    /// ```
    /// use hectare_core::{Frame, FrameRun, PageSize, PhysAddr};
    ///
    /// let memory = FrameRun::new(Frame::new(0x100), 64).expect("not empty, and it does not wrap");
    /// assert_eq!((memory.count(), memory.end()), (64, Frame::new(0x140)));
    /// assert_eq!(memory.first().start(PageSize::SIZE_4K), Some(PhysAddr::new(0x10_0000)));
    ///
    /// let kernel = FrameRun::new(Frame::new(0x120), 16).expect("as above");
    /// assert!(memory.contains(kernel) && kernel.overlaps(memory));
    /// assert_eq!(FrameRun::new(Frame::new(0x100), 0), None);
    /// assert_eq!(FrameRun::new(Frame::new(u64::MAX), 1), None);
    /// ```
    FrameRun
}
numbered! {
    /// A virtual page, by number: its address divided by the page size.
    ///
    /// Having one does *not* prove that it is canonical or mapped.
    Page, VirtAddr,
    /// Consecutive pages. Having one proves that it is not empty and that its end does not exceed 2^64 − 1.
    PageRun
}
