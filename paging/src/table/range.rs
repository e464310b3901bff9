//! Ranges of addresses in linear form, and how they fall onto the entries of a table.
//!
//! ```text
//!   entry      │    i    │   i+1   │   i+2   │   i+3   │
//!   part           ├─────┴─────────┴─────────┴───┤
//!                  edge       whole entries       edge
//! ```
#![forbid(unsafe_code)]

use core::ops::Range;

use hectare_core::{Page, PageRun};

use super::{TableError, TableFormat};

/// Linear addresses from `first` to `last`, inclusive: so that a whole address space has a length too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Part {
    /// The pages, if the format can translate all of them.
    #[inline]
    pub(super) fn of<F: TableFormat>(pages: PageRun) -> Result<Self, TableError> {
        let bad = TableError::Range { pages };
        let first = pages.first().start(F::PAGE).ok_or(bad)?;
        let last_page = Page::new(pages.end().number() - 1).start(F::PAGE).ok_or(bad)?;
        let last = last_page.value() | F::PAGE.offset_mask();
        if !F::accepts_range(first, last.into()) {
            return Err(bad);
        }
        Ok(Self { first: F::linear(first), last: F::linear(last.into()) })
    }

    /// All addresses of the format.
    pub(super) fn all<F: TableFormat>() -> Self {
        Self { first: 0, last: F::linear(u64::MAX.into()) }
    }

    /// It as pages.
    pub(super) fn run<F: TableFormat>(self) -> PageRun {
        let first = Page::new(F::delinear(self.first).value() >> F::PAGE.log2());
        PageRun::new(first, self.pages::<F>()).unwrap_or(super::fill::LAST)
    }

    /// How many base pages.
    pub(super) fn pages<F: TableFormat>(self) -> u64 {
        ((self.last - self.first) >> F::PAGE.log2()).saturating_add(1)
    }

    /// The indices of the entries of a table of this level that it touches: first and last.
    #[inline(always)]
    pub(super) fn indices<F: TableFormat>(self, level: usize) -> (usize, usize) {
        (F::index(self.first.into(), level), F::index(self.last.into(), level))
    }

    /// The part of it in the entry of level `level` that holds `at`.
    #[inline(always)]
    pub(super) fn within<F: TableFormat>(self, at: u64, level: usize) -> Self {
        let mask = F::leaf_size(level).offset_mask();
        Self { first: self.first.max(at & !mask), last: self.last.min(at | mask) }
    }

    /// Whether it is whole entries of this level.
    #[inline(always)]
    pub(super) fn is_whole<F: TableFormat>(self, level: usize) -> bool {
        let mask = F::leaf_size(level).offset_mask();
        self.first & mask == 0 && self.last & mask == mask
    }

    /// The entries of a table of this level that it covers wholly. May be empty.
    #[inline(always)]
    pub(super) fn whole<F: TableFormat>(self, level: usize) -> Range<usize> {
        let mask = F::leaf_size(level).offset_mask();
        let (first, last) = self.indices::<F>(level);
        first + usize::from(self.first & mask != 0)..last + usize::from(self.last & mask == mask)
    }

    /// The first address of entry `index` of the table of this level that holds the part.
    #[inline(always)]
    pub(super) fn start_of<F: TableFormat>(self, index: usize, level: usize) -> u64 {
        let first = F::index(self.first.into(), level);
        let mask = F::leaf_size(level).offset_mask();
        // Wraps for an index below the first one, which is what is wanted.
        (self.first & !mask).wrapping_add((index as u64).wrapping_sub(first as u64) << F::SHIFTS[level])
    }

    /// Its pieces, one for each entry of this level.
    #[inline(always)]
    pub(super) fn pieces<F: TableFormat>(self, level: usize) -> impl Iterator<Item = (usize, Self)> {
        let (first, last) = self.indices::<F>(level);
        (first..=last).map(move |index| (index, self.within::<F>(self.start_of::<F>(index, level), level)))
    }
}
