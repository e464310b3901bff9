//! The optimum, which knows the future.
#![forbid(unsafe_code)]

use super::Policy;

/// Who will be used the latest goes: no policy has fewer faults. Belady, "A study of replacement algorithms for a
/// virtual-storage computer", IBM Systems Journal 5(2), 1966.
#[derive(Debug)]
pub struct Optimal<'a> {
    /// Of each reference to come: when the same page is referenced next, `u64::MAX` for never.
    future: &'a [u64],
    /// Of each place: when its page is next used; 0 for nobody there.
    next: &'a mut [u64],
    now: usize,
}

impl<'a> Optimal<'a> {
    /// For as many places as `next` has entries. Each [`insert`](Policy::insert) or [`touch`](Policy::touch) is the next
    /// reference, and `future` says for each when its page is referenced again: the number of that reference, counted
    /// from 0, or `u64::MAX`. References beyond its end count as the last ones of their pages.
    #[must_use]
    pub fn new(future: &'a [u64], next: &'a mut [u64]) -> Self {
        next.fill(0);
        Self { future, next, now: 0 }
    }
}

impl Policy for Optimal<'_> {
    fn insert(&mut self, place: usize) {
        let when = self.future.get(self.now).copied().unwrap_or(u64::MAX);
        self.now += 1;
        if let Some(next) = self.next.get_mut(place) {
            *next = when;
        }
    }

    fn touch(&mut self, place: usize) {
        self.insert(place);
    }

    fn remove(&mut self, place: usize) {
        if let Some(next) = self.next.get_mut(place) {
            *next = 0;
        }
    }

    fn victim(&mut self) -> Option<usize> {
        let here = self.next.iter().enumerate().filter(|(_, next)| **next != 0);
        here.max_by_key(|(_, next)| **next).map(|(place, _)| place)
    }
}
