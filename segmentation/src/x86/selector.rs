//! Selectors: how code names a descriptor (SDM 3A, 3.4.2).
#![forbid(unsafe_code)]

use core::fmt;

/// A privilege level: 0 is the kernel's, 3 is the programs'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Ring {
    /// The most privileged.
    Ring0 = 0,
    /// Hardly used.
    Ring1 = 1,
    /// Hardly used.
    Ring2 = 2,
    /// The least privileged.
    Ring3 = 3,
}

impl Ring {
    /// The level in the two lowest bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Ring0,
            1 => Self::Ring1,
            2 => Self::Ring2,
            _ => Self::Ring3,
        }
    }

    /// The level as a number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Which table a selector names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorTable {
    /// The global descriptor table.
    Global,
    /// The local descriptor table.
    Local,
}

/// The 16 bits that a segment register is loaded with.
///
/// ```
/// use hectare_segmentation::x86::{Exception, Ring, SegmentDescriptor, Selector, SelectorTable, TableView};
///
/// // 0x2B is what Linux loads into SS of a 64-bit program: entry 5 of the GDT, asked for by ring 3.
/// let data = Selector::from_bits(0x2B);
/// assert_eq!((data.index(), data.table(), data.requested()), (5, SelectorTable::Global, Ring::Ring3));
/// assert_eq!(Selector::new(5, SelectorTable::Global, Ring::Ring3), Some(data));
/// assert_eq!(Selector::new(0x2000, SelectorTable::Global, Ring::Ring3), None); // tables end at entry 8191
/// assert!(Selector::from_bits(3).is_null()); // whoever asks
///
/// // The kernel's data in entry 5: a program that asks for it gets the CPU's own exception.
/// let mut gdt = [0; 6];
/// gdt[5] = SegmentDescriptor::flat_data(Ring::Ring0).encode();
/// let tables = TableView { global: &gdt, local: &[] };
/// assert_eq!(tables.load_data(data, Ring::Ring3), Err(Exception::Protection(0x28)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Selector(u16);

impl Selector {
    /// Loads into a data segment register without a fault, and faults on use.
    pub const NULL: Self = Self(0);

    /// The selector of entry `index` of a table, `None` above 8191, the last entry that there can be.
    #[must_use]
    pub const fn new(index: u16, table: SelectorTable, requested: Ring) -> Option<Self> {
        if index > 0x1FFF {
            return None;
        }
        let table = match table {
            SelectorTable::Global => 0,
            SelectorTable::Local => 4,
        };
        Some(Self(index << 3 | table | requested as u16))
    }

    /// The selector with these bits: every value is one.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The entry of its table.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 >> 3
    }

    /// Its table.
    #[must_use]
    pub const fn table(self) -> SelectorTable {
        if self.0 & 4 == 0 { SelectorTable::Global } else { SelectorTable::Local }
    }

    /// The privilege asked for: the CPU uses the weaker of this and its own.
    #[must_use]
    pub const fn requested(self) -> Ring {
        Ring::from_bits((self.0 & 3) as u8)
    }

    /// Whether it names no descriptor: entry 0 of the global table, whatever the requested privilege.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 & !3 == 0
    }

    /// The error code of a fault about this selector: the requested privilege is cleared.
    #[must_use]
    pub const fn error_code(self) -> u16 {
        self.0 & !3
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.table() {
            SelectorTable::Global => "GDT",
            SelectorTable::Local => "LDT",
        };
        write!(f, "{:#06x} ({table}[{}], RPL {})", self.0, self.index(), self.requested().bits())
    }
}
