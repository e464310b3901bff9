//! Where a root that links itself shows the tables: arithmetic on addresses.
//!
//! ```text
//!   root, slot s ──► root            an address        │ s  │ a  │ b  │ c  │ offset │
//!                                    goes              root  root   A    B    → the table C as a page: the walk ends one
//!                                                                              level early
//!   s a b c    the table of level 0 that translates (a b c ·)
//!   s s a b    the table of level 1                                 s s s s    the root
//! ```
//! It works where a link, read as an entry of level 0, is a leaf on the same frame, and all tables fill a page: x86 with
//! two, four and five levels. PAE's root is too small, RISC-V's links are no leaves; AArch64's are without an access flag,
//! so that it faults there.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use hectare_core::{FrameSource, Page, PageRun, Permissions, PhysAddr, VirtAddr};

use super::fill::taken;
use super::memory::{self, Walk};
use super::range::Part;
use super::{Half, PageTable, TableError, TableFormat, TableWindow};
use crate::format::EntryError;
use crate::{Attributes, Entry, Kind};

/// The slot of the root that links the root.
///
/// ```
/// use hectare_core::VirtAddr;
/// use hectare_paging::format::{Sv39, X86_64};
/// use hectare_paging::table::SelfMap;
///
/// let map = SelfMap::<X86_64<4>>::new(511).unwrap();
/// // The tables are the last 512 GiB, the root is the last page, and its last entry is the last word.
/// assert_eq!(map.pages().first().number(), 0xF_FFFF_F800_0000);
/// assert_eq!(map.table(VirtAddr::new(0), 3).value(), 0xFFFF_FFFF_FFFF_F000);
/// assert_eq!(map.entry(VirtAddr::new(0xFFFF_FFFF_FFFF_FFFF), 3).value(), 0xFFFF_FFFF_FFFF_FFF8);
/// // A link of RISC-V cannot be a leaf.
/// assert!(SelfMap::<Sv39>::new(511).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfMap<F> {
    slot: usize,
    format: PhantomData<F>,
}

impl<F: TableFormat> SelfMap<F> {
    /// Slot `slot`; `None` if the root has no such slot, or the format's links cannot be leaves of level 0 too.
    #[must_use]
    pub fn new(slot: usize) -> Option<Self> {
        let probe = F::PAGE.bytes().into();
        let fills = |level: usize| F::table_bytes(level) == F::PAGE.bytes();
        let reads_as_leaf = |level: usize| {
            F::table(probe, level).is_ok_and(|link| {
                F::kind(link, 0) == Kind::Leaf
                    && F::leaf_address(link, 0, 0) == probe
                    && F::touched(link, 0).accessed
                    && F::attributes(link, 0).permissions.contains(Permissions::WRITE)
            })
        };
        let works = (0..F::LEVELS).all(fills) && (1..F::LEVELS).all(reads_as_leaf);
        (works && slot < F::entries(F::LEVELS - 1)).then_some(Self { slot, format: PhantomData })
    }

    /// Which slot.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot
    }

    /// The entry that has to stand in the slot of a root at this address. Each walk to a table goes through it, so that it
    /// takes what the links below grant: tables are the kernel's to read and write, and nobody's to execute.
    ///
    /// # Errors
    /// A link cannot say the address.
    pub fn link(self, root: PhysAddr) -> Result<F::Entry, EntryError> {
        let kernel = F::edit(Self::attributes(), 0)?;
        let link = F::table(root, F::LEVELS - 1)?;
        Ok(if cfg!(hectare_plant = "self_map_user") { link } else { F::apply(link, kernel) })
    }

    /// Where the entry of this level (below `LEVELS`) that translates `address` is seen.
    #[must_use]
    pub fn entry(self, address: VirtAddr, level: usize) -> VirtAddr {
        // The walk is as long as ever: for each level that it is to end early, it begins with a turn through the root.
        let place = F::linear(address) >> F::SHIFTS[level] << F::Entry::BYTES.trailing_zeros();
        let turns = (F::LEVELS - 1 - level..F::LEVELS).map(|turn| (self.slot as u64) << F::SHIFTS[turn]);
        let bits = F::SHIFTS[F::LEVELS - 1 - level];
        let low = place & 1_u64.checked_shl(bits.into()).map_or(u64::MAX, |size| size - 1);
        F::delinear(turns.fold(low, |sum, turn| sum | turn))
    }

    /// Where the table of this level (below `LEVELS`) that translates `address` is seen.
    #[must_use]
    pub fn table(self, address: VirtAddr, level: usize) -> VirtAddr {
        self.entry(address, level).align_down(F::PAGE)
    }

    /// The pages that show tables, and can map nothing else.
    #[must_use]
    pub fn pages(self) -> PageRun {
        let shift = F::SHIFTS[F::LEVELS - 1];
        let first = F::delinear((self.slot as u64) << shift);
        PageRun::new(Page::new(first.value() >> F::PAGE.log2()), 1 << (shift - F::PAGE.log2()))
            .unwrap_or(super::fill::LAST)
    }

    /// What memory for tables is mapped as.
    pub(super) fn attributes() -> Attributes {
        let rights = Permissions::READ | Permissions::WRITE;
        F::nearest(Attributes::new(rights))
    }
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Links the root in its own slot. The slot's pages show the tables from then on, and nothing else can be mapped there
    /// ([`TableError::Shared`]).
    ///
    /// # Errors
    /// If and only if something is mapped there, or the slot does not adjoin the places that are shared with another
    /// table. Nothing is changed then.
    pub fn link_self(&mut self, map: SelfMap<F>) -> Result<(), TableError> {
        let place = Half { first: map.slot, end: map.slot + 1 };
        let apart = TableError::Range { pages: map.pages() };
        let walk = Walk::new(&self.window);
        let root = self.root_node(walk).ok_or(TableError::Unreachable { table: self.root })?;
        if root.load(map.slot) != F::Entry::ZERO {
            return Err(taken(root, Part::all::<F>(), map.slot));
        }
        let foreign = self.foreign.with(place).filter(|_| !self.pinned.holds(map.slot)).ok_or(apart)?;
        memory::link_root(walk, root, map.slot, map.link(self.root)?);
        self.foreign = foreign;
        Ok(())
    }
}
