//! Sixty-four classes of sizes for each octave, and which of them have holes.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::step;
use crate::range::{NIL, Unit};

/// The class of a size: a row for each octave from 64 up (row 0: below 64), a column for each 64th of it.
///
/// ```text
///  size      0 … 63 | 64 … 127 | 128 129 … 254 255 | 256 … 511 | …       in binary   1 011010 1…01
///  row       0      | 1        | 2                 | 3         |                     │ └─┬──┘ └─┬─┘
///  column    0 … 63 | 0 … 63   | 0   0   … 63  63  | 0 … 63    |                   row column  shift: bits that
///  per class 1      | 1        | 2                 | 4         |                               may still differ
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    row: u32,
    column: u32,
    /// How many low bits of the size the class leaves open.
    pub(super) shift: u32,
}

impl Class {
    #[inline]
    pub(super) fn of<U: Unit>(size: U) -> Self {
        let top = size.log2().max(5);
        let shift = top.max(6) - 6;
        Self { row: top - 5, column: size.bits(shift, 6), shift }
    }

    fn at(row: u32, column: u32) -> Self {
        Self { row, column, shift: row.max(1) - 1 }
    }

    /// A number for reports.
    pub(super) fn number(self) -> u64 {
        u64::from(self.row) * 64 + u64::from(self.column)
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
        let row = self.heads.as_ref().get(class.row as usize);
        row.map_or(NIL, |heads| heads[(class.column & 63) as usize])
    }

    #[inline]
    pub(super) fn set_head(&mut self, class: Class, head: u32) {
        let (row, column) = (class.row & 63, class.column & 63);
        if let Some(heads) = self.heads.as_mut().get_mut(row as usize) {
            heads[column as usize] = head;
        }
        let columns = &mut self.columns[row as usize];
        *columns = (*columns & !(1 << column)) | (u64::from(head != NIL) << column);
        self.rows = (self.rows & !(1 << row)) | (u64::from(*columns != 0) << row);
    }

    /// The lowest class above this one that has a hole.
    #[inline]
    pub(super) fn above(&self, class: Class) -> Option<Class> {
        step();
        let columns = self.columns(class.row) & (u64::MAX - 1) << (class.column & 63);
        if columns != 0 {
            return Some(Class::at(class.row, columns.trailing_zeros()));
        }
        let rows = self.rows & (u64::MAX - 1) << (class.row & 63);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros();
        Some(Class::at(row, self.columns(row).trailing_zeros()))
    }

    /// The highest class below this one that has a hole.
    pub(super) fn below(&self, class: Class) -> Option<Class> {
        step();
        let columns = self.columns(class.row) & !(u64::MAX << (class.column & 63));
        if let Some(column) = columns.checked_ilog2() {
            return Some(Class::at(class.row, column));
        }
        let row = (self.rows & !(u64::MAX << (class.row & 63))).checked_ilog2()?;
        Some(Class::at(row, self.columns(row).checked_ilog2()?))
    }

    /// The highest class that has a hole.
    #[inline]
    pub(super) fn highest(&self) -> Option<Class> {
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
