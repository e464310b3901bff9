//! What a leaf entry says besides its address, independent of any hardware format.
#![forbid(unsafe_code)]

use hectare_core::Permissions;

/// How the processor may cache and reorder accesses to a page.
///
/// Formats map these onto PAT, MAIR, Svpbmt or EPT memory types; what a format cannot express it refuses, or replaces by
/// a stricter kind that its documentation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MemoryType {
    /// Ordinary memory.
    #[default]
    WriteBack,
    /// Cached for reads; writes go through to memory.
    WriteThrough,
    /// Not cached, writes may be gathered and reordered: frame buffers, buffers of devices that do not snoop. AArch64
    /// calls it Normal Non-cacheable.
    WriteCombining,
    /// Not cached, not speculated, in order.
    Uncached,
    /// Registers of a device; a write may be acknowledged early (AArch64: Device-nGnRE).
    Device,
    /// Registers of a device; a write is acknowledged by the device itself (AArch64: Device-nGnRnE).
    DeviceStrict,
}

/// What a leaf permits and how it is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The rights.
    pub permissions: Permissions,
    /// Caching and ordering.
    pub memory: MemoryType,
    /// Shared by all address spaces: a flush of one of them keeps the translation.
    pub global: bool,
    /// Bits that the hardware ignores, the format's [`SOFTWARE_BITS`](crate::Format::SOFTWARE_BITS) lowest ones.
    pub software: u16,
}

impl Attributes {
    /// Ordinary memory with these rights: write-back, not global, no software bits.
    #[must_use]
    pub const fn new(permissions: Permissions) -> Self {
        Self { permissions, memory: MemoryType::WriteBack, global: false, software: 0 }
    }

    /// The same with another memory type.
    #[must_use]
    pub const fn with_memory(self, memory: MemoryType) -> Self {
        Self { memory, ..self }
    }

    /// The same, shared by all address spaces or not.
    #[must_use]
    pub const fn with_global(self, global: bool) -> Self {
        Self { global, ..self }
    }

    /// The same with these software bits.
    #[must_use]
    pub const fn with_software(self, software: u16) -> Self {
        Self { software, ..self }
    }

    /// The same with other rights.
    #[must_use]
    pub const fn with_permissions(self, permissions: Permissions) -> Self {
        Self { permissions, ..self }
    }
}

/// What has been done with a page since these bits were last cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Touched {
    /// Read, written or executed.
    pub accessed: bool,
    /// Written.
    pub dirty: bool,
}

impl Touched {
    /// Neither.
    pub const NO: Self = Self { accessed: false, dirty: false };
    /// Accessed, not written.
    pub const ACCESSED: Self = Self { accessed: true, dirty: false };
    /// Both: the hardware has nothing left to set, and where faults set the bits, none will come.
    pub const DIRTY: Self = Self { accessed: true, dirty: true };

    /// What is true in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { accessed: self.accessed | other.accessed, dirty: self.dirty | other.dirty }
    }
}
