//! The clock, or second chance.
#![forbid(unsafe_code)]

use super::Policy;

/// The places stand in a circle, and a hand goes round: who was used since its last visit is passed over once more.
/// Corbató, "A paging experiment with the Multics system", 1968.
///
/// A page that comes in counts as used. Whoever comes to the place of a victim stands where the hand left.
#[derive(Debug)]
pub struct Clock<'a> {
    /// Bit 0: somebody is here; bit 1: it was used.
    marks: &'a mut [u8],
    hand: usize,
    count: usize,
}

const HERE: u8 = 1;
const USED: u8 = 2;

impl<'a> Clock<'a> {
    /// For as many places as there are marks. Nobody is there yet.
    #[must_use]
    pub fn new(marks: &'a mut [u8]) -> Self {
        marks.fill(0);
        Self { marks, hand: 0, count: 0 }
    }
}

impl Policy for Clock<'_> {
    fn insert(&mut self, place: usize) {
        if let Some(mark) = self.marks.get_mut(place) {
            self.count += usize::from(*mark == 0);
            *mark = HERE | USED;
        }
    }

    fn touch(&mut self, place: usize) {
        if let Some(mark) = self.marks.get_mut(place).filter(|mark| **mark != 0) {
            *mark |= USED;
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(mark) = self.marks.get_mut(place) {
            self.count -= usize::from(*mark != 0);
            *mark = 0;
            if place == self.hand {
                self.hand += 1;
            }
        }
    }

    fn victim(&mut self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        // The second round finds whom the first one passed over.
        for _ in 0..2 * self.marks.len() {
            if self.hand >= self.marks.len() {
                self.hand = 0;
            }
            let mark = &mut self.marks[self.hand];
            if *mark == HERE || (cfg!(hectare_plant = "clock_no_chance") && *mark != 0) {
                return Some(self.hand);
            }
            *mark &= !USED;
            self.hand += 1;
        }
        None
    }
}
