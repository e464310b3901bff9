//! Least recently used, by the last use or the one before.
#![forbid(unsafe_code)]

use super::Policy;

/// Whose K-th last use is the longest ago goes; with fewer than K uses that is never, and of these the least recently
/// used goes first. K = 1 is LRU; K = 2 is LRU-2: O'Neil, O'Neil and Weikum, "The LRU-K page replacement algorithm for
/// database disk buffering", SIGMOD 1993. History is forgotten when a page goes, and each use counts (no correlated
/// reference period).
#[derive(Debug)]
pub struct Lru<'a, const K: usize> {
    /// Of each place, when it was used: the latest first, 0 for never.
    uses: &'a mut [[u64; K]],
    now: u64,
}

impl<'a, const K: usize> Lru<'a, K> {
    const AT_LEAST_ONE: () = assert!(K >= 1, "a history of no use says nothing");

    /// For as many places as there are histories. Nobody is there yet.
    #[must_use]
    pub fn new(uses: &'a mut [[u64; K]]) -> Self {
        () = Self::AT_LEAST_ONE;
        uses.fill([0; K]);
        Self { uses, now: 0 }
    }

    fn used(&mut self, place: usize) {
        self.now += 1;
        if let Some(uses) = self.uses.get_mut(place) {
            uses.rotate_right(1);
            uses[0] = self.now;
        }
    }
}

impl<const K: usize> Policy for Lru<'_, K> {
    fn insert(&mut self, place: usize) {
        self.remove(place);
        self.used(place);
    }

    fn touch(&mut self, place: usize) {
        if self.uses.get(place).is_some_and(|uses| uses[0] != 0) {
            self.used(place);
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(uses) = self.uses.get_mut(place) {
            *uses = [0; K];
        }
    }

    fn victim(&mut self) -> Option<usize> {
        let here = self.uses.iter().enumerate().filter(|(_, uses)| uses[0] != 0);
        here.min_by_key(|(_, uses)| (uses[K - 1], uses[0])).map(|(place, _)| place)
    }
}
