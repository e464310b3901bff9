//! A page table that many CPUs change at one time: transactions on ranges, each with the locks of just the tables that it
//! may touch, and lookups without any lock. After CortenMM (SOSP 2025).
//!
//! ```text
//!              root           transaction on B: goes down without a lock to the lowest table that covers all of B,
//!            ┌──┴──┐          locks it, then the tables below it in B, from left to right, parents first
//!           T1     T2
//!          ┌┴─┐   ┌─┴─┐       A, C and D hold one lock each, and never wait for each other; B holds T1, L1 and L2:
//!         L1  L2 L3   L4      it waits for A and C, and they for it
//!        [A]  [C]    [D]
//!        [──B──]              lookups: loads only, anywhere, at any time
//! ```
//! * **Order.** Locks are taken in one order: parents before children, lower addresses first. So nobody waits in a circle.
//! * **Found too late.** A table is found without a lock, so it may be unlinked before it is locked: then its word says that
//!   it is a stray, and the search begins anew.
//! * **Freed late.** A table that is unlinked goes into the transaction's token. [`SharedTable::finish`] first makes the
//!   translation units forget it ([`Tlb`]), then waits for the lookups that may be in it ([`Grace`]), then frees it.
//! * **Born locked.** A table that is linked can be found at once, and is locked until its transaction is committed.
//! * **Two looks at a first entry.** An unlinked table's first entry chains it in its token. A lookup that is in there finds
//!   nothing mapped, which is right where the pages went, and wrong where a larger leaf took the table's place. So a lookup
//!   that ends with nothing at a first entry looks again: if it comes to the same table, that table was linked after the
//!   first look (nobody frees and links it again while the section lasts), and nothing was there. Else it was unlinked, and
//!   the second look, which is ordered behind that, goes where the larger leaf is.
//! * **Tables never move.** A lookup stands in a table for the address that led it there. If the table moved, another
//!   transaction could map pages of the new place in it, and the lookup would find them at the old address. So a move takes
//!   leaves, and holds both places: the lowest table that covers both, then the tables below in either, in the one order.
//!
//! | who | guarantees |
//! |---|---|
//! | [`Tlb::invalidate`] | no translation unit walks the token's tables any more |
//! | [`Grace::wait`] | no lookup, and no search for a table to lock, does; each of them is one [`Grace::read`] |
//! | [`TableLocks`] | each table has one word |
//! | the caller of [`SharedTable::finish`] | he holds no transaction that others wait for, and stands in no `read` of his own |
#![expect(unsafe_code, reason = "gives the frames of freed tables back")]

use hectare_core::sync::atomic::AtomicU32;
use hectare_core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use hectare_core::{PageRun, PhysAddr, SharedFrameSource};

use super::flush::Flush;
use super::memory::{self, Node, Walk};
use super::{Asid, Half, PageTable, TableError, TableFormat, TableWindow, Tlb};

mod area;
mod grace;
mod locks;
mod lookup;
mod search;
mod strays;
mod transaction;

use area::Area;
use locks::Lock;

pub use grace::{Grace, Readers, Stripe};
pub use locks::{TableLocks, TableWords};
pub use transaction::Transaction;

/// What an attempt comes to.
type Tried<T> = Result<Option<T>, TableError>;

