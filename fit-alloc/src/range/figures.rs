//! The figures of a space, and the check of its invariants.
#![forbid(unsafe_code)]

use hectare_core::{CheckInvariants, Figures, Fragmentation, Ratio, Usage, Violation};

use super::{NIL, RangeAllocator, Storage, Unit};
use crate::policy::{Index, Policy};

impl<P: Policy, U: Unit, S: Storage<U>> Figures for RangeAllocator<P, U, S> {
    /// In units of the space, whatever they stand for. O(1).
    fn usage(&self) -> Usage {
        let capacity: u64 = (self.end - self.start).into();
        let mut usage = Usage::new(1, capacity, capacity - self.free.into());
        usage.peak_allocated = self.peak().into();
        usage.failures = self.failures;
        usage
    }

    /// As [`largest_free`](RangeAllocator::largest_free).
    fn fragmentation(&self) -> Fragmentation {
        Fragmentation::new(self.free.into(), self.largest_free().into(), self.order.holes.into())
    }

    /// Linear in the blocks and holes.
    fn unusable(&self, units: u64) -> Ratio {
        let small = self.holes().map(|hole| hole.length.into()).filter(|length| *length < units).sum();
        Ratio::new(small, self.free.into())
    }
}

impl<P: Policy, U: Unit, S: Storage<U>> CheckInvariants for RangeAllocator<P, U, S> {
    fn check_invariants(&self) -> Result<(), Violation> {
        let view = self.storage.view();
        let (mut index, mut below, mut end) = (self.order.lowest, NIL, self.start);
        let (mut nodes, mut holes, mut free) = (0_usize, 0_u32, 0_u64);
        while index != NIL {
            let node = view.at(index);
            let at = node.start.into();
            Violation::unless(node.start == end && node.length > U::ZERO, "nodes lie end to end", at)?;
            Violation::unless(node.prev == below, "links lead up and down alike", at)?;
            Violation::unless(
                nodes < self.order.nodes,
                "every node is in the space, spare or not yet used",
                at,
            )?;
            if node.is_hole() {
                let alone = below == NIL || !view.at(below).is_hole();
                Violation::unless(alone, "no two holes are neighbours", at)?;
                Violation::unless(self.index.contains(view, index), "every hole is in the index", at)?;
                holes += 1;
                free += Into::<u64>::into(node.length);
            } else {
                let found = view.lookup(node.start);
                Violation::unless(
                    found == index || view.buckets.is_empty(),
                    "a block is found by its start",
                    at,
                )?;
            }
            nodes += 1;
            (end, below, index) = (node.end(), index, node.next);
        }
        let top = end.into();
        Violation::unless(end == self.end && below == self.order.highest, "the nodes fill the space", top)?;
        Violation::unless(
            nodes == self.order.nodes && holes == self.order.holes,
            "the counters are exact",
            top,
        )?;
        Violation::unless(free == self.free.into(), "`free` is the sum of the holes", top)?;
        let indexed = self.index.check(view)?;
        Violation::unless(indexed == holes.into(), "the index holds exactly the holes", top)?;
        let largest = self.holes().map(|hole| hole.length).max().unwrap_or(U::ZERO);
        Violation::unless(self.largest_free() == largest, "the largest hole is exact", top)?;
        // Those given back, and from the first that was never used on all.
        let (mut spare, mut spares) = (self.order.spare, 0);
        while view.at(spare).next != NIL && spares <= view.nodes.len() {
            spares += 1;
            spare = view.at(spare).next;
        }
        Violation::unless(
            spares + nodes == spare as usize,
            "every node is in the space, spare or not yet used",
            top,
        )
    }
}
