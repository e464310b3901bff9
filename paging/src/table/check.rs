//! Every invariant of a table, looked at.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, FrameSource, Violation};

use super::memory::{Node, Slot, Walk};
use super::{PageTable, TableFormat, TableWindow};
use crate::Entry;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// How many tables there are, the root and the shared half included. O(tables).
    #[must_use]
    pub fn tables(&self) -> u64 {
        let walk = Walk::new(&self.window);
        self.root_node(walk).map_or(0, |root| count(walk, root))
    }
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> CheckInvariants for PageTable<F, W, S> {
    /// O(entries); `at` is the physical address of an entry or a table.
    fn check_invariants(&self) -> Result<(), Violation> {
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else {
            return Err(Violation { rule: "the window shows the root", at: self.root.value() });
        };
        for index in 0..root.cells.len() {
            let shared = self.pinned.holds(index) || self.foreign.holds(index);
            check(walk, root, index, shared)?;
        }
        Ok(())
    }
}

fn count<F: TableFormat, W: TableWindow>(walk: Walk<'_, F, W>, node: Node<'_, F>) -> u64 {
    if node.level == 0 {
        return 1;
    }
    let children = (0..node.cells.len()).filter_map(|index| walk.child(node, index));
    1 + children.map(|child| count(walk, child)).sum::<u64>()
}

fn check<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    index: usize,
    shared: bool,
) -> Result<(), Violation> {
    let at = node.at(index).value();
    match walk.slot(node, index) {
        Slot::Reserved => Err(Violation { rule: "every entry is a leaf, a link or absent", at }),
        Slot::Table(child) => {
            Violation::unless(
                shared || !child.is_empty(0..child.cells.len()),
                "no linked table is empty",
                child.address.value(),
            )?;
            (0..child.cells.len()).try_for_each(|index| check(walk, child, index, shared))
        }
        Slot::Leaf(leaf) => {
            let level = node.level;
            Violation::unless(F::has_leaves(level), "leaves stand where the format allows them", at)?;
            let Some(run) = F::RUNS[level].filter(|_| F::is_contiguous(leaf, level)) else { return Ok(()) };
            // All entries of a contiguous run say the same, one frame further each.
            let first = index & !((1 << run.log2) - 1);
            let start = F::alone(node.load(first), level, first);
            let expected = start.plus(F::stride(level).times((index - first) as u64));
            let bare = |leaf| F::with_touched(leaf, crate::Touched::NO, level);
            let aligned = F::leaf_address(start, level, first).value()
                & ((F::leaf_size(level).bytes() << run.log2) - 1);
            Violation::unless(
                bare(F::alone(leaf, level, index)) == bare(expected) && aligned == 0,
                "contiguous runs are aligned and whole",
                at,
            )
        }
        Slot::Absent(_) => Ok(()),
    }
}
