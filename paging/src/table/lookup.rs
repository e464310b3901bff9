//! Finding what an address stands for: one, checked as the hardware would, or many at a time.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Access, FrameSource, PageSize, PhysAddr, Translate, Translation, VirtAddr};

use super::ahead::Ahead;
use super::memory::{Node, Slot, Walk};
use super::{FaultCause, PageFault, PageTable, TableFormat, TableWindow};
use crate::{Attributes, Entry, Kind, Touched};

/// A translated address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<F: TableFormat> {
    /// The physical address.
    pub address: PhysAddr,
    entry: F::Entry,
    level: u8,
}

impl<F: TableFormat> Hit<F> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
    pub(super) fn new(entry: F::Entry, level: usize, index: usize, address: VirtAddr) -> Self {
        Self { address: within::<F>(entry, level, index, address), entry, level: level as u8 }
    }

    /// Rights, memory type, software bits.
    #[must_use]
    #[inline]
    pub fn attributes(&self) -> Attributes {
        F::attributes(self.entry, self.level.into())
    }

    /// Accessed and dirty.
    #[must_use]
    #[inline]
    pub fn touched(&self) -> Touched {
        F::touched(self.entry, self.level.into())
    }

    /// The size of the leaf.
    #[must_use]
    #[inline]
    pub fn leaf_size(&self) -> PageSize {
        F::leaf_size(self.level.into())
    }

    /// What the access meets, if it is permitted.
    #[inline]
    pub(super) fn translation(&self, address: VirtAddr, access: Access) -> Option<Translation> {
        let mask = self.leaf_size().offset_mask();
        let length = NonZero::new(mask - (address.value() & mask) + 1).unwrap_or(NonZero::<u64>::MIN);
        let allowed = self.attributes().permissions.allow(access);
        allowed.then_some(Translation { address: self.address, length })
    }
}

/// Addresses that are translated side by side: more than any core waits for at a time.
const LANES: usize = 32;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// What `address` stands for, whatever its rights; `None` where nothing is mapped. At most one load a level.
    #[must_use]
    #[inline]
    pub fn find(&self, address: VirtAddr) -> Option<Hit<F>> {
        if !F::accepts(address) {
            return None;
        }
        let walk = Walk::new(&self.window);
        let mut node = self.root_node(walk)?;
        for level in (0..F::LEVELS).rev() {
            node.level = level;
            let index = F::index(address, level);
            match walk.slot(node, index) {
                Slot::Table(child) => node = child,
                Slot::Leaf(entry) => return Some(Hit::new(entry, level, index, address)),
                Slot::Absent(_) | Slot::Reserved => return None,
            }
        }
        None
    }

    /// What each of these addresses stands for, into `hits`, as far as that reaches. O(levels) for each; many walks go side by
    /// side, and each asks for its next entry before the others take their step, so that their cache misses overlap.
    #[inline]
    pub fn find_many(&self, addresses: &[VirtAddr], hits: &mut [Option<Hit<F>>]) {
        for (addresses, hits) in addresses.chunks(LANES).zip(hits.chunks_mut(LANES)) {
            self.find_lanes(addresses, hits);
        }
    }

    /// At most [`LANES`].
    #[inline]
    fn find_lanes(&self, addresses: &[VirtAddr], hits: &mut [Option<Hit<F>>]) {
        // What is behind the last address stays as it was.
        hits.iter_mut().zip(addresses).for_each(|(hit, _)| *hit = None);
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return };
        let mut tables = [None; LANES];
        for (table, address) in tables.iter_mut().zip(addresses) {
            *table = F::accepts(*address).then_some(root.cells);
        }
        for level in (0..F::LEVELS).rev() {
            for ((table, hit), address) in tables.iter_mut().zip(&mut *hits).zip(addresses) {
                let Some(cells) = *table else { continue };
                let index = F::index(*address, level);
                *table = None;
                match walk.slot(Node { level, cells, address: root.address }, index) {
                    Slot::Table(child) => {
                        Ahead::of(child.cells.get(F::index(*address, child.level))).fetch_to_read();
                        *table = Some(child.cells);
                    }
                    Slot::Leaf(entry) => *hit = Some(Hit::new(entry, level, index, *address)),
                    Slot::Absent(_) | Slot::Reserved => {}
                }
            }
        }
    }

    /// The software state of the absent page, 0 if it has none; `None` if a page is mapped there.
    #[must_use]
    pub fn absent_state(&self, address: VirtAddr) -> Option<u64> {
        F::accepts(address).then_some(())?;
        end_of_walk(Walk::new(&self.window), self.root_node(Walk::new(&self.window)), address).absent_state()
    }

    #[cold]
    fn fault(&self, address: VirtAddr, access: Access) -> PageFault {
        let walk = Walk::new(&self.window);
        end_of_walk(walk, self.root_node(walk), address).fault(address, access)
    }
}

/// Where a walk ends.
#[derive(Clone, Copy)]
pub(super) struct End<F: TableFormat> {
    pub(super) entry: F::Entry,
    pub(super) level: usize,
    /// The table that the entry stands in, and where.
    pub(super) table: PhysAddr,
    pub(super) index: usize,
}

/// Where the walk for an address ends that begins at a node.
pub(super) fn end_of_walk<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Option<Node<'_, F>>,
    address: VirtAddr,
) -> End<F> {
    let Some(mut node) = root else {
        return End { entry: F::Entry::ZERO, level: F::LEVELS - 1, table: PhysAddr::new(0), index: 0 };
    };
    loop {
        let index = F::index(address, node.level);
        let entry = match walk.slot(node, index) {
            Slot::Table(child) => {
                node = child;
                continue;
            }
            Slot::Leaf(entry) | Slot::Absent(entry) => entry,
            Slot::Reserved => node.load(index),
        };
        return End { entry, level: node.level, table: node.address, index };
    }
}

impl<F: TableFormat> End<F> {
    /// The leaf, if it is one.
    pub(super) fn hit(self, address: VirtAddr) -> Option<Hit<F>> {
        let leaf = F::kind(self.entry, self.level) == Kind::Leaf;
        leaf.then(|| Hit::new(self.entry, self.level, self.index, address))
    }

    pub(super) fn absent_state(self) -> Option<u64> {
        (F::kind(self.entry, self.level) == Kind::Absent).then(|| F::absent_state(self.entry))
    }

    #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
    pub(super) fn fault(self, address: VirtAddr, access: Access) -> PageFault {
        let level = self.level as u8;
        let cause = if F::accepts(address) {
            match F::kind(self.entry, self.level) {
                Kind::Absent => FaultCause::NotPresent { level },
                Kind::Leaf => {
                    FaultCause::Forbidden { permissions: F::attributes(self.entry, self.level).permissions }
                }
                _ => FaultCause::Reserved { level },
            }
        } else {
            FaultCause::Reach
        };
        PageFault { address, access, cause }
    }
}

/// The physical address of a byte in a leaf.
#[inline(always)]
fn within<F: TableFormat>(entry: F::Entry, level: usize, index: usize, address: VirtAddr) -> PhysAddr {
    let start = F::leaf_address(entry, level, index).value();
    PhysAddr::new(start | address.value() & F::leaf_size(level).offset_mask())
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> Translate for PageTable<F, W, S> {
    type Fault = PageFault;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, PageFault> {
        let hit = self.find(address).and_then(|hit| hit.translation(address, access));
        hit.ok_or_else(|| self.fault(address, access))
    }
}
