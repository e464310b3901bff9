//! The engine from its bitmap: after a crash, or in the kernel that takes over.
#![forbid(unsafe_code)]

use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{CpuPin, FrameRun, RegionError};

use crate::banks::Banks;
use crate::geometry::Geometry;
use crate::shared::bits::full;
use crate::shared::{Rows, Shared};

impl<'m, C: CpuPin, G: Geometry> Shared<'m, C, G> {
    /// How many words [`save`](Self::save) writes: one for each row of level 0.
    #[must_use]
    pub fn bitmap_words(&self) -> usize {
        self.rows.layout.level(0).rows
    }

    /// Writes which frames are free, stocks included: bit i of word w is frame `first + w × width + i`, where `first` is
    /// the first frame of the span rounded down to the width of a row. The bitmap of [`Engine::save`] for rows of 64.
    /// Exact while nobody calls. O(rows × slots).
    ///
    /// # Errors
    /// [`RegionError::TooSmall`] iff `bitmap` is shorter than [`bitmap_words`](Self::bitmap_words). Nothing is written
    /// then.
    ///
    /// [`Engine::save`]: crate::Engine::save
    pub fn save(&self, bitmap: &mut [u64]) -> Result<(), RegionError> {
        let here = self.rows.layout.level(0);
        let bitmap = bitmap.get_mut(..here.rows).ok_or(RegionError::TooSmall)?;
        for (row, word) in (here.first..).zip(bitmap) {
            *word = self.rows.free_with_stock(row);
        }
        Ok(())
    }

    /// An engine over `span` in which those frames are free that a [saved](Self::save) bitmap of the same span says.
    /// All else in the banks is allocated, and its owners may give it back. O(words).
    ///
    /// # Errors
    /// As [`new`](Self::new); [`RegionError::BadRange`] iff a bank lies outside `span`, [`RegionError::TooSmall`] iff the
    /// bitmap is shorter than the span, [`RegionError::Unknown`] iff it has a frame free that lies in no bank.
    pub fn recover(
        span: FrameRun,
        banks: Banks<'m>,
        words: &'m [AtomicU64],
        pin: C,
        bitmap: &[u64],
    ) -> Result<Self, RegionError> {
        let rows = Rows::all_allocated(span, banks, words, pin.slots())?;
        let here = rows.layout.level(0);
        let bitmap = bitmap.get(..here.rows).ok_or(RegionError::TooSmall)?;
        let mut hand = rows.hand(None);
        let mut free = 0;
        for (row, word) in (here.first..).zip(bitmap) {
            let mut rest = *word & full::<G>();
            while rest != 0 {
                // A run of set bits: from the lowest to the next that is clear.
                let start = rest.trailing_zeros();
                let length = (!(rest >> start)).trailing_zeros().min(G::BITS - start);
                let offset = row << G::LOG2 | start as usize;
                if !rows.manages(rows.frame(offset), length.into()) {
                    return Err(RegionError::Unknown);
                }
                rows.give_held(&mut hand, offset, length.into());
                free += u64::from(length);
                rest &= u64::MAX.checked_shl(start + length).unwrap_or(0);
            }
        }
        rows.forget_counts();
        rows.count_taken(&hand, rows.banks.frames().saturating_sub(free));
        Ok(Self { rows, pin })
    }
}
