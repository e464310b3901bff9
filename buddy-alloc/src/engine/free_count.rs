//! How many frames are free, and how many were at least.
#![forbid(unsafe_code)]

/// Two numbers, of which each call changes one: the fewest ever, and how many more there are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    least: u64,
    above: u64,
}

impl Free {
    pub(super) const NONE: Self = Self { least: 0, above: 0 };

    /// How many frames are free.
    #[inline(always)]
    pub(super) const fn now(self) -> u64 {
        self.least + self.above
    }

    /// How many were at least.
    pub(super) const fn least(self) -> u64 {
        self.least
    }

    #[inline(always)]
    pub(super) fn give(&mut self, frames: u64) {
        self.above += frames;
    }

    /// So many, which are free, are free no more.
    #[inline(always)]
    pub(super) fn take(&mut self, frames: u64) {
        if self.above < frames {
            self.least -= frames - self.above;
            self.above = frames;
        }
        self.above -= frames;
    }

    /// The fewest are as many as now, from now on.
    pub(super) const fn begin(&mut self) {
        self.begin_from(self.now());
    }

    /// The fewest were so many, or as many as now if those are fewer.
    pub(super) const fn begin_from(&mut self, least: u64) {
        let now = self.now();
        let least = if least < now { least } else { now };
        (self.least, self.above) = (least, now - least);
    }
}

#[cfg(test)]
mod tests {
    use super::Free;

    #[test]
    fn the_fewest_are_remembered() {
        let mut free = Free::NONE;
        free.give(10);
        free.begin();
        assert_eq!((free.now(), free.least()), (10, 10));
        free.take(3);
        free.give(2);
        assert_eq!((free.now(), free.least()), (9, 7));
        free.take(2);
        assert_eq!((free.now(), free.least()), (7, 7));
        free.take(7);
        free.give(1);
        assert_eq!((free.now(), free.least()), (1, 0));
        free.begin_from(5);
        assert_eq!((free.now(), free.least()), (1, 1));
    }
}
