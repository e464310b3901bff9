//! The table under test: one with a single owner, or one that many CPUs share, through transactions of all widths.
#![expect(unsafe_code, reason = "lends the source and the locks for as long as the table lives")]

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use hectare_core::{Frame, FrameRun, NoCpu, Page, PageRun, PageSize, Permissions, PhysAddr, VirtAddr};
use hectare_paging::table::{Hit, MapOptions, Readers, SharedTable, TableError, TableWords, Transaction};
use hectare_paging::{Attributes, Flush, Mapping, PageTable, TableFormat, Touched};

use crate::memory::{Source, Units, Window};
use crate::mmu::Mmu;

pub(crate) type Own<F> = PageTable<F, Window<F>, &'static Source<F>>;
type Shared<F> = SharedTable<'static, F, Window<F>, Source<F>, TableWords<'static>, Readers<'static, NoCpu>>;
type Under<'t, F> =
    Transaction<'t, 'static, F, Window<F>, Source<F>, TableWords<'static>, Readers<'static, NoCpu>>;

type Owed = Result<Flush, TableError>;

/// What a machine does to a table.
pub(crate) trait Table<F: TableFormat>: Sized {
    /// An empty one; `None` if there is no frame, or machines of its kind do not make any on their way.
    fn new(window: Window<F>, source: Source<F>) -> Option<Self>;
    /// The table of a single owner.
    fn own(&mut self) -> Option<&mut Own<F>>;
    fn root(&self) -> PhysAddr;
    fn find(&self, address: VirtAddr) -> Option<Hit<F>>;
    fn finish(&mut self, token: Flush, units: &Units<F>);
    fn merge(&self, token: &mut Flush, other: Flush);
    /// Gives everything back. What it borrowed comes out, to be dropped when this has returned: until then, `self` borrows it.
    fn destroy(self, units: &Units<F>) -> impl Sized;
    /// Maps, and pays what that owes.
    fn map(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
        units: &Units<F>,
    ) -> Result<(), TableError>;
    fn unmap(&mut self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Owed;
    fn forget(&mut self, pages: PageRun) -> Owed;
    fn protect(&mut self, pages: PageRun, rights: Permissions) -> Owed;
    fn update(&mut self, pages: PageRun, new: Attributes) -> Owed;
    fn harvest(&mut self, pages: PageRun, clear: Touched, report: impl FnMut(Mapping<F>)) -> Owed;
    fn touch(&mut self, pages: PageRun, touched: Touched) -> Owed;
    fn coalesce(&mut self, pages: PageRun) -> Owed;
    fn replace(&mut self, page: Page, frame: Frame, attributes: Attributes, touched: Touched) -> Owed;
    fn set_state(&mut self, page: Page, state: u64) -> Owed;
    fn remap(&mut self, pages: PageRun, to: Page) -> Owed;
}

/// What is borrowed for ever, and dropped behind the table.
struct Kept<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Kept<T> {
    fn new(value: Box<T>) -> Self {
        Self(NonNull::from(Box::leak(value)))
    }
}

impl<T: ?Sized> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: a leaked box; whoever borrowed it is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

pub(crate) struct Alone<F: TableFormat> {
    table: Own<F>,
    source: Kept<Source<F>>,
}

impl<F: TableFormat> Table<F> for Alone<F> {
    fn new(window: Window<F>, source: Source<F>) -> Option<Self> {
        let source = Kept::new(Box::new(source));
        // SAFETY: it is dropped behind the table.
        let table = PageTable::new(window, unsafe { source.0.as_ref() }).ok()?;
        Some(Self { table, source })
    }

    fn own(&mut self) -> Option<&mut Own<F>> {
        Some(&mut self.table)
    }

    fn root(&self) -> PhysAddr {
        self.table.root()
    }

    fn find(&self, address: VirtAddr) -> Option<Hit<F>> {
        self.table.find(address)
    }

    fn finish(&mut self, token: Flush, units: &Units<F>) {
        self.table.finish(token, units).expect("its own token");
    }

    fn merge(&self, token: &mut Flush, other: Flush) {
        self.table.merge(token, other).expect("both its own");
    }

    fn destroy(self, units: &Units<F>) -> impl Sized {
        let _ = self.table.destroy(units);
        self.source
    }

    fn map(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
        units: &Units<F>,
    ) -> Result<(), TableError> {
        let fresh = self.table.map(first, frames, attributes, options)?;
        units.each(Mmu::disturb);
        fresh.finish(units);
        Ok(())
    }

