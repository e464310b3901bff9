//! The tables that a token owns, one by one: they are strays as soon as their transaction ends.
#![expect(unsafe_code, reason = "walks unlinked tables")]

use hectare_core::PhysAddr;

use crate::table::flush::{Flush, Freed};
use crate::table::memory::{Node, Walk};
use crate::table::{PageTable, TableFormat, TableWindow};

impl<F: TableFormat, W: TableWindow, S> PageTable<F, W, S> {
    /// Calls `visit` with each table that a token of this table owns.
    pub(super) fn each_freed(&self, token: &Flush, visit: &mut impl FnMut(PhysAddr)) {
        if token.owner == self.root {
            // SAFETY: (1) the token came from this table (checked) and owns its list; (2) it is borrowed, so that nobody
            // gives the tables back meanwhile.
            unsafe { each::<F, W>(&token.freed, &self.window, visit) };
        }
    }
}

/// Calls `visit` with each table of a list, and each that hangs below one.
///
/// # Safety
/// They are tables of one page table that this window shows, in no other list, and live as long as the call.
unsafe fn each<F: TableFormat, W: TableWindow>(list: &Freed, window: &W, visit: &mut impl FnMut(PhysAddr)) {
    let walk = Walk::<F, W>::new(window);
    let mut list = Freed { ..*list };
    while list.count != 0 {
        // SAFETY: a member of the list is a table of that level (caller).
        let Some(node) = (unsafe { walk.node(list.first, list.level.into()) }) else { return };
        below(walk, node, visit);
        list = list.rest::<F>(node.load(0));
    }
}

fn below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    visit: &mut impl FnMut(PhysAddr),
) {
    visit(node.address);
    let entries = if node.level == 0 { 0 } else { node.cells.len() };
    for child in (0..entries).filter_map(|index| walk.child(node, index)) {
        below(walk, child, visit);
    }
}
