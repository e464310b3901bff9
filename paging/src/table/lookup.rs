//! Finding what an address stands for: one, checked as the hardware would, or many at a time.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Access, FrameSource, PageSize, PhysAddr, Translate, Translation, VirtAddr};

use super::memory::{Cell, Node, Slot, Walk};
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
}

/// Addresses that are translated side by side.
const LANES: usize = 8;

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

    /// What each of these addresses stands for, into `hits`, as far as that reaches. Eight walks go side by side, so that
    /// their cache misses overlap.
    #[inline]
    pub fn find_many(&self, addresses: &[VirtAddr], hits: &mut [Option<Hit<F>>]) {
        let mut many = addresses.chunks_exact(LANES);
        let mut places = hits.chunks_exact_mut(LANES);
        for (addresses, places) in many.by_ref().zip(places.by_ref()) {
            if let (Ok(addresses), Ok(places)) = (addresses.try_into(), places.try_into()) {
                self.find_lanes(addresses, places);
            }
        }
        let done = addresses.len().min(hits.len()) / LANES * LANES;
        for (address, hit) in addresses.iter().zip(hits).skip(done) {
            *hit = self.find(*address);
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
    fn find_lanes(&self, addresses: &[VirtAddr; LANES], hits: &mut [Option<Hit<F>>; LANES]) {
        *hits = [None; LANES];
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return };
        let mut tables: [Option<&[Cell<F>]>; LANES] =
            addresses.map(|address| F::accepts(address).then_some(root.cells));
        for level in (0..F::LEVELS).rev() {
            for ((table, hit), address) in tables.iter_mut().zip(&mut *hits).zip(addresses) {
                let Some(cells) = *table else { continue };
                let index = F::index(*address, level);
                *table = None;
                match walk.slot(Node { level, cells, address: root.address }, index) {
                    Slot::Table(child) => *table = Some(child.cells),
                    Slot::Leaf(entry) => {
                        let address = within::<F>(entry, level, index, *address);
                        *hit = Some(Hit { address, entry, level: level as u8 });
                    }
                    Slot::Absent(_) | Slot::Reserved => {}
                }
            }
        }
    }

    /// Where a walk for `address` ends: the entry and its level.
    pub(super) fn end_of_walk(&self, address: VirtAddr) -> (F::Entry, usize) {
        let walk = Walk::new(&self.window);
        let Some(mut node) = self.root_node(walk) else { return (F::Entry::ZERO, F::LEVELS - 1) };
        loop {
            let index = F::index(address, node.level);
            match walk.slot(node, index) {
                Slot::Table(child) => node = child,
                Slot::Leaf(entry) | Slot::Absent(entry) => return (entry, node.level),
                Slot::Reserved => return (node.load(index), node.level),
            }
        }
    }

    /// The software state of the absent page, 0 if it has none; `None` if a page is mapped there.
    #[must_use]
    pub fn absent_state(&self, address: VirtAddr) -> Option<u64> {
        if !F::accepts(address) {
            return None;
        }
        let (entry, level) = self.end_of_walk(address);
        (F::kind(entry, level) == Kind::Absent).then(|| F::absent_state(entry))
    }

    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
    fn fault(&self, address: VirtAddr, access: Access) -> PageFault {
        let cause = if F::accepts(address) {
            let (entry, level) = self.end_of_walk(address);
            match F::kind(entry, level) {
                Kind::Absent => FaultCause::NotPresent { level: level as u8 },
                Kind::Leaf => FaultCause::Forbidden { permissions: F::attributes(entry, level).permissions },
                _ => FaultCause::Reserved { level: level as u8 },
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
        if let Some(hit) = self.find(address) {
            if hit.attributes().permissions.allow(access) {
                let mask = hit.leaf_size().offset_mask();
                let length = NonZero::new(mask - (address.value() & mask) + 1).unwrap_or(NonZero::<u64>::MIN);
                return Ok(Translation { address: hit.address, length });
            }
        }
        Err(self.fault(address, access))
    }
}