/// A [`PageTable`] behind locks of single tables: [transactions](Self::transaction) on ranges change it, lookups take no lock.
///
/// | [`PageTable`] has | here |
/// |---|---|
/// | ranges: map, unmap, forget, protect, update, harvest, touch, coalesce, remap | [`Transaction`]'s, with the same errors |
/// | pages: replace, software state | [`Transaction`]'s |
/// | find, many, translate, runs, text | [`SharedTable`]'s without locks, [`Transaction`]'s of what stands still |
/// | a cursor | a transaction: each of its calls takes any of its pages, and nobody comes in between |
/// | the copy of a fork | `update` without the right to write, and for each of the `runs` a `map` in a transaction of the other table |
/// | pinned and shared halves | made before the table is shared: other roots take their links from this one's root |
/// | invariants, destroy | [`SharedTable::into_table`]: they are about all tables at one moment |
///
/// ```
/// use hectare_core::sync::atomic::AtomicU32;
/// use hectare_core::{Frame, FrameRun, Locked, NoCpu, Page, PageRun, PageSize, PhysAddr, Permissions, SpinLock};
/// use hectare_paging::format::Sv39;
/// use hectare_paging::table::{MapOptions, NotLoaded, Readers, SharedTable, TableWords};
/// use hectare_paging::{Attributes, PageTable};
/// use hectare_testkit::stand_in::PlainFrames;
///
/// let plain = PlainFrames::<12>::new(0x100, 8);
/// let window = plain.window();
/// let source = Locked::<SpinLock, _>::new(plain);
/// let mut words = [const { AtomicU32::new(0) }; 8];
/// // SAFETY: one source hands out these frames.
/// let words = unsafe { TableWords::new(PhysAddr::new(0x100 << 12), PageSize::SIZE_4K, &mut words) };
/// let table = PageTable::<Sv39, _, _>::new(window, &source)?;
/// let Ok(shared) = SharedTable::new(table, words, Readers::new(&[], NoCpu)) else { panic!("a word a frame") };
/// // SAFETY: no CPU uses the table.
/// let tlb = unsafe { NotLoaded::new() };
///
/// let pages = PageRun::new(Page::new(16), 4).unwrap();
/// let rights = Attributes::new(Permissions::READ | Permissions::WRITE);
/// let mut transaction = shared.transaction(pages)?;
/// let frames = FrameRun::new(Frame::new(7), 4).unwrap();
/// transaction.map(pages.first(), frames, rights, MapOptions::DEFAULT)?;
/// shared.finish(transaction.commit(), &tlb).unwrap();
/// assert_eq!(shared.find((17 << 12).into()).unwrap().address, PhysAddr::new(8 << 12));
/// # Ok::<(), hectare_paging::TableError>(())
/// ```
///
/// # Invariants
/// * as those of [`PageTable`], but a linked table may be empty
/// * a table's entries are changed only by a transaction that holds its lock, or before it is linked
/// * the word of a linked table is not that of a stray; that of an unlinked one is, as soon as its transaction ended
/// * a locked table stays linked: it is unlinked only by who holds its lock and that of the table above
#[derive(Debug)]
pub struct SharedTable<'s, F: TableFormat, W, S, L, G> {
    table: PageTable<F, W, &'s S>,
    /// As [`PageTable`]'s own, which stand still.
    unsettled: AtomicU32,
    moved: AtomicU32,
    locks: L,
    grace: G,
}

