//! The reverse of a split: a table whose leaves are one run becomes one larger leaf.
//!
//! ```text
//!   before   │ table ──► │ 4K │ 4K │ … 512, frames consecutive and aligned │     after   │ 2M │     the table is free
//! ```
//! The new leaf is accessed or dirty if any of the old ones was, or may become so through a translation that a CPU holds.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PageRun, Permissions};

use super::clear::{is_settled, member, store};
use super::flush::{Flush, Span};
use super::memory::{Node, Walk};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow, split};
use crate::format::SetBy;
use crate::{AtomicEntry, Entry, Kind, Touched};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Replaces every table that lies wholly in the range, and whose leaves are one aligned run with equal attributes, by
    /// one leaf of the next level, from below upwards. Takes no frame. O(entries in the range).
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half.
    pub fn coalesce(&mut self, pages: PageRun) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            let (first, last) = part.indices::<F>(F::LEVELS - 1);
            // Pinned tables stay, and all below: other roots link them, and others may walk them.
            let pinned = (first..=last).any(|index| self.pinned.holds(index));
            if !pinned && coalesce_below(walk, root, part, self.is_settled(), &mut token) {
                token.unsettled = 1;
                self.unsettled = self.unsettled.saturating_add(1);
            }
        }
        Ok(token)
    }
}

/// Coalesces in a part below a node that covers it. Whether the token must count as unsettled: until it is paid, who gets a
/// right to write counts as written (see `Edits`).
pub(super) fn coalesce_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    settled: bool,
    token: &mut Flush,
) -> bool {
    let before = token.freed.count;
    coalesce(walk, node, part, settled, token);
    F::DIRTY == SetBy::Hardware && token.freed.count != before
}

fn coalesce<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    node: Node<'t, F>,
    part: Part,
    settled: bool,
    token: &mut Flush,
) {
    let level = node.level;
    if level == 0 {
        return;
    }
    for (index, piece) in part.pieces::<F>(level) {
        let Some(child) = walk.child(node, index) else { continue };
        coalesce(walk, child, piece, settled, token);
        if !F::has_leaves(level) || !piece.is_whole::<F>(level) {
            continue;
        }
        let Some(leaf) = larger::<F>(child, level, settled) else { continue };
        let old = node.load(index);
        let entries = F::entries(level - 1) as u64;
        if F::BREAK_BEFORE_MAKE && F::must_break(old, leaf, level) {
            store(walk, node, index, F::Entry::ZERO);
            split::unlinked(walk, piece.first, level - 1, entries, true, token);
        }
        store(walk, node, index, leaf);
        walk.retire(child, &mut token.freed);
        token.add(Span::new(F::delinear(piece.first), entries, F::leaf_size(level - 1)));
        if F::GLOBAL && F::attributes(leaf, level).global {
            token.add_global();
        }
    }
}

/// The leaf of `level` that says what all of a table says, if there is one.
fn larger<F: TableFormat>(child: Node<'_, F>, level: usize, settled: bool) -> Option<F::Entry> {
    let below = child.level;
    let first = child.load(0);
    if F::kind(first, below) != Kind::Leaf {
        return None;
    }
    let bare = |leaf| F::with_touched(leaf, Touched::NO, below);
    let start = F::alone(first, below, 0);
    let attributes = F::attributes(start, below);
    let mut expected = bare(start);
    let mut touched = Touched::NO;
    for (index, cell) in child.cells.iter().enumerate() {
        let leaf = cell.load(Relaxed);
        if F::kind(leaf, below) != Kind::Leaf || bare(F::alone(leaf, below, index)) != expected {
            return None;
        }
        touched = touched.or(F::touched(member(child, index, leaf), below));
        if !is_settled::<F>(leaf, below, settled) && !cfg!(hectare_plant = "table_coalesce_blind") {
            let dirty = attributes.permissions.contains(Permissions::WRITE) || !settled;
            touched = touched.or(Touched { accessed: true, dirty });
        }
        expected = expected.plus(F::stride(below));
    }
    F::leaf(F::leaf_address(start, below, 0), attributes, touched, level).ok()
}
