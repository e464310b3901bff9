//! The one place that touches tables: nodes of the live tree, and spare tables that nobody sees yet.
//!
//! ```text
//!   Reserve ──pop──► Spare (exclusively ours, plain writes) ──Walk::link──► Node (live: atomic accesses only)
//!      ▲                                                                      │
//!      └─────────── the frame source ◄── PageTable::finish ◄── Freed ◄────────┘ Walk::retire
//! ```
#![expect(unsafe_code, reason = "makes slices of tables")]

use core::marker::PhantomData;
use core::ops::Range;
use core::slice;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use hectare_core::PhysAddr;

use super::TableFormat;
use super::window::TableWindow;
use crate::{AtomicEntry, Entry, Kind, LiveEntry};

mod freed;
mod link;
mod reserve;
mod spare;

pub(super) use freed::{join, release};
pub(super) use link::{copy_link, link_root};
pub(super) use reserve::Reserve;
pub(super) use spare::{Spare, Word, give_spare, release_frames, take_frames, take_spare, zero};

pub(super) type Cell<F> = <<F as crate::Format>::Entry as LiveEntry>::Atomic;

/// A live table for as long as its page table is borrowed.
///
/// Having one proves that the table is reachable from the root of that page table, or was when the borrow began: no
/// table returns to the source while a node exists.
pub(super) struct Node<'t, F: TableFormat> {
    pub(super) cells: &'t [Cell<F>],
    pub(super) address: PhysAddr,
    pub(super) level: usize,
}

impl<F: TableFormat> Clone for Node<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: TableFormat> Copy for Node<'_, F> {}

/// What stands in one place of a node.
pub(super) enum Slot<'t, F: TableFormat> {
    /// Nothing, or software state.
    Absent(F::Entry),
    Leaf(F::Entry),
    Table(Node<'t, F>),
    /// What no code here writes.
    Reserved,
}

/// How a table is walked: its window. Methods that change it are called by its exclusive borrower only.
pub(super) struct Walk<'t, F: TableFormat, W> {
    pub(super) window: &'t W,
    format: PhantomData<F>,
}

impl<F: TableFormat, W> Clone for Walk<'_, F, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: TableFormat, W> Copy for Walk<'_, F, W> {}

impl<'t, F: TableFormat, W: TableWindow> Walk<'t, F, W> {
    pub(super) const fn new(window: &'t W) -> Self {
        Self { window, format: PhantomData }
    }

    /// The table of level `level` at `address`.
    ///
    /// # Safety
    /// It is a live table of that level of the page table that is borrowed for `'t`.
    #[inline(always)]
    pub(super) unsafe fn node(self, address: PhysAddr, level: usize) -> Option<Node<'t, F>> {
        let pointer = self.window.table(address, F::table_bytes(level))?;
        // SAFETY: (1) the window's promise: valid for so many bytes, which is the slice's size, and aligned as the table
        // is; (2) all its words were written before it was linked; (3) as long as it is live, it is accessed through
        // atomics only (`Spare` is the other access, and a spare table is not live); (4) the borrow keeps it live.
        let cells = unsafe { slice::from_raw_parts(pointer.cast::<Cell<F>>().as_ptr(), F::entries(level)) };
        Some(Node { cells, address, level })
    }

    /// As [`node`](Self::node), for a table that was taken from this page table's own source: the window showed it then
    /// (`take_frames` makes sure of that), so it shows it now (promise of [`TableWindow`]).
    ///
    /// # Safety
    /// It is a live table of that level of the page table that is borrowed for `'t`, and was taken from its source.
    #[inline(always)]
    pub(super) unsafe fn own_node(self, address: PhysAddr, level: usize) -> Node<'t, F> {
        // SAFETY: the caller's promise.
        let node = unsafe { self.node(address, level) };
        debug_assert!(node.is_some(), "a table that was shown is shown always");
        // SAFETY: as said above.
        unsafe { node.unwrap_unchecked() }
    }

    /// What stands at `index`. A table that the window does not show any more (against its promise) is `Reserved`.
    #[inline(always)]
    pub(super) fn slot(self, node: Node<'t, F>, index: usize) -> Slot<'t, F> {
        // Acquire pairs with the release in `link`: in a shared half, tables are linked by another table's owner while
        // this one is walked. Leaves link nothing.
        let order = if node.level == 0 { Relaxed } else { Acquire };
        let entry = node.cells.get(index).map_or(F::Entry::ZERO, |cell| cell.load(order));
        match F::kind(entry, node.level) {
            Kind::Absent => Slot::Absent(entry),
            Kind::Leaf => Slot::Leaf(entry),
            Kind::Table => {
                // SAFETY: a table entry of a live table links a live one of the level below (guarantee 4 of `Format`: leaves
                // and absent entries are no links). Such entries are written by `memory/link.rs` into live tables, and by
                // `fill::build` and `map_deep` into spare ones, of tables of that level; `link_root` alone links one of
                // another, where every table has one size (`SelfMap::new`), so that it may be seen as one of any level.
                match unsafe { self.node(F::table_address(entry, node.level), node.level.wrapping_sub(1)) } {
                    Some(child) => Slot::Table(child),
                    None => Slot::Reserved,
                }
            }
            Kind::Reserved => Slot::Reserved,
        }
    }

    /// The table at `index`, if there is one.
    #[inline(always)]
    pub(super) fn child(self, node: Node<'t, F>, index: usize) -> Option<Node<'t, F>> {
        match self.slot(node, index) {
            Slot::Table(child) => Some(child),
            _ => None,
        }
    }
}

impl<F: TableFormat> Node<'_, F> {
    /// The physical address of an entry.
    #[inline(always)]
    pub(super) fn at(self, index: usize) -> PhysAddr {
        PhysAddr::new(self.address.value().wrapping_add((index * F::Entry::BYTES) as u64))
    }

    #[inline(always)]
    pub(super) fn load(self, index: usize) -> F::Entry {
        self.cells.get(index).map_or(F::Entry::ZERO, |cell| cell.load(Relaxed))
    }

    /// Whether every word is zero: neither mapping nor software state. Looks at the places next to `hint` first.
    pub(super) fn is_empty(self, hint: Range<usize>) -> bool {
        let zero = |index: usize| self.load(index) == F::Entry::ZERO;
        if !zero(hint.end.min(self.cells.len() - 1)) || !zero(hint.start.saturating_sub(1)) {
            return false;
        }
        let mut chunks = self.cells.chunks_exact(8);
        let all = chunks.by_ref().all(|chunk| {
            chunk.iter().fold(F::Entry::ZERO, |sum, cell| sum | cell.load(Relaxed)) == F::Entry::ZERO
        });
        all && chunks.remainder().iter().all(|cell| cell.load(Relaxed) == F::Entry::ZERO)
    }
}
