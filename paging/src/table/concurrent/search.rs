//! Finding the table that covers a range, and taking the locks below it.
#![forbid(unsafe_code)]

use hectare_core::PhysAddr;
use hectare_core::sync::atomic::AtomicU32;
use hectare_core::sync::hint;

use super::area::Area;
use super::locks::{Lock, TableLocks};
use crate::table::memory::{Node, Slot, Walk};
use crate::table::range::Part;
use crate::table::{TableFormat, TableWindow};

/// Waits until a lock is free, but not long: the table may be linked nowhere any more.
pub(super) fn pause(word: &AtomicU32) {
    for _ in 0..PATIENCE {
        if !word.is_busy() {
            return;
        }
        hint::spin_loop();
    }
}

/// How often a lock is looked at before its table is searched again.
const PATIENCE: u32 = if cfg!(hectare_loom) { 1 } else { 1 << 10 };

/// The lowest table that covers all of the part.
pub(super) fn lowest<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    part: Part,
) -> Node<'t, F> {
    let mut node = root;
    while node.level != 0 {
        let (first, last) = part.indices::<F>(node.level);
        match walk.child(node, first) {
            Some(child) if first == last => node = child,
            _ => break,
        }
    }
    node
}

/// Locks every table below a locked one that the area touches, from left to right, parents first. Whether it has them all;
/// if not, it has none.
pub(super) fn lock_below<F: TableFormat, W: TableWindow, L: TableLocks>(
    walk: Walk<'_, F, W>,
    locks: &L,
    node: Node<'_, F>,
    area: Area,
    wait: bool,
) -> bool {
    if node.level == 0 {
        return true;
    }
    let area = if cfg!(hectare_plant = "shared_move_one_side") { Area::one(area.low) } else { area };
    for (index, piece) in area.pieces::<F>(node.level) {
        let Slot::Table(child) = walk.slot(node, index) else { continue };
        if lock(locks, child.address, wait) {
            if lock_below(walk, locks, child, piece, wait) {
                continue;
            }
            unlock_one(locks, child.address);
        }
        for (index, piece) in area.pieces::<F>(node.level).take_while(|(earlier, _)| *earlier < index) {
            if let Slot::Table(child) = walk.slot(node, index) {
                unlock(walk, locks, child, piece);
            }
        }
        return false;
    }
    true
}

/// Locks a table whose parent is locked, so that it cannot become a stray.
fn lock<L: TableLocks>(locks: &L, table: PhysAddr, wait: bool) -> bool {
    let Some(word) = locks.word(table) else { return false };
    while word.try_lock().is_err() {
        if !wait {
            return false;
        }
        pause(word);
    }
    true
}

fn unlock_one<L: TableLocks>(locks: &L, table: PhysAddr) {
    if let Some(word) = locks.word(table) {
        word.unlock();
    }
}

/// Unlocks a table and all below it that the area touches: those that were locked, and those that were made since.
pub(super) fn unlock<F: TableFormat, W: TableWindow, L: TableLocks>(
    walk: Walk<'_, F, W>,
    locks: &L,
    node: Node<'_, F>,
    area: Area,
) {
    if node.level != 0 {
        for (index, piece) in area.pieces::<F>(node.level) {
            if let Slot::Table(child) = walk.slot(node, index) {
                unlock(walk, locks, child, piece);
            }
        }
    }
    unlock_one(locks, node.address);
}
