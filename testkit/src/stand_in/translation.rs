//! The flattest translation: one range of virtual addresses, moved by a constant, under one set of rights.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Access, Permissions, PhysAddr, Translate, Translation, VirtAddr};
use thiserror::Error;

/// One mapped range.
#[derive(Clone, Copy, Debug)]
pub struct FlatTranslation {
    first: VirtAddr,
    base: PhysAddr,
    length: u64,
    permissions: Permissions,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlatFault {
    /// Nothing is mapped there.
    #[error("{access} at {address:?}: nothing is mapped there")]
    Unmapped {
        /// The address.
        address: VirtAddr,
        /// The access.
        access: Access,
    },
    /// The mapping's rights do not allow it.
    #[error("{access} at {address:?}: not permitted")]
    Forbidden {
        /// The address.
        address: VirtAddr,
        /// The access.
        access: Access,
    },
}

impl FlatTranslation {
    /// Maps the `length` bytes from `first` to those from `base`; `None` if either end wraps.
    #[must_use]
    pub fn new(first: VirtAddr, base: PhysAddr, length: u64, permissions: Permissions) -> Option<Self> {
        first.checked_add(length)?;
        base.checked_add(length)?;
        Some(Self { first, base, length, permissions })
    }
}

impl Translate for FlatTranslation {
    type Fault = FlatFault;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, FlatFault> {
        let unmapped = FlatFault::Unmapped { address, access };
        let offset = address.checked_offset_from(self.first).ok_or(unmapped)?;
        let length = self.length.checked_sub(offset).and_then(NonZero::new).ok_or(unmapped)?;
        if !self.permissions.allow(access) {
            return Err(FlatFault::Forbidden { address, access });
        }
        let address = self.base.checked_add(offset).ok_or(unmapped)?;
        Ok(Translation { address, length })
    }
}
