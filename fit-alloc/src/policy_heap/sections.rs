//! The largest hole that begins in each section of a region, and the maxima of these: the way to the lowest or highest
//! hole of a size in a few steps.
//!
//! ```text
//!  level 2                       [ 900 …             ]                  one group of 16: the top
//!  level 1       [ 40   900   0  … ]   [ … ]                            the largest of each group below
//!  level 0   [ 8 40 2 …][ 900 0 …][ 0 …]                                the largest hole that begins in each section
//!  sections    │  │
//!  map        ─┴──┴─ a word of the map each: 64 granules, 1 KiB (on 32-bit machines 32 granules, 512 bytes)
//! ```
//! Its size depends on the region alone: 4 bytes for a section and a fifteenth of that for the upper levels. So it
//! never grows, and a free never needs memory.
#![forbid(unsafe_code)]

use hectare_core::Violation;

/// Entries in a group: 64 bytes, a cache line.
const GROUP: usize = 16;
/// Levels of 2^32 sections.
const LEVELS: usize = 8;

/// Where the levels lie in their table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections {
    levels: usize,
    offsets: [usize; LEVELS],
}

impl Sections {
    /// No sections.
    pub(super) const EMPTY: Self = Self { levels: 0, offsets: [0; LEVELS] };

    /// The levels over so many sections, and the entries that their table has.
    pub(super) fn over(sections: usize) -> (Self, usize) {
        let (mut this, mut entries, mut length) = (Self::EMPTY, 0, sections);
        for offset in &mut this.offsets {
            *offset = entries;
            entries += length.next_multiple_of(GROUP);
            this.levels += 1;
            if length <= GROUP {
                break;
            }
            length = length.div_ceil(GROUP);
        }
        (this, entries)
    }

    /// The group with entry `at` of a level.
    #[inline(always)]
    fn group<'t>(&self, table: &'t [u32], level: usize, at: usize) -> Option<&'t [u32; GROUP]> {
        let start = self.offsets.get(level)? + (at & !(GROUP - 1));
        table.get(start..start + GROUP)?.try_into().ok()
    }

    /// Notes the largest hole of a section. O(log sections).
    #[inline(always)]
    pub(super) fn update(&self, table: &mut [u32], section: usize, largest: u32) {
        let (mut at, mut value) = (section, largest);
        for level in 0..self.levels {
            let Some(offset) = self.offsets.get(level) else { return };
            let Some(entry) = table.get_mut(offset + at) else { return };
            let old = core::mem::replace(entry, value);
            if old == value {
                return;
            }
            let Some(above) = self.offsets.get(level + 1).and_then(|next| table.get(next + at / GROUP))
            else {
                return;
            };
            if value < *above {
                if old < *above {
                    return;
                }
                // The planted fault: a maximum that left is kept.
                if !cfg!(hectare_plant = "policy_stale_section") {
                    value = self.group(table, level, at).map_or(0, largest_of);
                } else {
                    return;
                }
            }
            at /= GROUP;
        }
    }

    /// The first section at or after `from` with a hole of at least `size`. O(log sections).
    #[inline(always)]
    pub(super) fn first(&self, table: &[u32], from: usize, size: u32) -> Option<usize> {
        let (mut level, mut at) = (0, from);
        let found = loop {
            // Past the end of a level there is nothing, on those above neither.
            let mask = at_least(self.group(table, level, at)?, size) & u32::MAX << (at % GROUP);
            if mask != 0 {
                break (at & !(GROUP - 1)) + mask.trailing_zeros() as usize;
            }
            at = at / GROUP + 1;
            level += 1;
            if level == self.levels {
                return None;
            }
        };
        self.down(table, level, found, |group| at_least(group, size).trailing_zeros())
    }

    /// The last section at or before `from` with a hole of at least `size`. O(log sections).
    #[inline(always)]
    pub(super) fn last(&self, table: &[u32], from: usize, size: u32) -> Option<usize> {
        let (mut level, mut at) = (0, from);
        let found = loop {
            let mask = at_least(self.group(table, level, at)?, size) & u32::MAX >> (31 - at % GROUP);
            if mask != 0 {
                break (at & !(GROUP - 1)) + mask.ilog2() as usize;
            }
            at = (at / GROUP).checked_sub(1)?;
            level += 1;
            if level == self.levels {
                return None;
            }
        };
        self.down(table, level, found, |group| at_least(group, size).checked_ilog2().unwrap_or(32))
    }

    /// From an entry down to a section, by the slot that `pick` finds in each group.
    #[inline(always)]
    fn down(
        &self,
        table: &[u32],
        level: usize,
        at: usize,
        pick: impl Fn(&[u32; GROUP]) -> u32,
    ) -> Option<usize> {
        let mut at = at;
        for level in (0..level).rev() {
            at *= GROUP;
            let slot = pick(self.group(table, level, at)?) as usize;
            if slot >= GROUP {
                return None;
            }
            at += slot;
        }
        Some(at)
    }

    /// The largest of all holes. O(1).
    pub(super) fn largest(&self, table: &[u32]) -> u32 {
        let top = self.levels.checked_sub(1).and_then(|top| self.group(table, top, 0));
        top.map_or(0, largest_of)
    }

    /// Checks every level against the one below, and the lowest against what `largest_in` says.
    pub(super) fn check(
        &self,
        table: &[u32],
        sections: usize,
        largest_in: impl Fn(usize) -> u32,
    ) -> Result<(), Violation> {
        let entry = |level: usize, at: usize| {
            self.offsets.get(level).and_then(|offset| table.get(offset + at)).copied().unwrap_or(0)
        };
        for section in 0..sections {
            let same = entry(0, section) == largest_in(section);
            Violation::unless(same, "P4: a section's entry is its largest hole", section as u64)?;
        }
        let mut length = sections;
        for level in 1..self.levels {
            length = length.div_ceil(GROUP);
            for at in 0..length {
                let below = self.group(table, level - 1, at * GROUP).map_or(0, largest_of);
                let same = entry(level, at) == below;
                Violation::unless(same, "P4: an upper entry is the largest of its group", at as u64)?;
            }
        }
        Ok(())
    }
}

/// A mask of the entries of at least `size`.
#[inline(always)]
fn at_least(group: &[u32; GROUP], size: u32) -> u32 {
    let mut mask = 0;
    for (slot, entry) in group.iter().enumerate() {
        mask |= u32::from(*entry >= size) << slot;
    }
    mask
}

#[inline(always)]
fn largest_of(group: &[u32; GROUP]) -> u32 {
    group.iter().fold(0, |largest, entry| largest.max(*entry))
}
