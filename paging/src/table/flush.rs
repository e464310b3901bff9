//! What is owed to the translation caches after a change: a value that cannot be forgotten, and that owns the tables
//! which CPUs may still be walking.
//!
//! ```text
//!   unmap, protect, … ──► Flush ──merge──► Flush ──PageTable::finish(flush, &tlb)──► tables back to the source
//!                           │                               │
//!                           └── ranges, stride, ASID,       └── Tlb::invalidate(ranges) first
//!                               freed tables
//! ```
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{PageRun, PageSize, PhysAddr, VirtAddr};

use super::{Asid, TableFormat, Tlb};
use crate::format::{self, Memo};

/// Ranges that a token tells apart; beyond that it asks for everything.
const SPANS: usize = 4;

/// Equally large pages whose translations must go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte; its low bits, which a page has not, hold the logarithm of the stride.
    packed: u64,
    count: u64,
}

impl Span {
    const NONE: Self = Self { packed: 0, count: 0 };

    /// `count` pages of `stride` bytes from `first` on.
    #[must_use]
    pub const fn new(first: VirtAddr, count: u64, stride: PageSize) -> Self {
        Self { packed: first.value() & !0x3F | stride.log2() as u64, count }
    }

    /// The first byte of the first page.
    #[must_use]
    pub const fn first(&self) -> VirtAddr {
        VirtAddr::new(self.packed & !0x3F)
    }

    /// How many pages, at least 1.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The size of each: one invalidation a page suffices.
    #[must_use]
    pub const fn stride(&self) -> PageSize {
        match PageSize::from_log2((self.packed & 0x3F) as u8) {
            Some(size) => size,
            None => PageSize::SIZE_4K,
        }
    }

    /// The last byte. A span never wraps.
    #[must_use]
    pub const fn last(&self) -> VirtAddr {
        VirtAddr::new(self.end().wrapping_sub(1))
    }

    /// The first byte after it; 0 at the top of the address space.
    const fn end(&self) -> u64 {
        (self.packed & !0x3F).wrapping_add(self.count << (self.packed & 0x3F))
    }

    /// Whether `other` goes on where this ends, with the same stride.
    const fn meets(&self, other: &Self) -> bool {
        self.count != 0 && self.end() | self.packed & 0x3F == other.packed && self.end() != 0
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {:#x} from {}", self.count, self.stride().bytes(), self.first())
    }
}

/// What a [`Tlb`](super::Tlb) is asked to invalidate, before it returns, on every CPU that may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation<'a> {
    /// The pages. Empty if `everything` is set.
    pub spans: &'a [Span],
    /// All of the address space instead of single pages.
    pub everything: bool,
    /// Tables went too: caches of upper levels must not lead to them from any address, named here or not (an invalidation of
    /// leaves only does not suffice).
    pub tables: bool,
    /// Entries that are shared by all address spaces are among them.
    pub global: bool,
    /// The top level changed in a format whose CPUs hold it in registers: it must be loaded again.
    pub reload: bool,
    /// Whose translations; `None`: whatever the CPU uses when it is not told, or every address space's.
    pub asid: Option<Asid>,
}

impl Invalidation<'_> {
    /// How many single pages that is, `None` for everything: beyond a few dozen, everything is cheaper (Linux takes 33 as
    /// the limit on x86: `tlb_single_page_flush_ceiling`).
    #[must_use]
    pub fn pages(&self) -> Option<u64> {
        if self.everything {
            return None;
        }
        self.spans.iter().try_fold(0_u64, |sum, span| sum.checked_add(span.count))
    }
}

/// Subtrees that are linked nowhere any more, as a list through the first entries of their topmost tables.
///
/// ```text
///   Freed ──► table of level 1 ──[0]──► table of level 0 ──[0]──► …       count members
///                │[1] … [511]                                            (a link names the next one's level)
///                └──► their tables hang below as before
/// ```
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// The topmost table of the first member.
    pub(super) first: PhysAddr,
    /// Its level.
    pub(super) level: u8,
    /// How many members.
    pub(super) count: u32,
}

