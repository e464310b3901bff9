//! Physical and virtual addresses: 64-bit on every host, so that PAE, Sv32 and LPA2 tables can be handled anywhere.
#![forbid(unsafe_code)]

use core::fmt;

use crate::{Frame, Page, PageSize};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $number:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address with this value.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The address as a number.
            #[must_use]
            pub const fn value(self) -> u64 {
                self.0
            }

            /// `bytes` further up; `None` past 2^64 − 1.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// `bytes` further down; `None` below 0.
            #[must_use]
            pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
                match self.0.checked_sub(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The distance in bytes up from `lower`; `None` if `lower` lies above.
            #[must_use]
            pub const fn checked_offset_from(self, lower: Self) -> Option<u64> {
                self.0.checked_sub(lower.0)
            }

            /// Whether the address is a multiple of the page size.
            #[must_use]
            pub const fn is_aligned(self, size: PageSize) -> bool {
                self.0 & size.offset_mask() == 0
            }

            /// The nearest multiple of the page size at or below.
            #[must_use]
            pub const fn align_down(self, size: PageSize) -> Self {
                Self(self.0 & !size.offset_mask())
            }

            /// The nearest multiple of the page size at or above; `None` past 2^64 − 1.
            #[must_use]
            pub const fn align_up(self, size: PageSize) -> Option<Self> {
                match self.0.checked_add(size.offset_mask()) {
                    Some(value) => Some(Self(value & !size.offset_mask())),
                    None => None,
                }
            }

            /// The number of the page that holds this address, and the offset into it in bytes.
            #[must_use]
            pub const fn split(self, size: PageSize) -> ($number, u64) {
                ($number::new(self.0 >> size.log2()), self.0 & size.offset_mask())
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(address: $name) -> Self {
                address.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// What the memory controller sees.
    ///
    /// Having one does *not* prove that the machine has memory there: a window or a frame source decides that.
    PhysAddr, Frame
}
address! {
    /// What a program uses and a translation unit maps.
    ///
    /// Having one does *not* prove that it is canonical or mapped: the page-table format decides that.
    VirtAddr, Page
}
