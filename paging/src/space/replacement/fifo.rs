//! First in, first out.
#![forbid(unsafe_code)]

use super::Policy;

/// Neighbours of a place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    newer: usize,
    older: usize,
    here: bool,
}

impl Links {
    /// Not in a queue.
    pub const NONE: Self = Self { newer: usize::MAX, older: usize::MAX, here: false };
}

/// Whoever came first goes first, however much it is used. More memory may mean more faults: Belady, Nelson and Shedler,
/// "An anomaly in space-time characteristics of certain programs running in a paging machine", CACM 12(6), 1969.
#[derive(Debug)]
pub struct Fifo<'a> {
    links: &'a mut [Links],
    newest: usize,
    oldest: usize,
}

impl<'a> Fifo<'a> {
    /// For as many places as there are links. Nobody is there yet.
    #[must_use]
    pub fn new(links: &'a mut [Links]) -> Self {
        links.fill(Links::NONE);
        Self { links, newest: usize::MAX, oldest: usize::MAX }
    }

    fn is_here(&self, place: usize) -> bool {
        self.links.get(place).is_some_and(|links| links.here)
    }
}

impl Policy for Fifo<'_> {
    fn insert(&mut self, place: usize) {
        if self.is_here(place) || place >= self.links.len() {
            return;
        }
        self.links[place] = Links { newer: usize::MAX, older: self.newest, here: true };
        match self.links.get_mut(self.newest) {
            Some(newest) => newest.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    fn touch(&mut self, _place: usize) {}

    fn remove(&mut self, place: usize) {
        if !self.is_here(place) {
            return;
        }
        let Links { newer, older, .. } = core::mem::replace(&mut self.links[place], Links::NONE);
        match self.links.get_mut(newer) {
            Some(links) => links.older = older,
            None => self.newest = older,
        }
        match self.links.get_mut(older) {
            Some(links) => links.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn victim(&mut self) -> Option<usize> {
        self.is_here(self.oldest).then_some(self.oldest)
    }
}
