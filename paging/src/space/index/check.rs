//! The invariants of the index.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, Violation};

use super::node::Summary;
use super::{AreaIndex, Inner, Leaf, NO_NODE, NodeStore};

/// What a walk has seen so far.
struct Seen {
    end: u64,
    areas: usize,
    nodes: u32,
}

impl<N: NodeStore> CheckInvariants for AreaIndex<N> {
    /// A violation's place is the number of a page.
    fn check_invariants(&self) -> Result<(), Violation> {
        let mut seen = Seen { end: 0, areas: 0, nodes: 0 };
        if self.root != NO_NODE {
            self.check(self.root, 0, &mut seen)?;
        }
        let holds = |holds, rule| Violation::unless(holds, rule, seen.end);
        holds(seen.areas == self.count, "the count is that of the areas")?;
        holds(seen.nodes == self.nodes.used(), "every node that was ever used is in the tree or free")?;
        holds(self.nodes.listed() == self.nodes.spare, "the list of free nodes has all of them")
    }
}

impl<N: NodeStore> AreaIndex<N> {
    fn check(&self, id: u32, depth: usize, seen: &mut Seen) -> Result<Summary, Violation> {
        seen.nodes += 1;
        let node = self.nodes.get(id);
        let enough = "every node but the root has at least half of its members";
        if depth == self.height {
            let leaf = node.leaf();
            Violation::unless(depth == 0 || leaf.count() >= Leaf::LEAST, enough, seen.end)?;
            Violation::unless(leaf.count() > 0, "a leaf is not empty", seen.end)?;
            for (first, tail) in leaf.keys().iter().zip(leaf.values()) {
                let in_order = seen.end <= *first && *first < tail.end;
                Violation::unless(in_order, "areas ascend and do not overlap", *first)?;
                seen.end = tail.end;
                seen.areas += 1;
            }
            return Ok(leaf.summary());
        }
        let inner = node.inner();
        let least = if depth == 0 { 2 } else { Inner::LEAST };
        Violation::unless(inner.count() >= least, enough, seen.end)?;
        for (first, link) in inner.keys().iter().zip(inner.values()) {
            let found = self.check(link.child, depth + 1, seen)?;
            let known = Summary { first: *first, end: link.end, gap: link.gap };
            Violation::unless(found == known, "a link knows its child's ends and longest hole", *first)?;
        }
        Ok(inner.summary())
    }
}
