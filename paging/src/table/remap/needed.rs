//! Which tables a move needs, before anything is cut or moved.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use super::place::{Shift, Unit, after, pieces, unit};
use crate::format::MAX_LEVELS;
use crate::table::memory::{Node, Walk};
use crate::table::range::Part;
use crate::table::{TableError, TableFormat, TableWindow};
use crate::{AtomicEntry, Entry};

/// Which tables the new side lacks.
struct Missing<'t, F: TableFormat, W> {
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    count: u64,
    /// The last table of each level that was counted: addresses only grow.
    last: [Option<u64>; MAX_LEVELS],
}

impl<F: TableFormat, W: TableWindow> Missing<'_, F, W> {
    /// Counts what an entry of `level` at the new address `at` needs.
    fn note(&mut self, at: u64, level: usize) {
        let mut node = self.root;
        while node.level > level {
            let Some(child) = self.walk.child(node, F::index(at.into(), node.level)) else { break };
            node = child;
        }
        for below in level..node.level {
            let table = Some(at >> F::SHIFTS[below + 1]);
            if self.last[below] != table {
                self.last[below] = table;
                self.count += 1;
            }
        }
    }
}

/// How many tables the new side needs, before anything is cut or moved.
pub(super) fn needed<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    part: Part,
    shift: Shift,
) -> Result<u64, TableError> {
    let mut missing = Missing { walk, root, count: 0, last: [None; MAX_LEVELS] };
    let mut next = Some(part.first);
    while let Some(at) = next {
        let mut level;
        let mut last = at;
        match unit(walk, root, at, part, shift) {
            Unit::Hole(hole) => level = hole,
            Unit::Entries(node, index) => {
                level = node.level;
                let count = shift.stretch(node, index, at, part);
                let cells = node.cells.get(index..index + count).unwrap_or(&[]);
                if cells.iter().any(|cell| cell.load(Relaxed) != F::Entry::ZERO) {
                    missing.note(shift.new_place(at), level);
                }
                last = at.wrapping_add((count as u64 - 1) << F::SHIFTS[level]);
            }
            Unit::Large(node, index, leaf) => {
                // The cuts will leave the largest leaves that are whole in the part.
                level = node.level;
                let whole = |level: usize| {
                    let mask = F::leaf_size(level).offset_mask();
                    at & mask == 0 && at | mask <= part.last
                };
                while level > 0 && !whole(level) {
                    level -= 1;
                }
                if level <= shift.level {
                    missing.note(shift.new_place(at), level);
                } else {
                    let (new, job) = pieces(node, index, leaf, at, level, shift)?;
                    let table = F::leaf_size(job.top + 1).bytes();
                    let mut place = new.first;
                    while place <= new.last {
                        missing.note(place, job.top);
                        match (place | (table - 1)).checked_add(1) {
                            Some(next) => place = next,
                            None => break,
                        }
                    }
                }
            }
        }
        next = after::<F>(last, level, part);
    }
    Ok(missing.count)
}