impl<'s, F: TableFormat, W: TableWindow, S: SharedFrameSource, L: TableLocks, G: Grace>
    SharedTable<'s, F, W, S, L, G>
{
    /// Shares a table. O(tables).
    ///
    /// # Errors
    /// The table, unchanged, if one of its tables has no lock word, or the window does not show its root.
    pub fn new(table: PageTable<F, W, &'s S>, locks: L, grace: G) -> Result<Self, PageTable<F, W, &'s S>> {
        let walk = Walk::new(&table.window);
        let complete = table.root_node(walk).is_some_and(|root| {
            let foreign = table.foreign;
            every_table(walk, root, foreign, &mut |table| locks.word(table).is_some())
                && every_table(walk, root, foreign, &mut |table| {
                    locks.word(table).inspect(|word| word.reset()).is_some()
                })
        });
        if !complete {
            return Err(table);
        }
        let (unsettled, moved) = (AtomicU32::new(table.unsettled), AtomicU32::new(table.moved));
        Ok(Self { table, unsettled, moved, locks, grace })
    }

    /// The table for a single owner again, and a token for the tables that were left empty.
    pub fn into_table(self) -> (PageTable<F, W, &'s S>, Flush) {
        let mut table = self.table;
        table.unsettled = self.unsettled.load(Relaxed);
        table.moved = self.moved.load(Relaxed);
        let mut token = table.token();
        let walk = Walk::new(&table.window);
        if let Some(root) = table.root_node(walk) {
            super::empty::prune(walk, root, &mut token, [table.pinned, table.foreign]);
        }
        (table, token)
    }

    /// The physical address of the root table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.table.root
    }

    /// The identifier under which translations are cached, if there is one.
    #[must_use]
    pub const fn asid(&self) -> Option<Asid> {
        self.table.asid
    }

    /// Tokens name this identifier from now on.
    pub const fn set_asid(&mut self, asid: Option<Asid>) {
        self.table.asid = asid;
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> &W {
        &self.table.window
    }

    /// Where tables come from.
    #[must_use]
    pub const fn source(&self) -> &'s S {
        self.table.source
    }

    /// Locks what covers the pages, and waits for whoever has it now. Two transactions wait for each other only if one's
    /// lowest covering table is, or lies below, a table of the other's pages; an interrupt handler that uses the table must
    /// not interrupt a transaction.
    ///
    /// Cost: a locked instruction and a store for each table in the range, one at least.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half.
    pub fn transaction(&self, pages: PageRun) -> Result<Transaction<'_, 's, F, W, S, L, G>, TableError> {
        self.begin(Area::one(self.table.part(pages)?))
    }

    /// As [`transaction`](Self::transaction), on two places that do not overlap, and not on what lies between them: to move
    /// pages ([`Transaction::remap`]). It holds the lowest table that covers both.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction), for either; and if they overlap.
    pub fn transaction_on_both(
        &self,
        one: PageRun,
        other: PageRun,
    ) -> Result<Transaction<'_, 's, F, W, S, L, G>, TableError> {
        let area = Area::two(self.table.part(one)?, self.table.part(other)?);
        self.begin(area.ok_or(TableError::Range { pages: other })?)
    }

    fn begin(&self, area: Area) -> Result<Transaction<'_, 's, F, W, S, L, G>, TableError> {
        loop {
            if let Some(transaction) = Transaction::begin(self, area, true)? {
                return Ok(transaction);
            }
        }
    }

    /// As [`transaction`](Self::transaction), but does not wait; `None` if somebody has one of the tables.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub fn try_transaction(&self, pages: PageRun) -> Tried<Transaction<'_, 's, F, W, S, L, G>> {
        Transaction::begin(self, Area::one(self.table.part(pages)?), false)
    }

    /// Pays a token: `tlb` invalidates what it names on every CPU; if it owns tables, waits for the lookups that may be in
    /// them; then they return to the source.
    ///
    /// The caller has no transaction open on this table (the wait may be for someone who waits for its locks) and is not
    /// inside of [`Grace::read`].
    ///
    /// # Errors
    /// The token, untouched, if another table issued it.
    pub fn finish(&self, token: Flush, tlb: &impl Tlb) -> Result<(), Flush> {
        if token.owner != self.table.root {
            return Err(token);
        }
        if token.is_needed() {
            tlb.invalidate(&token.invalidation());
        }
        less(&self.unsettled, token.unsettled);
        less(&self.moved, token.moved);
        if token.owns_tables() {
            if !cfg!(hectare_plant = "shared_no_grace") {
                self.grace.wait();
            }
            let mut source = self.table.source;
            // SAFETY: (1) the token came from this table (checked), whose tables came from this source; it owns its list;
            // (2) nothing links them, no CPU walks them any more (promise of `Tlb`), no lookup does (promise of `Grace`:
            // all of them that began before the tables were unlinked have ended), and whoever waited for a lock of theirs
            // has found that they are strays (searches are sections too).
            unsafe { memory::release::<F, W, &S>(token.freed, &self.table.window, &mut source) };
        }
        Ok(())
    }

    /// Adds what `other` owes to `token`. O(members of the shorter list of tables).
    ///
    /// # Errors
    /// The other token, if either came from another table. Nothing is changed.
    pub fn merge(&self, token: &mut Flush, other: Flush) -> Result<(), Flush> {
        self.table.merge(token, other)
    }

    /// A token that owes nothing, to merge others into.
    pub const fn token(&self) -> Flush {
        Flush::none(self.table.root, self.table.asid)
    }

    fn is_settled(&self) -> bool {
        self.unsettled.load(Acquire) == 0 && self.moved.load(Acquire) == 0
    }
}

/// Counts `by` tokens less, after all that their owner did.
fn less(count: &AtomicU32, by: u32) {
    if by != 0 {
        count.fetch_sub(by, Release);
    }
}

/// Whether `check` holds for every table from a node on, but those of the places to `skip` in it.
fn every_table<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    skip: Half,
    check: &mut impl FnMut(PhysAddr) -> bool,
) -> bool {
    check(node.address)
        && (node.level == 0
            || (0..node.cells.len()).filter(|index| !skip.holds(*index)).all(|index| {
                walk.child(node, index).is_none_or(|child| every_table(walk, child, Half::NONE, check))
            }))
}
