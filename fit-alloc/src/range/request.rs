//! What is asked for, and where it fits in a hole.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::Unit;

/// A request for `length` units, anywhere unless constrained.
///
/// ```
/// use hectare_fit::range::Request;
/// let dma = Request::new(0x600_u32).aligned(0x100).within(0..0x100_0000).not_crossing(0x1_0000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<U> {
    pub(crate) length: U,
    pub(crate) align: U,
    pub(crate) low: U,
    pub(crate) high: U,
    /// 0: none.
    pub(crate) boundary: U,
}

impl<U: Unit> Request<U> {
    /// `length` units at any place.
    #[must_use]
    pub const fn new(length: U) -> Self {
        Self { length, align: U::ONE, low: U::ZERO, high: U::MAX, boundary: U::ZERO }
    }

    /// The first unit is a multiple of `align`, any number but 0.
    #[must_use]
    pub fn aligned(self, align: U) -> Self {
        Self { align, ..self }
    }

    /// Every unit lies in the window.
    #[must_use]
    pub fn within(self, window: Range<U>) -> Self {
        Self { low: window.start, high: window.end, ..self }
    }

    /// No two units lie on different sides of a multiple of `boundary`, a power of two that is at least the length. An
    /// alignment must be a power of two then.
    #[must_use]
    pub fn not_crossing(self, boundary: U) -> Self {
        Self { boundary, ..self }
    }

    /// Whether any hole that is long enough serves.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.align == U::ONE && self.low == U::ZERO && self.high == U::MAX && self.boundary == U::ZERO
    }

    /// Whether the request can be served at all in some space.
    pub(crate) fn is_sound(&self) -> bool {
        let power = |n: U| n.power() == Some(n);
        let boundary = self.boundary == U::ZERO
            || (power(self.boundary) && self.length <= self.boundary && power(self.align));
        self.align != U::ZERO && self.low <= self.high && boundary
    }

    fn crosses(&self, start: U) -> bool {
        self.boundary != U::ZERO
            && start.down(self.boundary) != (start + (self.length - U::ONE)).down(self.boundary)
    }

    /// The lowest place in the hole `[start, end)`.
    ///
    /// One step over a boundary is enough: it is a power of two as the alignment is, so the place above it is aligned
    /// and the `length ≤ boundary` units from there reach no further one.
    pub(crate) fn lowest_in(&self, start: U, end: U) -> Option<U> {
        let end = end.min(self.high);
        let mut place = start.max(self.low).up(self.align)?;
        let fits = |place: U| place.plus(self.length).is_some_and(|after| after <= end);
        if !fits(place) {
            return None;
        }
        if self.crosses(place) {
            place = place.up(self.boundary)?;
        }
        if fits(place) { Some(place) } else { None }
    }

    /// The highest place in the hole `[start, end)`.
    pub(crate) fn highest_in(&self, start: U, end: U) -> Option<U> {
        let (start, end) = (start.max(self.low), end.min(self.high));
        if end < self.length {
            return None;
        }
        let mut place = (end - self.length).down(self.align);
        if place >= start && self.crosses(place) {
            let below = (place + (self.length - U::ONE)).down(self.boundary);
            place = (below - self.length).down(self.align);
        }
        if place >= start { Some(place) } else { None }
    }
}
