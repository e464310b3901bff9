//! Empty tables: a transaction leaves the one that covers its pages, and a pinned half keeps all; a larger leaf or the last
//! owner takes them out.
#![forbid(unsafe_code)]

use super::clear::store;
use super::flush::{Flush, Span};
use super::memory::{Node, Walk};
use super::range::Part;
use super::{Half, TableFormat, TableWindow, split};
use crate::Entry;

/// Unlinks the empty tables that stand where a leaf of a level up to `top` will. The part is empty.
pub(super) fn make_way<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    top: usize,
    token: &mut Flush,
) {
    let level = node.level;
    if level == 0 || top == 0 {
        return;
    }
    for (index, piece) in part.pieces::<F>(level) {
        let Some(child) = walk.child(node, index) else { continue };
        if level > top || !piece.is_whole::<F>(level) {
            make_way(walk, child, piece, top, token);
            continue;
        }
        store(walk, node, index, F::Entry::ZERO);
        if F::BREAK_BEFORE_MAKE {
            split::unlinked(walk, piece.first, level - 1, F::entries(level - 1) as u64, true, token);
        }
        walk.retire(child, &mut token.freed);
        token.add(Span::new(F::delinear(piece.first), piece.pages::<F>(), F::PAGE));
    }
}

/// Unlinks every empty table below a root, except below the places of these halves.
pub(super) fn prune<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    token: &mut Flush,
    kept: [Half; 2],
) {
    let entries = if node.level == 0 { 0 } else { node.cells.len() };
    for index in (0..entries).filter(|index| !kept.iter().any(|half| half.holds(*index))) {
        let Some(child) = walk.child(node, index) else { continue };
        prune(walk, child, token, [Half::NONE; 2]);
        if child.is_empty(0..child.cells.len()) {
            store(walk, node, index, F::Entry::ZERO);
            walk.retire(child, &mut token.freed);
            token.add_everything();
            if F::ROOT_LATCHED && node.level == F::LEVELS - 1 {
                token.add_reload();
            }
        }
    }
}
