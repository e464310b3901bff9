//! A task's regions, and what a switch to another task has to write.
#![forbid(unsafe_code)]

/// Up to `N` regions by number. `R` is an encoded or a decoded region of any format.
///
/// ```
/// use hectare_segmentation::protect::{Change, RegionSet};
///
/// // Two tasks share region 0, their code. `R` is a name here; on a machine it is a `Region7`, `Region8` or `PmpEntry`.
/// let (mut one, mut two) = (RegionSet::<&str, 8>::EMPTY, RegionSet::EMPTY);
/// one.push("code");
/// one.push("stack of one");
/// one.push("a device");
/// two.push("code");
/// two.push("stack of two");
/// let changes: Vec<_> = one.changes_to(&two).collect();
/// assert_eq!(
///     changes,
///     [Change { number: 1, region: Some("stack of two") }, Change { number: 2, region: None }],
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSet<R, const N: usize> {
    regions: [Option<R>; N],
}

/// One number to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<R> {
    /// Which.
    pub number: usize,
    /// What: `None` switches it off.
    pub region: Option<R>,
}

impl<R: Copy + PartialEq, const N: usize> RegionSet<R, N> {
    /// No regions.
    pub const EMPTY: Self = Self { regions: [None; N] };

    /// The region of this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<R> {
        *self.regions.get(number)?
    }

    /// Sets or clears a number; the old region, or `None` too if there is no such number.
    pub fn set(&mut self, number: usize, region: Option<R>) -> Option<R> {
        core::mem::replace(self.regions.get_mut(number)?, region)
    }

    /// Enters a region at the lowest free number; `None` iff there is none.
    pub fn push(&mut self, region: R) -> Option<usize> {
        let number = self.regions.iter().position(Option::is_none)?;
        self.set(number, Some(region));
        Some(number)
    }

    /// What has to be written to make `self` into `next`, and nothing else, in ascending order.
    ///
    /// While some are written and some are not, regions of both are in force: write them with the unit off, or in a mode
    /// that it does not bind.
    pub fn changes_to<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = Change<R>> + 'a {
        let pairs = self.regions.iter().zip(&next.regions).enumerate();
        pairs.filter(|(_, (old, new))| old != new).map(|(number, (_, &region))| Change { number, region })
    }
}
