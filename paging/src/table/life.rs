//! From the first table to the last: making, paying tokens, destroying.
#![expect(unsafe_code, reason = "owns tables: takes them, vouches for the root, gives them back")]

use core::marker::PhantomData;
use core::sync::atomic::Ordering::Acquire;

use hectare_core::{FrameSource, PageRun, VirtAddr};

use super::flush::{Flush, Freed};
use super::memory::{self, Node, Walk};
use super::range::Part;
use super::{Half, PageTable, TableError, TableFormat, TableWindow, Tlb};
use crate::{AtomicEntry, Kind};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    const ROOT: usize = F::LEVELS - 1;

    /// An empty table: one frame for the root, zeroed.
    ///
    /// `window` shows the frames of `source`: both speak of the same physical memory.
    ///
    /// # Errors
    /// If and only if the source has no frame for a root, or the window does not show it.
    pub fn new(window: W, mut source: S) -> Result<Self, TableError> {
        let bytes = F::table_bytes(Self::ROOT);
        let root = memory::take_frames::<F, W, S>(bytes, &window, &mut source)?;
        // SAFETY: just taken, and the window shows it.
        unsafe { memory::zero::<F, W>(root, &window) };
        Ok(Self {
            root,
            window,
            source,
            asid: None,
            unsettled: 0,
            moved: 0,
            pinned: Half::NONE,
            foreign: Half::NONE,
            format: PhantomData,
        })
    }

    /// The root, for as long as the table is borrowed. `None` only if the window breaks its promise.
    #[inline(always)]
    pub(super) fn root_node<'t>(&self, walk: Walk<'t, F, W>) -> Option<Node<'t, F>> {
        // SAFETY: first invariant. The walk borrows this table's own window, so that `'t` is a borrow of the table.
        unsafe { walk.node(self.root, Self::ROOT) }
    }

    /// Whether all tokens that took write rights, or moved tables, are finished.
    #[inline(always)]
    pub(super) const fn is_settled(&self) -> bool {
        self.unsettled == 0 && self.moved == 0
    }

    /// The table of level 0 for an address that the format accepts; `None` if a table is missing, a larger leaf stands there,
    /// or the place is another table's.
    #[inline(always)]
    pub(super) fn base_table<'t>(&self, walk: Walk<'t, F, W>, address: VirtAddr) -> Option<Node<'t, F>> {
        let mut index = F::index(address, Self::ROOT);
        if self.foreign.holds(index) {
            return None;
        }
        // SAFETY: first invariant; see `root_node`.
        let mut node = unsafe { walk.own_node(self.root, Self::ROOT) };
        for level in (1..F::LEVELS).rev() {
            // Acquire: as in `Walk::slot`.
            let entry = node.cells.get(index)?.load(Acquire);
            if F::kind(entry, level) != Kind::Table {
                return None;
            }
            index = F::index(address, level - 1);
            // SAFETY: a table entry of a live table links a live one of the level below, and outside of the foreign half
            // every table is from this table's source (first invariant).
            node = unsafe { walk.own_node(F::table_address(entry, level), level - 1) };
        }
        Some(node)
    }

    /// The part of the address space that the pages are, if this table may change it.
    #[inline]
    pub(super) fn part(&self, pages: PageRun) -> Result<Part, TableError> {
        let part = Part::of::<F>(pages)?;
        if self.pinned != Half::NONE && !cfg!(hectare_plant = "table_pinned_leaf") {
            if let Some(index) = self.pinned_leaf(part) {
                let address = F::delinear(part.start_of::<F>(index, Self::ROOT).max(part.first));
                return Err(TableError::Shared { address });
            }
        }
        if self.foreign != Half::NONE {
            let (first, last) = part.indices::<F>(Self::ROOT);
            if first < self.foreign.end && self.foreign.first <= last {
                let first = self.foreign.first.max(first) as u64;
                let address = F::delinear((first << F::SHIFTS[Self::ROOT]).max(part.first));
                return Err(TableError::Shared { address });
            }
        }
        Ok(part)
    }

    /// The first place of the root in the part with a leaf that is pinned: other roots may have copies of it, which no change
    /// here would reach.
    fn pinned_leaf(&self, part: Part) -> Option<usize> {
        let (first, last) = part.indices::<F>(Self::ROOT);
        let mut both = first.max(self.pinned.first)..self.pinned.end.min(last + 1);
        let root = self.root_node(Walk::new(&self.window))?;
        both.find(|index| F::kind(root.load(*index), Self::ROOT) == Kind::Leaf)
    }

    /// Pays a token: `tlb` invalidates what it names on every CPU, then its tables return to the source.
    ///
    /// # Errors
    /// The token, untouched, if another table issued it.
    pub fn finish(&mut self, token: Flush, tlb: &impl Tlb) -> Result<(), Flush> {
        if token.owner != self.root {
            return Err(token);
        }
        if cfg!(hectare_plant = "table_free_early") {
            // SAFETY: none: this is a planted fault, which the hostile translation unit must catch.
            unsafe { memory::release::<F, W, S>(Freed { ..token.freed }, &self.window, &mut self.source) };
            tlb.invalidate(&token.invalidation());
            return Ok(());
        }
        if token.is_needed() && !cfg!(hectare_plant = "table_no_flush") {
            tlb.invalidate(&token.invalidation());
        }
        self.unsettled = self.unsettled.saturating_sub(token.unsettled);
        self.moved = self.moved.saturating_sub(token.moved);
        // SAFETY: (1) the token came from this table (checked), whose tables came from this source; a token is made only
        // here and owns its list; (2) nothing links them, and no CPU walks them any more (promise of `Tlb`).
        unsafe { memory::release::<F, W, S>(token.freed, &self.window, &mut self.source) };
        Ok(())
    }

    /// Adds what `other` owes to `token`. O(members of the shorter list of tables).
    ///
    /// # Errors
    /// The other token, if either came from another table. Nothing is changed.
    pub fn merge(&self, token: &mut Flush, mut other: Flush) -> Result<(), Flush> {
        if token.owner != self.root || other.owner != self.root {
            return Err(other);
        }
        let list = core::mem::replace(&mut other.freed, Freed::NONE);
        // SAFETY: both lists belong to this table, and to the tokens, which are ours.
        unsafe { memory::join::<F, W>(&mut token.freed, list, &self.window) };
        token.absorb(other);
        Ok(())
    }

    /// A token that owes nothing, to merge others into.
    pub const fn token(&self) -> Flush {
        Flush::none(self.root, self.asid)
    }

    /// The half that others shared is this table's alone again: its tables return to the source like all others, those that
    /// are empty now, and the leaves of the root there may change. O(tables).
    ///
    /// # Safety
    /// No other root links the half: every table that [shared](Self::share) it, from this one or from one that shared it
    /// itself, was destroyed.
    pub unsafe fn unpin(&mut self) -> Flush {
        self.pinned = Half::NONE;
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            super::empty::prune(walk, root, &mut token, [self.pinned, self.foreign]);
        }
        token
    }

    /// Gives every table back, whatever it maps, and returns the source.
    ///
    /// The tables of a half that others share stay as they are, unless it was [unpinned](Self::unpin). The frames that are mapped are not looked at:
    /// take them out first. No CPU may use the root any more, and `tlb` is asked to forget everything before the first
    /// frame returns. Tokens that were not finished lose their tables.
    pub fn destroy(mut self, tlb: &impl Tlb) -> S {
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        if let Some(root) = self.root_node(walk) {
            for index in 0..if F::LEVELS > 1 { F::entries(Self::ROOT) } else { 0 } {
                if self.pinned.holds(index) || self.foreign.holds(index) {
                    continue;
                }
                if let Some(child) = walk.child(root, index) {
                    walk.retire(child, &mut token.freed);
                }
            }
        }
        token.add_everything();
        tlb.invalidate(&token.invalidation());
        // SAFETY: (1) all tables but those of shared halves, taken from this source, each linked once; (2) no CPU uses
        // the root (promise of whoever loaded it), nor holds any of them (promise of `Tlb`).
        unsafe { memory::release::<F, W, S>(token.freed, &self.window, &mut self.source) };
        // SAFETY: the same for the root.
        unsafe { memory::release_frames(self.root, F::table_bytes(Self::ROOT), &mut self.source) };
        self.source
    }
}
