//! The tree's invariants, looked at one by one.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::super::chunk::{HALF, WIDTH};
use super::{Tree, chunk, leaf_of};
use crate::range::{NIL, Unit, View};

impl Tree {
    /// Whether a hole is where it knows it is.
    pub(in crate::policy) fn contains<U: Unit>(&self, v: View<'_, U>, hole: u32) -> bool {
        let node = v.at(hole);
        let here = chunk(v, leaf_of(v, hole));
        let entry = here.entry(here.slot_past(node.start));
        entry.link == hole && entry.end == node.end() && entry.size == node.length
    }

    /// Checks every chunk, and gives the number of holes.
    pub(in crate::policy) fn check<U: Unit>(&self, v: View<'_, U>) -> Result<u64, Violation> {
        if self.levels == 0 {
            return Ok(0);
        }
        let above = chunk(v, self.root).above;
        Violation::unless(above == NIL, "nothing is above the root", self.root.into())?;
        self.check_below(v, self.root, self.levels - 1)
    }

    fn check_below<U: Unit>(&self, v: View<'_, U>, at: u32, level: u32) -> Result<u64, Violation> {
        let here = chunk(v, at);
        let least = match (at == self.root, level) {
            (false, _) => HALF,
            (true, 0) => 1,
            (true, _) => 2,
        };
        let good = (least..=WIDTH).contains(&here.used());
        Violation::unless(good, "a chunk is at least half full, an inner root has two entries", at.into())?;
        let (mut holes, mut most) = (0, U::ZERO);
        for slot in 0..WIDTH {
            let entry = here.entry(slot);
            most = most.max(entry.size);
            if slot >= here.used() {
                let empty = entry.link == NIL && entry.size == U::ZERO && entry.end == U::MAX;
                Violation::unless(empty, "entries past the used ones are empty", at.into())?;
            } else if level == 0 {
                let node = v.at(entry.link);
                let same = node.is_hole() && node.end() == entry.end && node.length == entry.size;
                Violation::unless(same, "a leaf's entry is a hole as it lies", at.into())?;
                Violation::unless(node.link[0] == at, "a hole knows its leaf", at.into())?;
                holes += 1;
            } else {
                let below = chunk(v, entry.link).summary(entry.link);
                let same = below.end == entry.end && below.size == entry.size;
                Violation::unless(same, "an inner entry has its chunk's end and largest size", at.into())?;
                let above = chunk(v, entry.link).above;
                Violation::unless(above == at, "a chunk knows the one above", entry.link.into())?;
                holes += self.check_below(v, entry.link, level - 1)?;
            }
            if slot > 0 && slot < here.used() {
                let ordered = here.end(slot - 1) < entry.end;
                Violation::unless(ordered, "entries are in the order of their ends", at.into())?;
            }
        }
        Violation::unless(here.most == most, "a chunk knows its largest size", at.into())?;
        Ok(holes)
    }
}
