//! Aging: not frequently used, with a memory that fades.
#![forbid(unsafe_code)]

use super::Policy;

/// One row of bits for each place: at each tick it moves down by one, and whether the page was used since the last tick
/// comes in at the top. The least number goes. What a kernel can have of LRU with accessed bits alone.
#[derive(Debug)]
pub struct Aging<'a> {
    ages: &'a mut [Age],
}

/// What is remembered of a place: the storage of [`Aging`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Age {
    history: u32,
    used: bool,
    here: bool,
}

impl<'a> Aging<'a> {
    /// For as many places as there are ages. Nobody is there yet.
    #[must_use]
    pub fn new(ages: &'a mut [Age]) -> Self {
        ages.fill(Age::default());
        Self { ages }
    }

    /// The row of bits of a place, the latest tick at the top; `None` if nobody is there.
    #[must_use]
    pub fn history(&self, place: usize) -> Option<u32> {
        self.ages.get(place).filter(|age| age.here).map(|age| age.history)
    }
}

impl Policy for Aging<'_> {
    fn insert(&mut self, place: usize) {
        if let Some(age) = self.ages.get_mut(place) {
            *age = Age { history: 0, used: true, here: true };
        }
    }

    fn touch(&mut self, place: usize) {
        if let Some(age) = self.ages.get_mut(place) {
            age.used = true;
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(age) = self.ages.get_mut(place) {
            *age = Age::default();
        }
    }

    fn victim(&mut self) -> Option<usize> {
        // What was used since the last tick is younger than all history.
        let here = self.ages.iter().enumerate().filter(|(_, age)| age.here);
        here.min_by_key(|(_, age)| (age.used, age.history)).map(|(place, _)| place)
    }

    fn tick(&mut self) {
        for age in self.ages.iter_mut() {
            age.history = age.history >> 1 | u32::from(age.used) << 31;
            age.used = false;
        }
    }
}
