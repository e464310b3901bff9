//! A class for each small size, then thirty-two for each octave, and which of them have holes.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::step;
use crate::range::{NIL, Unit};

/// The sizes below this have a class each; see also `Heads` in `range::unit`.
const EXACT: u32 = 2048;

/// For the sizes with this logarithm: how far they are shifted, and (from bit 8 up) what is added to give the class.
const PLACES: [u32; 64] = {
    let (mut places, mut log2) = ([0; 64], EXACT.ilog2());
    while log2 < 64 {
        let shift = log2 - 5;
        places[log2 as usize] = (EXACT - 32 + 32 * (log2 - EXACT.ilog2())) << 8 | shift;
        log2 += 1;
    }
    places
};

/// The class of a size.
///
/// ```text
///  size      0 1 2 … 2047 | 2048 … 2111 … 4032 … 4095 | 4096 … 4223 … 8064 … 8191 | …    in binary   1 01101 01…01
///  class     0 1 2 … 2047 | 2048        … 2079        | 2080        … 2111        |                    └─┬─┘ └─┬─┘
///  width     1            | 64                        | 128                       |                    class  shift: bits
/// ```                                                                                                        that may differ
/// Classes are in the order of their sizes. For their masks they lie in rows of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(u32);

impl Class {
    #[inline]
    pub(super) fn of<U: Unit>(size: U) -> Self {
        let place = PLACES[(size.log2() & 63) as usize];
        // Of a wide class six bits are left: the first one, which counts as 32, and five for the class in the octave.
        Self((place >> 8) + size.above(place & 63))
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
        if self.is_exact() { 0 } else { (self.0 - EXACT) / 32 + EXACT.ilog2() - 5 }
    }

    /// Whether all its sizes are equal.
    #[inline]
    pub(super) fn is_exact(self) -> bool {
        self.0 < EXACT
    }

    /// Its index among all classes.
    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0
    }

    /// The class with this index; none for [`NIL`].
    #[inline]
    pub(super) fn numbered(index: u32) -> Option<Self> {
        if index == NIL { None } else { Some(Self(index)) }
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
    /// The link of a class that there is not.
    none: u32,
}

impl<U: Unit> Default for Classes<U> {
    fn default() -> Self {
        Self { rows: 0, columns: [0; 64], heads: U::NO_HEADS, none: NIL }
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
        self.heads.as_ref().as_flattened().get(class.0 as usize).copied().unwrap_or(NIL)
    }

    /// The same, to be changed. Who makes something of nothing says so by [`occupy`](Self::occupy), who makes nothing of it
    /// by [`vacate_if`](Self::vacate_if).
    #[inline]
    pub(super) fn head_mut(&mut self, class: Class) -> &mut u32 {
        self.heads.as_mut().as_flattened_mut().get_mut(class.0 as usize).unwrap_or(&mut self.none)
    }

    /// Sets a class's link to a hole.
    #[inline]
    pub(super) fn set_head(&mut self, class: Class, head: u32) {
        debug_assert!(head != NIL, "a hole");
        *self.head_mut(class) = head;
        self.occupy(class);
    }

    /// Sets a class's link, perhaps to nothing.
    #[inline]
    pub(super) fn change_head(&mut self, class: Class, head: u32) {
        *self.head_mut(class) = head;
        self.vacate_if(class, head == NIL);
    }

    /// Marks a class as not empty.
    #[inline]
    pub(super) fn occupy(&mut self, class: Class) {
        self.columns[(class.row() & 63) as usize] |= 1 << class.column();
        self.rows |= 1 << (class.row() & 63);
    }

    /// Marks a class as empty, if it is. Without a branch: which classes run empty cannot be predicted.
    #[inline]
    pub(super) fn vacate_if(&mut self, class: Class, empty: bool) {
        let columns = &mut self.columns[(class.row() & 63) as usize];
        *columns &= !(u64::from(empty) << class.column());
        let none = *columns == 0;
        self.rows &= !(u64::from(none) << (class.row() & 63));
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
        let here = self.columns(class.row()) & mask << class.column();
        let rows = self.rows & (u64::MAX - 1) << (class.row() & 63);
        if here | rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros();
        // Which of the two it is could not be predicted: so both are looked at.
        let later = u64::from(here == 0).wrapping_neg();
        let columns = here | self.columns(row) & later;
        #[expect(clippy::cast_possible_truncation, reason = "all bits or none")]
        let row = class.row() ^ ((class.row() ^ row) & later as u32);
        Some(Class::at(row, columns.trailing_zeros()))
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
