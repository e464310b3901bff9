//! Where everything lies in the caller's slice of words.
//!
//! ```text
//!  words   [ … | a record for each slot, one for all others | rows of level 0 | records of level 1 | records of level 2 | … ]
//!            └─ up to 7 words left out, so that records begin on a cache line
//!
//!  level 0   one word a row
//!
//!  a record of level 1, one cache line: a *tree* of 64 rows
//!    0   the row: which of its units are free
//!    1   the slots that work in it
//!    2   … 7   hints for level 0: word c, bit u = the row of unit u has class c
//!
//!  a record of level m has hints for each level l below: bit u = under unit u there is a row of level l with class c
//!
//!  a slot's record, two cache lines
//!    0   moves: odd while it carries frames from one word to another     8   stock: free frames of that row, its own
//!    1   row of its stock, + 1                                           9   frames it took
//!    2   its tree, + 1; tree for large blocks, + 1                      10   frames it gave back
//!    4   lock (common record only)                                      11   requests refused, by reason: two words
//!                                                                       13   row it gave frames to last, + 1
//! ```
#![forbid(unsafe_code)]

use hectare_core::FrameRun;

use crate::geometry::Geometry;
use crate::layout::MAX_LEVELS;

/// Words of a slot's record: the line that others read, and the line that only the owner uses all the time.
pub(super) const SLOT_WORDS: usize = 16;
/// Words in a cache line of 64 bytes.
const LINE: usize = 8;

/// One level: rows, each the first word of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// The word of row 0 would be here (wrapping).
    base: usize,
    /// log2 of a record's words.
    stride: u32,
    /// The number of the first row.
    pub(super) first: usize,
    /// How many rows.
    pub(super) rows: usize,
}

impl Level {
    const EMPTY: Self = Self { base: 0, stride: 0, first: 0, rows: 0 };

    /// The word of a row.
    #[inline(always)]
    pub(super) const fn row(&self, row: usize) -> usize {
        self.base.wrapping_add(row << self.stride)
    }
}

/// The shape of the metadata over a span of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The frame that counts as 0: a multiple of the largest block.
    pub(super) origin: u64,
    pub(super) levels: [Level; MAX_LEVELS],
    /// How many levels, at least 1.
    pub(super) count: usize,
    /// The first slot's record.
    slots: usize,
    /// How many slots, without the common record.
    pub(super) slot_count: usize,
    /// How many words in all, with the `skip` at the front.
    pub(super) words: usize,
}

impl Layout {
    /// The layout over `span` with so many slots, from word `skip` on; `None` if it needs too much for this machine.
    #[expect(clippy::cast_possible_truncation, reason = "checked: the last frame's distance fits usize")]
    pub(super) const fn over<G: Geometry>(span: FrameRun, slots: u32, skip: usize) -> Option<Self> {
        let (start, last) = (span.first().number(), span.end().number() - 1);
        // One row at the top holds the span and has a frame to spare, so that it is never full.
        let mut bits = G::LOG2;
        while start >> bits != last >> bits || span.count() == 1 << bits {
            bits += G::LOG2;
            if bits > 63 {
                return None;
            }
        }
        let count = (bits / G::LOG2) as usize;
        let origin = start >> bits << bits;
        if count > MAX_LEVELS || last - origin > (usize::MAX >> 8) as u64 || slots > 1 << 16 {
            return None;
        }
        let (start, last) = (start - origin, last - origin);
        let slot_count = slots as usize;
        let mut words = skip + (slot_count + 1) * SLOT_WORDS;
        let mut levels = [Level::EMPTY; MAX_LEVELS];
        let mut level = 0;
        while level < count {
            let width = G::LOG2 * (level as u32 + 1);
            // In 64 bits: on narrower machines the shift may exceed the width of usize.
            let first = (start >> width) as usize;
            let rows = (last >> width) as usize - first + 1;
            let record = if level == 0 { 1 } else { (2 + level * G::LOG2 as usize).next_power_of_two() };
            let stride = record.trailing_zeros();
            if level == 0 {
                // Eight rows that begin at a multiple of eight share a line.
                words += first % LINE;
            } else {
                words = (words - skip).next_multiple_of(LINE) + skip;
            }
            levels[level] = Level { base: words.wrapping_sub(first << stride), stride, first, rows };
            words += rows << stride;
            level += 1;
        }
        Some(Self { origin, levels, count, slots: skip, slot_count, words })
    }

    #[inline(always)]
    pub(super) const fn level(&self, level: usize) -> &Level {
        &self.levels[level % MAX_LEVELS]
    }

    /// The word of a row.
    #[inline(always)]
    pub(super) const fn row(&self, level: usize, row: usize) -> usize {
        self.level(level).row(row)
    }

    /// The word that says which slots work in a tree.
    #[inline(always)]
    pub(super) const fn owners(&self, tree: usize) -> usize {
        self.level(1).row(tree).wrapping_add(1)
    }

    /// The word of hints in the record of row `row` of level `above`: which of its units have, on `level`, a row of
    /// this class.
    #[inline(always)]
    pub(super) const fn hint<G: Geometry>(
        &self,
        level: usize,
        class: u32,
        above: usize,
        row: usize,
    ) -> usize {
        self.level(above).row(row).wrapping_add(2 + level * G::LOG2 as usize + class as usize)
    }

    /// The record of a slot; of all who have none, if there is no such slot.
    #[inline(always)]
    pub(super) const fn record(&self, slot: usize) -> usize {
        let number = if slot < self.slot_count { slot } else { self.slot_count };
        self.slots + number * SLOT_WORDS
    }
}

/// How many words of metadata [`Shared`](crate::shared::Shared) needs over a region of frames, from the lowest to the
/// highest, holes included, with so many slots; `None` if that is too much for this machine or geometry.
///
/// ```
/// use hectare_buddy::{Rows64, shared::words_for};
/// use hectare_core::{Frame, FrameRun};
///
/// const ONE_GIB: FrameRun = FrameRun::new(Frame::new(0x8_0000), 1 << 18).unwrap();
/// const WORDS: usize = words_for::<Rows64>(ONE_GIB, 8).unwrap();
/// assert!(WORDS * 8 * 1000 < 148 * (1 << 18)); // less than 0.148 bytes a frame
/// ```
#[must_use]
pub const fn words_for<G: Geometry>(span: FrameRun, slots: u32) -> Option<usize> {
    match Layout::over::<G>(span, slots, LINE - 1) {
        Some(layout) => Some(layout.words),
        None => None,
    }
}
