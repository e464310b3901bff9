//! Lists of tables, through their first entries: spare ones, and unlinked ones until their token is paid.
//!
//! A list's links are absent entries with the next table's frame number and level as their software state, so that a
//! processor that still walks a freed table finds nothing there.
#![expect(unsafe_code, reason = "walks unlinked tables, and gives their frames back")]

use core::sync::atomic::Ordering::{Relaxed, Release};

use hectare_core::{FrameSource, PhysAddr};

use super::{Node, Walk, release_frames};
use crate::table::flush::Freed;
use crate::table::{TableFormat, TableWindow};
use crate::{AtomicEntry, Entry, Kind};

impl<'t, F: TableFormat, W: TableWindow> Walk<'t, F, W> {
    /// Puts a table that was just unlinked, with all that hangs below it, on a list, of which it becomes the first. Its
    /// first entry becomes the list's link, so a table below that one becomes a member of its own: O(levels).
    ///
    /// A lookup of another CPU may still be in the table, and finds nothing at its first entry. Who finds that also finds,
    /// after an acquire fence, whatever stands in the table's place.
    pub(in crate::table) fn retire(self, node: Node<'t, F>, freed: &mut Freed) {
        if let Some(child) = self.child(node, 0) {
            self.retire(child, freed);
        }
        self.window.step(node.address);
        if let Some(first) = node.cells.first() {
            let planted = cfg!(hectare_plant = "table_retire_relaxed");
            first.store(freed.link::<F>(), if planted { Relaxed } else { Release });
        }
        #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
        let level = node.level as u8;
        *freed = Freed { first: node.address, level, count: freed.count + 1 };
    }
}

impl Freed {
    /// The absent entry that names the first member of this list, for the one that will stand before it. Not used in
    /// the last one.
    #[inline(always)]
    pub(super) fn link<F: TableFormat>(&self) -> F::Entry {
        F::absent(link_state::<F>(self.first, self.level)).unwrap_or(F::Entry::ZERO)
    }

    /// The list without its first member, whose first word is `word`.
    pub(in crate::table) fn rest<F: TableFormat>(&self, word: F::Entry) -> Self {
        let state = F::absent_state(word);
        let (frame, level) = (state >> 3, state & 7);
        #[expect(clippy::cast_possible_truncation, reason = "three bits")]
        let level = level as u8;
        Self { first: PhysAddr::new(frame << F::PAGE.log2()), level, count: self.count - 1 }
    }
}

/// A frame number and a level, as the software state of an absent entry.
#[inline(always)]
pub(super) fn link_state<F: TableFormat>(address: PhysAddr, level: u8) -> u64 {
    address.value() >> F::PAGE.log2() << 3 | u64::from(level)
}

/// Gives every table of a list back, with all that hangs below.
///
/// # Safety
/// They were taken from this source, are in no other list, and nothing uses them any more.
pub(in crate::table) unsafe fn release<F: TableFormat, W: TableWindow, S: FrameSource>(
    mut list: Freed,
    window: &W,
    source: &mut S,
) {
    while list.count != 0 {
        let (address, level) = (list.first, usize::from(list.level));
        // SAFETY: a member of the list is a table of that level that nobody uses: alive until it is released below.
        let Some(node) = (unsafe { Walk::<F, W>::new(window).node(address, level) }) else { return };
        list = list.rest::<F>(node.load(0));
        // SAFETY: the caller's promise for this member and what hangs below it. Its first entry is the list's link.
        unsafe { release_tree::<F, W, S>(address, level, 1, window, source) };
    }
}

/// Gives a table back, and first those that its entries from `from` on link. Tables of level 0 are not looked at.
///
/// # Safety
/// As [`release`], for this one tree.
unsafe fn release_tree<F: TableFormat, W: TableWindow, S: FrameSource>(
    address: PhysAddr,
    level: usize,
    from: usize,
    window: &W,
    source: &mut S,
) {
    if level != 0 {
        for index in from..F::entries(level) {
            // SAFETY: the table is alive until it is released below.
            let Some(node) = (unsafe { Walk::<F, W>::new(window).node(address, level) }) else { break };
            let entry = node.load(index);
            if F::kind(entry, level) == Kind::Table {
                let child = F::table_address(entry, level);
                // SAFETY: the table below hangs here only, and nobody uses it (caller).
                unsafe { release_tree::<F, W, S>(child, level - 1, 0, window, source) };
            }
        }
    }
    // SAFETY: the caller's promise, for this table.
    unsafe { release_frames(address, F::PAGE.bytes(), source) };
}

/// Joins two lists: `other` goes behind the tables of the shorter one. O(members of the shorter one).
///
/// # Safety
/// Both are lists of tables of one page table that nobody walks through these lists meanwhile.
pub(in crate::table) unsafe fn join<F: TableFormat, W: TableWindow>(
    list: &mut Freed,
    other: Freed,
    window: &W,
) {
    let mine = core::mem::replace(list, Freed::NONE);
    let (short, long) = if mine.count < other.count { (mine, other) } else { (other, mine) };
    if short.count == 0 {
        *list = long;
        return;
    }
    let mut last = Freed { ..short };
    loop {
        // SAFETY: a member of the list is a table of that level that nobody uses.
        let Some(node) = (unsafe { Walk::<F, W>::new(window).node(last.first, last.level.into()) }) else {
            return;
        };
        if last.count == 1 {
            if let Some(first) = node.cells.first() {
                first.store(long.link::<F>(), Relaxed);
            }
            break;
        }
        last = last.rest::<F>(node.load(0));
    }
    *list = Freed { count: short.count + long.count, ..short };
}
