//! Where each level's rows and index lie in the caller's slice of words.
//!
//! ```text
//!  words   [ rows of level 0 ……… | notes | index of level 0 | rows of level 1 | wholes | notes | index | … | heads ]
//!
//!  wholes  above level 0: for each row a word, bit set = this unit is no split row: it is free or allocated as a whole
//!
//!  notes   for each row 4 bits: under which class it is in the index, and whether it is at hand
//!
//!  index   tier 0: for each group of 64 rows, one word for each class: bit r = row r has that class
//!          tier 1: for each group of 64 groups, one word for each class: bit g = group g has such a row
//!          …       until one group is left; which classes that one has is in `Level::classes`
//!
//!  heads   if the geometry is exact: for each row of level 0 a word, bit set = a block begins at that frame
//! ```
//! All words of a group stand side by side: a row that changes its class stays on one or two cache lines.
#![forbid(unsafe_code)]

use hectare_core::FrameRun;

use crate::geometry::Geometry;

/// More levels than any region has; a power of two.
pub(crate) const MAX_LEVELS: usize = 8;

/// One level: its rows, and the index of those rows by class.
/// Padded to a power of two, so that finding one by number is a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(128))]
pub(crate) struct Level {
    /// Add this to a row's number to get its word (wrapping).
    pub(crate) shift: usize,
    /// The number of the first row.
    pub(crate) first: usize,
    /// How many rows.
    pub(crate) rows: usize,
    /// The word of each tier's first group.
    pub(crate) tiers: [usize; MAX_LEVELS],
    /// How many tiers, at least 1.
    pub(crate) depth: usize,
    /// Bit c: some indexed row has class c.
    pub(crate) classes: u32,
    /// Add this to a row's number to get the word that says which of its units are wholes (wrapping); above level 0.
    pub(crate) wholes: usize,
    /// Add this to a row's number, divided by the notes in a word, to get the word that has its note (wrapping).
    pub(crate) notes: usize,
}

/// No row: beyond every slice.
pub(crate) const NONE: usize = usize::MAX;

impl Level {
    const EMPTY: Self = Self {
        shift: 0,
        first: 0,
        rows: 0,
        tiers: [0; MAX_LEVELS],
        depth: 0,
        classes: 0,
        wholes: 0,
        notes: 0,
    };
}

/// The shape of the metadata over a span of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The frame that counts as 0: a multiple of the largest block.
    pub(crate) origin: u64,
    pub(crate) levels: [Level; MAX_LEVELS],
    /// How many levels, at least 1.
    pub(crate) count: usize,
    /// Add this to a row's number to get the word that says where blocks begin in it (wrapping), if it is kept.
    pub(crate) heads: usize,
    /// How many words in all.
    pub(crate) words: usize,
}

impl Layout {
    /// Of nothing.
    pub(crate) const EMPTY: Self =
        Self { origin: 0, levels: [Level::EMPTY; MAX_LEVELS], count: 0, heads: 0, words: 0 };

    /// The layout over `span`; `None` if it needs too many levels or words for this machine.
    #[expect(clippy::cast_possible_truncation, reason = "checked: the last frame's distance fits usize")]
    pub(crate) const fn over<G: Geometry>(span: FrameRun) -> Option<Self> {
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
        if count > MAX_LEVELS || last - origin > (usize::MAX >> 1) as u64 {
            return None;
        }
        let (start, last) = (start - origin, last - origin);
        let mut layout = Self { origin, levels: [Level::EMPTY; MAX_LEVELS], count, heads: 0, words: 0 };
        let mut level = 0;
        while level < count {
            let width = G::LOG2 * (level as u32 + 1);
            // In 64 bits: on narrower machines the shift may exceed the width of usize.
            let first = (start >> width) as usize;
            let rows = (last >> width) as usize - first + 1;
            let mut here = Level::EMPTY;
            (here.first, here.rows) = (first, rows);
            here.shift = layout.words.wrapping_sub(first);
            layout.words += rows;
            if level > 0 {
                here.wholes = layout.words.wrapping_sub(first);
                layout.words += rows;
            }
            let notes = G::LOG2 - 2;
            here.notes = layout.words.wrapping_sub(first >> notes);
            layout.words += ((first + rows - 1) >> notes) - (first >> notes) + 1;
            let mut groups = rows;
            loop {
                groups = groups.div_ceil(1 << G::LOG2);
                here.tiers[here.depth] = layout.words;
                here.depth += 1;
                layout.words += groups * G::LOG2 as usize;
                if groups == 1 || here.depth == MAX_LEVELS {
                    break;
                }
            }
            layout.levels[level] = here;
            level += 1;
        }
        if G::EXACT {
            layout.heads = layout.words.wrapping_sub(layout.levels[0].first);
            layout.words += layout.levels[0].rows;
        }
        Some(layout)
    }
}

/// How many words of metadata a region of frames needs: those from the lowest to the highest frame, holes included.
/// `None` if it has too many frames for this machine or geometry.
///
/// ```
/// use hectare_buddy::{Rows64, words_for};
/// use hectare_core::{Frame, FrameRun};
///
/// const ONE_GIB: FrameRun = FrameRun::new(Frame::new(0x8_0000), 1 << 18).unwrap();
/// static METADATA: [u64; words_for::<Rows64>(ONE_GIB).unwrap()] = [0; words_for::<Rows64>(ONE_GIB).unwrap()];
/// assert!(size_of_val(&METADATA) * 100 < 15 * (1 << 18)); // less than 0.15 bytes a frame
/// ```
#[must_use]
pub const fn words_for<G: Geometry>(span: FrameRun) -> Option<usize> {
    match Layout::over::<G>(span) {
        Some(layout) => Some(layout.words),
        None => None,
    }
}