    fn unmap(&mut self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Owed {
        self.table.unmap(pages, report)
    }

    fn forget(&mut self, pages: PageRun) -> Owed {
        self.table.forget(pages)
    }

    fn protect(&mut self, pages: PageRun, rights: Permissions) -> Owed {
        self.table.protect(pages, rights)
    }

    fn update(&mut self, pages: PageRun, new: Attributes) -> Owed {
        self.table.update(pages, |_| new)
    }

    fn harvest(&mut self, pages: PageRun, clear: Touched, report: impl FnMut(Mapping<F>)) -> Owed {
        self.table.harvest(pages, clear, report)
    }

    fn touch(&mut self, pages: PageRun, touched: Touched) -> Owed {
        self.table.touch(pages, touched).map(|()| self.table.token())
    }

    fn coalesce(&mut self, pages: PageRun) -> Owed {
        self.table.coalesce(pages)
    }

    fn replace(&mut self, page: Page, frame: Frame, attributes: Attributes, touched: Touched) -> Owed {
        self.table.replace(page, frame, attributes, touched)
    }

    fn set_state(&mut self, page: Page, state: u64) -> Owed {
        self.table.set_state(page, state)
    }

    fn remap(&mut self, pages: PageRun, to: Page) -> Owed {
        self.table.remap(pages, to)
    }
}

/// A table that many CPUs share: each operation is a transaction.
pub(crate) struct Cpus<F: TableFormat> {
    table: Shared<F>,
    /// Pages that a transaction may be on.
    span: Range<u64>,
    /// Transactions so far.
    turn: u64,
    source: Kept<Source<F>>,
    words: Kept<[AtomicU32]>,
}

impl<F: TableFormat> Cpus<F> {
    /// Shares a table, of these frames.
    pub(crate) fn share(alone: Alone<F>, frames: Range<u64>, span: Range<u64>) -> Self {
        let mut words = Kept::new(frames.clone().map(|_| AtomicU32::new(9)).collect::<Box<[_]>>());
        // SAFETY: they are dropped behind the table, and nobody else borrows them.
        let locks = unsafe { words.0.as_mut() };
        // SAFETY: one memory, whose frames are handed out once at a time.
        let locks = unsafe { TableWords::new(PhysAddr::new(frames.start << 12), PageSize::SIZE_4K, locks) };
        let table = SharedTable::new(alone.table, locks, Readers::new(&[], NoCpu));
        let table = table.unwrap_or_else(|_| panic!("a word for each frame"));
        Self { table, span, turn: 0, source: alone.source, words }
    }

    /// In a transaction on the pages, or on more.
    fn on(&mut self, pages: PageRun, act: impl FnOnce(&mut Under<'_, F>) -> Result<(), TableError>) -> Owed {
        self.turn += 1;
        let size = 1_u64 << (F::SHIFTS[1] - F::PAGE.log2());
        let (first, end) = (pages.first().number(), pages.end().number());
        let (first, end) = match self.turn % 3 {
            0 => (first, end),
            1 => (first / size * size, end.next_multiple_of(size)),
            _ => (self.span.start, self.span.end),
        };
        let (first, end) = (first.max(self.span.start), end.min(self.span.end));
        let wide = PageRun::new(Page::new(first), end - first).expect("a run");
        let mut transaction = self.table.transaction(wide)?;
        let result = act(&mut transaction);
        owed(result, transaction.commit())
    }
}

fn owed(result: Result<(), TableError>, token: Flush) -> Owed {
    assert!(result.is_ok() || !token.is_needed(), "a refused call owes nothing");
    result.map(|()| token)
}

fn one(page: Page) -> PageRun {
    PageRun::new(page, 1).expect("a run")
}

impl<F: TableFormat> Table<F> for Cpus<F> {
    fn new(_window: Window<F>, _source: Source<F>) -> Option<Self> {
        None
    }

    fn own(&mut self) -> Option<&mut Own<F>> {
        None
    }

    fn root(&self) -> PhysAddr {
        self.table.root()
    }

    fn find(&self, address: VirtAddr) -> Option<Hit<F>> {
        self.table.find(address)
    }

    fn finish(&mut self, token: Flush, units: &Units<F>) {
        self.table.finish(token, units).expect("its own token");
    }

    fn merge(&self, token: &mut Flush, other: Flush) {
        self.table.merge(token, other).expect("both its own");
    }

    fn destroy(self, units: &Units<F>) -> impl Sized {
        let (mut table, token) = self.table.into_table();
        table.finish(token, units).expect("its own token");
        let _ = table.destroy(units);
        (self.source, self.words)
    }

    fn map(
        &mut self,
        first: Page,
        frames: FrameRun,
        attributes: Attributes,
        options: MapOptions,
        units: &Units<F>,
    ) -> Result<(), TableError> {
        let pages = PageRun::new(first, frames.count()).expect("a run");
        let token = self.on(pages, |under| under.map(first, frames, attributes, options))?;
        units.each(Mmu::disturb);
        self.finish(token, units);
        Ok(())
    }

    fn unmap(&mut self, pages: PageRun, report: impl FnMut(Mapping<F>)) -> Owed {
        self.on(pages, |under| under.unmap(pages, report))
    }

    fn forget(&mut self, pages: PageRun) -> Owed {
        self.on(pages, |under| under.forget(pages))
    }

    fn protect(&mut self, pages: PageRun, rights: Permissions) -> Owed {
        self.on(pages, |under| under.protect(pages, rights))
    }

    fn update(&mut self, pages: PageRun, new: Attributes) -> Owed {
        self.on(pages, |under| under.update(pages, |_| new))
    }

    fn harvest(&mut self, pages: PageRun, clear: Touched, report: impl FnMut(Mapping<F>)) -> Owed {
        self.on(pages, |under| under.harvest(pages, clear, report))
    }

    fn touch(&mut self, pages: PageRun, touched: Touched) -> Owed {
        self.on(pages, |under| under.touch(pages, touched))
    }

    fn coalesce(&mut self, pages: PageRun) -> Owed {
        self.on(pages, |under| under.coalesce(pages))
    }

    fn replace(&mut self, page: Page, frame: Frame, attributes: Attributes, touched: Touched) -> Owed {
        self.on(one(page), |under| under.replace(page, frame, attributes, touched))
    }

    fn set_state(&mut self, page: Page, state: u64) -> Owed {
        self.on(one(page), |under| under.set_state(page, state))
    }

    fn remap(&mut self, pages: PageRun, to: Page) -> Owed {
        let into = PageRun::new(to, pages.count()).ok_or(TableError::Range { pages })?;
        let mut transaction = self.table.transaction_on_both(pages, into)?;
        let result = transaction.remap(pages, to);
        owed(result, transaction.commit())
    }
}
