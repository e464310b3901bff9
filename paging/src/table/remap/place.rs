//! From old places to new ones: what moves as it is, and what has to be cut.
#![forbid(unsafe_code)]

use crate::table::fill::Job;
use crate::table::memory::{Node, Slot, Walk};
use crate::table::range::Part;
use crate::table::{MapOptions, TableError, TableFormat, TableWindow};
use crate::{Entry, Kind};

/// From old addresses to new ones.
#[derive(Clone, Copy)]
pub(in crate::table) struct Shift {
    /// New minus old linear address, wrapping.
    distance: u64,
    /// The highest level whose entries fall onto entries.
    pub(super) level: usize,
    /// Whether tables move as wholes.
    tables: bool,
}

impl Shift {
    pub(in crate::table) fn new<F: TableFormat>(from: Part, into: Part, tables: bool) -> Self {
        let distance = into.first.wrapping_sub(from.first);
        let fits = |level: &usize| distance & F::leaf_size(*level).offset_mask() == 0;
        Self { distance, level: (0..F::LEVELS).rev().find(fits).unwrap_or(0), tables }
    }

    /// Where the part will be.
    pub(super) fn moved(self, part: Part) -> Part {
        Part { first: self.new_place(part.first), last: self.new_place(part.last) }
    }

    pub(super) fn new_place(self, at: u64) -> u64 {
        at.wrapping_add(self.distance)
    }

    /// Whether contiguous runs of this level fall onto such runs.
    pub(super) fn keeps_runs<F: TableFormat>(self, level: usize) -> bool {
        F::RUNS[level].is_none_or(|run| self.distance & ((F::leaf_size(level).bytes() << run.log2) - 1) == 0)
    }

    /// How many entries from `index` on, which is `at`, move as they are: whole in the part, in one table on either side.
    pub(super) fn stretch<F: TableFormat>(
        self,
        node: Node<'_, F>,
        index: usize,
        at: u64,
        part: Part,
    ) -> usize {
        let level = node.level;
        let left = F::entries(level) - index.max(F::index(self.new_place(at).into(), level));
        let whole = (part.last - at).wrapping_add(1) >> F::SHIFTS[level];
        let count = usize::try_from(whole).unwrap_or(left).clamp(1, left);
        if self.tables {
            return count;
        }
        let is_table = |index: &usize| F::kind(node.load(*index), level) == Kind::Table;
        (index + 1..index + count).find(is_table).map_or(count, |table| table - index)
    }
}

/// What stands at an address of the part.
pub(super) enum Unit<'t, F: TableFormat> {
    /// Nothing, for the whole of an entry of this level.
    Hole(usize),
    /// From this entry on, each moves by itself.
    Entries(Node<'t, F>, usize),
    /// A leaf that does not fall onto an entry, or is not whole in the part.
    Large(Node<'t, F>, usize, F::Entry),
}

pub(super) fn unit<'t, F: TableFormat, W: TableWindow>(
    walk: Walk<'t, F, W>,
    root: Node<'t, F>,
    at: u64,
    part: Part,
    shift: Shift,
) -> Unit<'t, F> {
    let mut node = root;
    loop {
        let level = node.level;
        let index = F::index(at.into(), level);
        let mask = F::leaf_size(level).offset_mask();
        let moves = level <= shift.level && at & mask == 0 && at | mask <= part.last;
        match walk.slot(node, index) {
            Slot::Table(child) if !(moves && shift.tables) => node = child,
            Slot::Absent(entry) if entry == F::Entry::ZERO => return Unit::Hole(level),
            Slot::Reserved => return Unit::Hole(level),
            _ if moves => return Unit::Entries(node, index),
            Slot::Leaf(leaf) => return Unit::Large(node, index, leaf),
            Slot::Absent(_) | Slot::Table(_) => return Unit::Hole(level),
        }
    }
}

/// The address after the entry of this level that holds `at`; `None` behind the part.
pub(super) fn after<F: TableFormat>(at: u64, level: usize, part: Part) -> Option<u64> {
    let last = at | F::leaf_size(level).offset_mask();
    last.checked_add(1).filter(|next| *next <= part.last)
}

/// How a leaf of `level` becomes leaves at its new place.
pub(super) fn pieces<F: TableFormat>(
    node: Node<'_, F>,
    index: usize,
    leaf: F::Entry,
    at: u64,
    level: usize,
    shift: Shift,
) -> Result<(Part, Job<F>), TableError> {
    let mask = F::leaf_size(level).offset_mask();
    let offset = at & F::leaf_size(node.level).offset_mask();
    let memory = F::leaf_address(leaf, node.level, index).value().wrapping_add(offset);
    let first = shift.new_place(at);
    let part = Part { first, last: first.wrapping_add(mask) };
    let options = MapOptions::DEFAULT.with_touched(F::touched(leaf, node.level));
    Ok((part, Job::new(part, memory.into(), F::attributes(leaf, node.level), options)?))
}
