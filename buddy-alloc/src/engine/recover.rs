//! The engine from its bitmap: after a crash, or in the kernel that takes over.
#![forbid(unsafe_code)]

use hectare_core::{FrameRun, RegionError};

use crate::banks::Banks;
use crate::engine::Engine;
use crate::geometry::{Geometry, Word};
use crate::row::full;

impl<'m, G: Geometry> Engine<'m, G> {
    /// How many words [`save`](Self::save) writes: one for each row of level 0, two if the geometry is exact.
    #[must_use]
    pub fn bitmap_words(&self) -> usize {
        self.level(0).rows + self.heads().len()
    }

    /// Writes which frames are free: bit i of word w is frame `first + w × width + i`, where `first` is the first frame
    /// of the span rounded down to the width of a row. If the geometry is exact, as many words follow that say where
    /// blocks begin. O(rows).
    ///
    /// # Errors
    /// [`RegionError::TooSmall`] iff `bitmap` is shorter than [`bitmap_words`](Self::bitmap_words). Nothing is written
    /// then.
    pub fn save(&self, bitmap: &mut [G::Word]) -> Result<(), RegionError> {
        let here = self.level(0);
        let bitmap = bitmap.get_mut(..self.bitmap_words()).ok_or(RegionError::TooSmall)?;
        let heads = self.heads().iter().copied();
        let rows = (here.first..here.first + here.rows).map(|row| self.free_bits(row));
        bitmap.iter_mut().zip(rows.chain(heads)).for_each(|(place, word)| *place = word);
        Ok(())
    }

    /// An engine over `span` in which those frames are free that a [saved](Self::save) bitmap of the same span says.
    /// All else in the banks is allocated, and its owners may give it back. O(words).
    ///
    /// # Errors
    /// As [`with_span`](Self::with_span); [`RegionError::TooSmall`] iff the bitmap is shorter than the span,
    /// [`RegionError::Unknown`] iff it has a frame free, or the begin of a block, that lies in no bank, or
    /// blocks that do not begin where allocated frames do.
    pub fn recover(
        span: FrameRun,
        banks: Banks<'m>,
        words: &'m mut [G::Word],
        bitmap: &[G::Word],
    ) -> Result<Self, RegionError> {
        let mut engine = Self::all_allocated(span, banks, words)?;
        let first = engine.level(0).first;
        let bitmap = bitmap.get(..engine.bitmap_words()).ok_or(RegionError::TooSmall)?;
        let (bitmap, heads) = bitmap.split_at_checked(engine.level(0).rows).ok_or(RegionError::TooSmall)?;
        for (row, word) in (first..).zip(bitmap) {
            let mut rest = *word & full::<G>();
            while rest != G::Word::ZERO {
                // A run of set bits: from the lowest to the next that is clear.
                let start = rest.lowest();
                let length = (!(rest >> start)).lowest().min(G::BITS - start);
                let offset = row << G::LOG2 | start as usize;
                if !engine.banks.manage(engine.frame(offset), length.into()) {
                    return Err(RegionError::Unknown);
                }
                engine.give_run(offset, length.into());
                let above = start + length;
                rest = if above < G::BITS { rest >> above << above } else { G::Word::ZERO };
            }
        }
        engine.heads_mut().iter_mut().zip(heads).for_each(|(place, word)| *place = *word & full::<G>());
        engine.check_heads().map_err(|_| RegionError::Unknown)?;
        engine.free.begin();
        Ok(engine)
    }
}
