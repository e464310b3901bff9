//! A class for each small size, then thirty-two for each octave, and which of them have holes.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::step;
use crate::range::{NIL, Unit};

/// The sizes below this have a class each; see also `Heads` in `range::unit`.
const EXACT: u32 = 1024;

/// The class of a size.
///
/// ```text
///  size      0 1 2 … 1023 | 1024 … 1055 … 2016 … 2047 | 2048 … 2111 … 4032 … 4095 | …    in binary   1 01101 01…01
///  class     0 1 2 … 1023 | 1024        … 1055        | 1056        … 1087        |                    └─┬─┘ └─┬─┘
///  width     1            | 32                        | 64                        |                    class  shift: bits
/// ```                                                                                                        that may differ
/// Classes are in the order of their sizes. For their masks they lie in rows of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(u32);

impl Class {
    #[inline]
    pub(super) fn of<U: Unit>(size: U) -> Self {
        let log2 = size.log2_from(9);
        let wide = log2 > 9;
        let shift = if wide { log2 - 5 } else { 0 };
        // Six bits of a wide class: the first one, which counts as 32, and five for the class in the octave.
        let first = if wide { EXACT - 32 + 32 * (shift - 5) } else { 0 };
        Self(first + size.bits(shift, 10))
    }

    #[inline]
    fn at(row: u32, column: u32) -> Self {
        Self(row << 6 | column)
    }

    #[inline]
    fn row(self) -> u32 {
        self.0 >> 6
    }

    #[inline]
    fn column(self) -> u32 {
        self.0 & 63
    }

    /// How many low bits of the size the class leaves open.
    #[inline]
    pub(super) fn shift(self) -> u32 {
        if self.is_exact() { 0 } else { (self.0 - EXACT) / 32 + 5 }
    }

    /// Whether all its sizes are equal.
    #[inline]
    pub(super) fn is_exact(self) -> bool {
        self.0 < EXACT
    }

    /// A number for reports.
    pub(super) fn number(self) -> u64 {
        self.0.into()
    }
}

/// A link for each class, and masks of those that lead somewhere.
///
/// Invariant: a column's bit is set exactly if its link is not [`NIL`], a row's exactly if one of its columns' is.
#[derive(Clone, Debug)]
pub(super) struct Classes<U: Unit> {
    rows: u64,
    columns: [u64; 64],
    heads: U::Heads,
}

impl<U: Unit> Default for Classes<U> {
    fn default() -> Self {
        Self { rows: 0, columns: [0; 64], heads: U::NO_HEADS }
    }
}

impl<U: Unit> Classes<U> {
    #[inline]
    fn columns(&self, row: u32) -> u64 {
        self.columns[(row & 63) as usize]
    }

    /// The link of a class.
    #[inline]
    pub(super) fn head(&self, class: Class) -> u32 {
        let row = self.heads.as_ref().get(class.row() as usize);
        row.map_or(NIL, |heads| heads[class.column() as usize])
    }

    /// Sets a class's link to a hole.
    #[inline]
    pub(super) fn set_head(&mut self, class: Class, head: u32) {
        debug_assert!(head != NIL, "a hole");
        self.link(class, head);
        self.columns[(class.row() & 63) as usize] |= 1 << class.column();
        self.rows |= 1 << (class.row() & 63);
    }

    /// Sets a class's link, perhaps to nothing.
    #[inline]
    pub(super) fn change_head(&mut self, class: Class, head: u32) {
        self.link(class, head);
        // Without a branch: which classes run empty cannot be predicted.
        let columns = &mut self.columns[(class.row() & 63) as usize];
        *columns &= !(u64::from(head == NIL) << class.column());
        let none = *columns == 0;
        self.rows &= !(u64::from(none) << (class.row() & 63));
    }

    #[inline]
    fn link(&mut self, class: Class, head: u32) {
        if let Some(heads) = self.heads.as_mut().get_mut(class.row() as usize) {
            heads[class.column() as usize] = head;
        }
    }

    /// The lowest class from this one up that has a hole.
    #[inline]
    pub(super) fn from(&self, class: Class) -> Option<Class> {
        self.lowest(class, u64::MAX)
    }

    /// The lowest class above this one that has a hole.
    #[inline]
    pub(super) fn above(&self, class: Class) -> Option<Class> {
        self.lowest(class, u64::MAX - 1)
    }

    #[inline]
    fn lowest(&self, class: Class, mask: u64) -> Option<Class> {
        step();
        let columns = self.columns(class.row()) & mask << class.column();
        if columns != 0 {
            return Some(Class::at(class.row(), columns.trailing_zeros()));
        }
        let rows = self.rows & (u64::MAX - 1) << (class.row() & 63);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros();
        Some(Class::at(row, self.columns(row).trailing_zeros()))
    }

    /// The highest class below this one that has a hole.
    pub(super) fn below(&self, class: Class) -> Option<Class> {
        step();
        let columns = self.columns(class.row()) & !(u64::MAX << class.column());
        if let Some(column) = columns.checked_ilog2() {
            return Some(Class::at(class.row(), column));
        }
        let row = (self.rows & !(u64::MAX << (class.row() & 63))).checked_ilog2()?;
        Some(Class::at(row, self.columns(row).checked_ilog2()?))
    }

    /// The highest class that has a hole.
    #[inline]
    pub(super) fn highest(&self) -> Option<Class> {
        step();
        let row = self.rows.checked_ilog2()?;
        Some(Class::at(row, self.columns(row).checked_ilog2()?))
    }

    /// Checks the masks, and adds up what `count` gives for each link.
    pub(super) fn check(
        &self,
        count: impl Fn(Class, u32) -> Result<u64, Violation>,
    ) -> Result<u64, Violation> {
        let mut holes = 0;
        for (row, heads) in (0_u32..).zip(self.heads.as_ref()) {
            let set = self.rows >> row & 1 != 0;
            let columns = self.columns(row);
            Violation::unless(
                set == (columns != 0),
                "a row's bit is set exactly if a column's is",
                row.into(),
            )?;
            for (column, head) in (0_u32..).zip(heads) {
                let class = Class::at(row, column);
                let set = columns >> column & 1 != 0;
                Violation::unless(
                    set == (*head != NIL),
                    "a column's bit is set exactly if its class has a hole",
                    class.number(),
                )?;
                holes += count(class, *head)?;
            }
        }
        Ok(holes)
    }
}