impl Freed {
    pub(super) const NONE: Self = Self { first: PhysAddr::new(0), level: 0, count: 0 };
}

/// What is owed after a change: an invalidation, and then the return of freed tables.
///
/// Tokens of one table merge. Dropping one leaks the freed tables, and stale translations stay in use: give it to
/// [`PageTable::finish`](super::PageTable::finish). One that nobody looks at is a warning, here made an error:
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use hectare_core::{FrameSource, PageRun};
/// # use hectare_paging::table::{PageTable, TableError, TableFormat, TableWindow, Tlb};
/// # fn f<F: TableFormat, W: TableWindow, S: FrameSource>(
/// #     table: &mut PageTable<F, W, S>, pages: PageRun, tlb: &impl Tlb) -> Result<(), TableError> {
/// table.forget(pages)?;
/// # Ok(()) }
/// ```
/// ```
/// #![deny(unused_must_use)]
/// # use hectare_core::{FrameSource, PageRun};
/// # use hectare_paging::table::{PageTable, TableError, TableFormat, TableWindow, Tlb};
/// # fn f<F: TableFormat, W: TableWindow, S: FrameSource>(
/// #     table: &mut PageTable<F, W, S>, pages: PageRun, tlb: &impl Tlb) -> Result<(), TableError> {
/// let token = table.forget(pages)?;
/// table.finish(token, tlb).expect("its own token");
/// # Ok(()) }
/// ```
///
/// # Invariants
/// * the freed tables are linked nowhere, and in no other token
/// * `spans[..used]` have pages; all others have none
#[derive(Debug)]
#[must_use = "stale translations stay in use, and freed tables are lost, unless the token is finished"]
pub struct Flush {
    /// The root of the table that it came from.
    pub(super) owner: PhysAddr,
    pub(super) freed: Freed,
    /// Write rights that were taken from entries which may still be written through stale translations.
    pub(super) unsettled: u32,
    /// Moves of tables that may still be reached from their old addresses.
    pub(super) moved: u32,
    spans: [Span; SPANS],
    used: u8,
    everything: bool,
    global: bool,
    reload: bool,
    asid: Option<Asid>,
}

impl Flush {
    pub(super) const fn none(owner: PhysAddr, asid: Option<Asid>) -> Self {
        Self {
            owner,
            freed: Freed::NONE,
            unsettled: 0,
            moved: 0,
            spans: [Span::NONE; SPANS],
            used: 0,
            everything: false,
            global: false,
            reload: false,
            asid,
        }
    }

    /// Whether anything is owed.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.used != 0 || self.everything || self.reload || self.freed.count != 0
    }

    /// Whether it owns freed tables.
    #[must_use]
    pub const fn owns_tables(&self) -> bool {
        self.freed.count != 0
    }

    /// What it will ask of the [`Tlb`](super::Tlb).
    #[must_use]
    pub fn invalidation(&self) -> Invalidation<'_> {
        Invalidation {
            spans: self.spans.get(..usize::from(self.used)).unwrap_or(&[]),
            everything: self.everything,
            tables: self.freed.count != 0 || self.moved != 0 && !cfg!(hectare_plant = "table_move_unseen"),
            global: self.global,
            reload: self.reload,
            asid: self.asid,
        }
    }

    /// All of `other` but its list if there is one here.
    pub(super) fn absorb(&mut self, other: Self) {
        for span in &other.spans[..usize::from(other.used)] {
            self.add(*span);
        }
        if other.everything {
            self.add_everything();
        }
        self.global |= other.global;
        self.reload |= other.reload;
        self.unsettled = self.unsettled.saturating_add(other.unsettled);
        self.moved = self.moved.saturating_add(other.moved);
        if self.asid != other.asid {
            self.asid = None;
        }
        if self.freed.count == 0 {
            self.freed = other.freed;
        }
    }

    /// Owes an invalidation of these pages too.
    pub(super) fn add(&mut self, span: Span) {
        if self.everything || span.count == 0 {
            return;
        }
        let used = usize::from(self.used);
        if let Some(last) = used.checked_sub(1).and_then(|last| self.spans.get_mut(last)) {
            if last.meets(&span) {
                last.count += span.count;
                return;
            }
            if *last == span {
                return;
            }
        }
        match self.spans.get_mut(used) {
            Some(place) => {
                *place = span;
                self.used += 1;
            }
            None => self.add_everything(),
        }
    }

    pub(super) fn add_everything(&mut self) {
        self.everything = true;
        self.spans = [Span::NONE; SPANS];
        self.used = 0;
    }

    pub(super) fn add_global(&mut self) {
        self.global = true;
    }

    pub(super) fn add_reload(&mut self) {
        self.reload = true;
    }
}

