//! Address translation: what page tables and segment tables have in common, so that the two compose.
#![forbid(unsafe_code)]

use core::num::NonZero;

use crate::{Access, PhysAddr, VirtAddr};

/// The result of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address that the virtual one stands for.
    pub address: PhysAddr,
    /// How many bytes from there are contiguous under the same rights: to the end of the page, run or segment.
    pub length: NonZero<u64>,
}

/// A mapping from virtual to physical addresses that refuses with a typed fault.
pub trait Translate {
    /// Why an access is refused: names address, access and cause.
    type Fault: Copy + core::error::Error;

    /// Translates one access. Changes nothing, not even accessed bits.
    ///
    /// # Errors
    /// The fault that the hardware would raise.
    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, Self::Fault>;
}

impl<T: Translate + ?Sized> Translate for &T {
    type Fault = T::Fault;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, Self::Fault> {
        (**self).translate(address, access)
    }
}
