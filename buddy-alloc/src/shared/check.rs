//! The invariants of [`Shared`], one by one.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, Violation};

use crate::geometry::Geometry;
use crate::shared::bits::{bit, full};
use crate::shared::{Rows, Shared};

impl<G: Geometry> Rows<'_, G> {
    fn check_row(&self, level: usize, row: usize) -> Result<(), Violation> {
        let word = self.row(level, row);
        let at = row as u64;
        Violation::unless(word & !full::<G>() == 0, "no bit lies outside its row", at)?;
        if level == 0 {
            return Ok(());
        }
        (0..1 << G::LOG2).filter(|unit| word & bit::<G>(*unit) != 0).try_for_each(|unit| {
            let child = row << G::LOG2 | unit;
            let rule = "a unit's bit is set only if the row below is full";
            Violation::unless(self.row(level - 1, child) == full::<G>(), rule, child as u64)
        })
    }

    fn check_stocks(&self) -> Result<(), Violation> {
        for slot in 0..self.layout.slot_count {
            let Some((row, stock)) = self.stock_at_rest(slot) else { continue };
            let shared = stock & self.row(0, row);
            Violation::unless(shared == 0, "no frame stands in a row and in a stock", row as u64)?;
            let owner = self.load(self.layout.owners(row >> G::LOG2)) & u64::from(u32::MAX);
            let rule = "a stock is of a row in a tree of its slot";
            Violation::unless(stock == 0 || owner == slot as u64 + 1, rule, row as u64)?;
        }
        Ok(())
    }
}

impl<C, G: Geometry> CheckInvariants for Shared<'_, C, G> {
    /// The invariants that the type lists, while nobody calls. O(frames). `at` is a row or a frame, as the rule says.
    fn check_invariants(&self) -> Result<(), Violation> {
        let rows = &self.rows;
        for level in 0..rows.layout.count {
            let here = rows.layout.level(level);
            (here.first..here.first + here.rows).try_for_each(|row| rows.check_row(level, row))?;
        }
        if rows.layout.count > 1 {
            rows.check_stocks()?;
        }
        let mut free = 0;
        for run in self.free_runs() {
            free += run.count();
            let (first, count) = (run.first(), run.count());
            Violation::unless(rows.banks.hold(first, count), "a free frame lies in a bank", first.number())?;
        }
        let rule = "the frames counted as free are those that the bits say";
        Violation::unless(free == rows.banks.frames().wrapping_sub(rows.used()), rule, free)
    }
}