/// What is owed after absent entries became present: nothing in most formats, and then a number of pages nobody reads.
///
/// | format | what is owed |
/// |---|---|
/// | x86, EPT | nothing: absent entries are not cached (SDM 3A, 5.10.4.3) |
/// | AArch64 | a barrier, which [`Tlb::invalidate`] begins with |
/// | RISC-V without Svvptc | an invalidation, or a fault handler that returns when it finds the page present |
/// | PAE | a new load of CR3, if an entry of the top level changed |
///
/// One that nobody looks at is a warning, here made an error:
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use hectare_core::{FrameRun, FrameSource, Page};
/// # use hectare_paging::table::{MapOptions, PageTable, TableError, TableFormat, TableWindow, Tlb};
/// # use hectare_paging::Attributes;
/// # fn f<F: TableFormat, W: TableWindow, S: FrameSource>(table: &mut PageTable<F, W, S>,
/// #     first: Page, frames: FrameRun, rights: Attributes, tlb: &impl Tlb) -> Result<(), TableError> {
/// table.map(first, frames, rights, MapOptions::DEFAULT)?;
/// # Ok(()) }
/// ```
/// ```
/// #![deny(unused_must_use)]
/// # use hectare_core::{FrameRun, FrameSource, Page};
/// # use hectare_paging::table::{MapOptions, PageTable, TableError, TableFormat, TableWindow, Tlb};
/// # use hectare_paging::Attributes;
/// # fn f<F: TableFormat, W: TableWindow, S: FrameSource>(table: &mut PageTable<F, W, S>,
/// #     first: Page, frames: FrameRun, rights: Attributes, tlb: &impl Tlb) -> Result<(), TableError> {
/// table.map(first, frames, rights, MapOptions::DEFAULT)?.finish(tlb);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "some formats owe a barrier, an invalidation or a reload before a new mapping may be relied on"]
pub struct Fresh<F: TableFormat> {
    /// No bytes where nothing is owed.
    what: F::Memo<(PageRun, Option<Asid>)>,
}

impl<F: TableFormat> Fresh<F> {
    #[inline(always)]
    pub(super) fn new(pages: PageRun, asid: Option<Asid>) -> Self {
        const { assert!(size_of::<Self>() != 0 || !Self::is_needed(), "who owes something remembers it") };
        Self { what: Memo::new((pages, asid)) }
    }

    /// Whether this format owes anything. A constant.
    #[must_use]
    pub const fn is_needed() -> bool {
        F::ROOT_LATCHED || !matches!(F::FRESH, format::Fresh::Nothing)
    }

    /// Pays it.
    #[inline(always)]
    pub fn finish(self, tlb: &impl Tlb) {
        if Self::is_needed() {
            self.pay(tlb);
        }
    }

    #[cold]
    fn pay(self, tlb: &impl Tlb) {
        let Some((pages, asid)) = self.what.get() else { return };
        let first = pages.first().start(F::PAGE).unwrap_or(VirtAddr::new(0));
        let span = Span::new(first, pages.count(), F::PAGE);
        tlb.invalidate(&Invalidation {
            spans: &[span],
            everything: false,
            tables: false,
            global: false,
            reload: F::ROOT_LATCHED && !cfg!(hectare_plant = "table_no_reload"),
            asid,
        });
    }

    /// Pays nothing: no CPU uses the table yet, or its fault handler returns from faults on pages that are present.
    #[inline(always)]
    pub const fn later(self) {}
}
