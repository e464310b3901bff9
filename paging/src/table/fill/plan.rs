//! What stands in the way of a mapping, and how many tables it lacks.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::PhysAddr;

use crate::table::memory::{Node, Slot, Walk};
use crate::table::range::Part;
use crate::table::{TableError, TableFormat, TableWindow};
use crate::{AtomicEntry, Entry};

/// How many tables an empty entry of `level` needs for a part of it, with leaves up to level `top`: counted by level,
/// without looking anywhere.
pub(in crate::table) fn tables<F: TableFormat>(part: Part, level: usize, top: usize) -> u64 {
    let mut sum = 0;
    for upper in 1..=level {
        // Tables of level `upper − 1`: one for each entry of level `upper` that is not a leaf.
        let shift = F::SHIFTS[upper];
        let entries = (part.last >> shift) - (part.first >> shift) + 1;
        if upper > top {
            sum += entries;
            continue;
        }
        let mask = F::leaf_size(upper).offset_mask();
        let (head, tail) = (part.first & mask != 0, part.last & mask != mask);
        sum += if entries == 1 { u64::from(head || tail) } else { u64::from(head) + u64::from(tail) };
    }
    sum
}
/// Counts the tables that are missing below a node for leaves up to level `top`, or finds what is in the way.
pub(in crate::table) fn plan<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    top: usize,
) -> Result<u64, TableError> {
    let level = node.level;
    if level == 0 {
        let (first, last) = part.indices::<F>(0);
        let cells = node.cells.get(first..=last).unwrap_or(&[]);
        return match cells.iter().position(|cell| cell.load(Relaxed) != F::Entry::ZERO) {
            None => Ok(0),
            Some(index) => Err(taken(node, part, first + index)),
        };
    }
    let mut needed = 0;
    for (index, piece) in part.pieces::<F>(level) {
        match walk.slot(node, index) {
            Slot::Absent(entry) if entry == F::Entry::ZERO => {
                if level > top || !piece.is_whole::<F>(level) {
                    needed += tables::<F>(piece, level, top);
                }
            }
            Slot::Table(child) => needed += plan(walk, child, piece, top)?,
            _ => return Err(taken(node, part, index)),
        }
    }
    Ok(needed)
}

/// What is in the way at `index` of a node.
#[cold]
pub(in crate::table) fn taken<F: TableFormat>(node: Node<'_, F>, part: Part, index: usize) -> TableError {
    let address = F::delinear(part.start_of::<F>(index, node.level).max(part.first));
    let entry = node.load(index);
    match F::kind(entry, node.level) {
        crate::Kind::Leaf => {
            let offset = address.value() & F::leaf_size(node.level).offset_mask();
            let start = F::leaf_address(entry, node.level, index);
            TableError::Mapped { address, existing: PhysAddr::new(start.value().wrapping_add(offset)) }
        }
        _ => TableError::Occupied { address },
    }
}
