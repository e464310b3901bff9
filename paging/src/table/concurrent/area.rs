//! What a transaction covers: one stretch of addresses, or two for a move.
//!
//! ```text
//!   entries     │    i    │   i+1   │   i+2   │   i+3   │
//!   low              ├────┴──┤
//!   high                        ├───┴─────────┴──┤
//!   pieces           [ i ]  [ i+1: low and high ][ i+2 ][ i+3 ]     each entry once, from left to right
//! ```
#![forbid(unsafe_code)]

use crate::table::TableFormat;
use crate::table::range::Part;

/// One or two parts of an address space, which do not overlap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) low: Part,
    pub(super) high: Option<Part>,
}

impl Area {
    pub(super) const fn one(low: Part) -> Self {
        Self { low, high: None }
    }

    /// Both; `None` if they overlap.
    pub(super) fn two(one: Part, other: Part) -> Option<Self> {
        let (low, high) = if one.first <= other.first { (one, other) } else { (other, one) };
        (low.last < high.first).then_some(Self { low, high: Some(high) })
    }

    /// From the first address to the last one.
    pub(super) fn cover(self) -> Part {
        Part { first: self.low.first, last: self.high.map_or(self.low.last, |high| high.last) }
    }

    pub(super) fn holds(self, part: Part) -> bool {
        let inside = |whole: Part| whole.first <= part.first && part.last <= whole.last;
        inside(self.low) || self.high.is_some_and(inside)
    }

    /// Its pieces, one for each entry of a table of this level that covers all of it.
    pub(super) fn pieces<F: TableFormat>(self, level: usize) -> impl Iterator<Item = (usize, Self)> {
        let (_, last) = self.low.indices::<F>(level);
        let mut high = self.high.into_iter().flat_map(move |high| high.pieces::<F>(level)).peekable();
        let shared = high.next_if(|(index, _)| *index == last).map(|(_, piece)| piece);
        let low = self.low.pieces::<F>(level).map(move |(index, low)| {
            let high = shared.filter(|_| index == last);
            (index, Self { low, high })
        });
        low.chain(high.map(|(index, part)| (index, Self::one(part))))
    }
}
