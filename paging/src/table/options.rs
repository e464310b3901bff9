//! How a run is mapped.
#![forbid(unsafe_code)]

use hectare_core::PageSize;

use crate::Touched;

/// How a run is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapOptions {
    /// No larger leaves than this. By default, the largest that the format has and that fits.
    pub largest: Option<PageSize>,
    /// The accessed and dirty bits of the new leaves. Where nobody asks about them, setting both spares the hardware the
    /// walk that would set them, and makes later changes cheaper. By default neither is set.
    pub touched: Touched,
    /// Whether aligned groups become one translation where the format can say so (AArch64's contiguous bit, Svnapot).
    /// By default they do.
    pub contiguous: bool,
}

impl MapOptions {
    /// The defaults.
    pub const DEFAULT: Self = Self { largest: None, touched: Touched::NO, contiguous: true };

    /// Base pages only.
    pub const BASE_PAGES: Self = Self { largest: Some(PageSize::SIZE_4K), ..Self::DEFAULT };

    /// The same with these accessed and dirty bits.
    #[must_use]
    pub const fn with_touched(self, touched: Touched) -> Self {
        Self { touched, ..self }
    }

    /// The same with no larger leaves than this.
    #[must_use]
    pub const fn with_largest(self, largest: PageSize) -> Self {
        Self { largest: Some(largest), ..self }
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}
