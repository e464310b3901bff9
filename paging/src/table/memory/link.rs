//! Links between live tables: the stores that make, move and replace them.
//!
//! ```text
//!   Spare, every word written ──Release──► entry        who loads the link with Acquire sees what is in the table
//! ```
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, Release};

use super::{Node, Spare, Walk};
use crate::table::{TableFormat, TableWindow};
use crate::{AtomicEntry, Entry};

impl<'t, F: TableFormat, W: TableWindow> Walk<'t, F, W> {
    /// Links a spare table, whose every word was written. Whatever stood there must have been absent, or a leaf that the
    /// table replaces.
    #[inline(always)]
    pub(in crate::table) fn link(self, node: Node<'t, F>, index: usize, spare: Spare<'t, F>) {
        self.window.step(node.at(index));
        if let (Some(cell), Ok(entry)) = (node.cells.get(index), F::table(spare.address, node.level)) {
            cell.store(entry, if cfg!(hectare_plant = "table_link_relaxed") { Relaxed } else { Release });
        }
    }

    /// Moves a link, with all that hangs below it, to an empty place of a table of the same level.
    pub(in crate::table) fn relocate(self, from: Node<'t, F>, index: usize, into: Node<'t, F>, place: usize) {
        let link = from.load(index);
        self.window.step(from.at(index));
        if let Some(cell) = from.cells.get(index) {
            cell.store(F::Entry::ZERO, Relaxed);
        }
        self.window.step(into.at(place));
        if let Some(cell) = into.cells.get(place) {
            cell.store(link, Release);
        }
    }

    /// Links a spare table in place of `old`, if that is still there.
    pub(in crate::table) fn exchange(
        self,
        node: Node<'t, F>,
        index: usize,
        old: F::Entry,
        spare: Spare<'t, F>,
    ) -> Result<(), (F::Entry, Spare<'t, F>)> {
        self.window.step(node.at(index));
        match (node.cells.get(index), F::table(spare.address, node.level)) {
            (Some(cell), Ok(entry)) => match cell.compare_exchange(old, entry, Release, Relaxed) {
                Ok(_) => Ok(()),
                Err(now) => Err((now, spare)),
            },
            _ => Ok(()),
        }
    }
}

/// Links a root in itself, by a link that its self-map made: the tables seen through it live as long as the root.
pub(in crate::table) fn link_root<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    index: usize,
    link: F::Entry,
) {
    walk.window.step(root.at(index));
    if let Some(cell) = root.cells.get(index) {
        cell.store(link, Release);
    }
}

/// Puts in `root` what `from` has at the same place, which is pinned: a table lives for ever, a leaf is never changed.
pub(in crate::table) fn copy_link<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    from: Node<'_, F>,
    index: usize,
) {
    walk.window.step(root.at(index));
    if let Some(cell) = root.cells.get(index) {
        cell.store(from.load(index), Release);
    }
}
