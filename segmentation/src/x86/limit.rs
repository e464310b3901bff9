//! Segment limits: 20 bits, in bytes or in units of 4 KiB (SDM 3A, 3.4.5).
#![forbid(unsafe_code)]

/// A limit as a descriptor holds it.
///
/// - The field is below 2^20.
/// - The *last offset* is `field` in bytes, or `field × 4096 + 4095` in pages. It is one less than a length: a segment
///   that grows up always has at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    field: u32,
    pages: bool,
}

impl Limit {
    /// 4 GiB: the flat limit.
    pub const FLAT: Self = Self { field: 0xF_FFFF, pages: true };

    /// The limit with this field, in pages or in bytes; `None` if the field exceeds 20 bits.
    #[must_use]
    pub const fn new(field: u32, pages: bool) -> Option<Self> {
        if field < 1 << 20 { Some(Self { field, pages }) } else { None }
    }

    /// The limit whose last offset is exactly `last`, in bytes if that is possible; `None` if no limit has it: above
    /// 2^20 − 1 only offsets that end a 4 KiB unit have one.
    #[must_use]
    pub const fn from_last(last: u32) -> Option<Self> {
        if last < 1 << 20 {
            Some(Self { field: last, pages: false })
        } else if last & 0xFFF == 0xFFF {
            Some(Self { field: last >> 12, pages: true })
        } else {
            None
        }
    }

    /// The smallest limit whose last offset is at least `last`. It exceeds it by less than 4096.
    #[must_use]
    pub const fn covering(last: u32) -> Self {
        if last < 1 << 20 {
            Self { field: last, pages: false }
        } else {
            Self { field: last >> 12, pages: true }
        }
    }

    /// The 20 bits.
    #[must_use]
    pub const fn field(self) -> u32 {
        self.field
    }

    /// Whether the field counts units of 4 KiB: the G bit.
    #[must_use]
    pub const fn in_pages(self) -> bool {
        self.pages
    }

    /// The last offset: the effective limit, in bytes.
    #[must_use]
    pub const fn last(self) -> u32 {
        if self.pages { self.field << 12 | 0xFFF } else { self.field }
    }

    pub(super) const fn from_raw(raw: u64) -> Self {
        Self { field: (raw & 0xFFFF) as u32 | (raw >> 32 & 0xF_0000) as u32, pages: raw >> 55 & 1 != 0 }
    }

    pub(super) const fn to_raw(self) -> u64 {
        let field = self.field as u64;
        field & 0xFFFF | (field & 0xF_0000) << 32 | (self.pages as u64) << 55
    }
}
