//! Going through a range run by run, stopping wherever the caller wants to: because its buffer is full, or to look first.
//!
//! ```text
//!   range    ├─────────────────────────────────────────────┤
//!   runs        ▓▓▓▓▓▓▓      ▓▓▓▓        ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓
//!                   ▲ position           peek ──► the next run from here; take, skip, jump move on
//! ```
//! Each call walks down from the root, at most one step a level.
#![forbid(unsafe_code)]

use hectare_core::{FrameSource, Page, PageRun, Permissions, VirtAddr};

use super::flush::Flush;
use super::range::Part;
use super::{Mapping, PageTable, TableError, TableFormat, TableWindow};

/// A place in a range of a page table that it may change.
///
/// ```
/// use hectare_core::{Frame, FrameRun, Page, PageRun, Permissions};
/// # use hectare_paging::{Attributes, MapOptions, PageTable, format::X86_64, table::NotLoaded};
/// # let frames = hectare_testkit::stand_in::PlainFrames::<12>::new(0x100, 8);
/// # let mut table = PageTable::<X86_64<4>, _, _>::new(frames.window(), frames)?;
/// # // SAFETY: no CPU uses the table.
/// # let tlb = unsafe { NotLoaded::new() };
/// # let data = Attributes::new(Permissions::READ);
/// # for (page, count) in [(0x20, 300), (0x1000, 1 << 9)] {
/// #     let memory = FrameRun::new(Frame::new(page), count).unwrap();
/// #     table.map(Page::new(page), memory, data, MapOptions::DEFAULT)?.finish(&tlb);
/// # }
///
/// // Takes out what is mapped, at most 64 pages at a time: so many frames the caller's list can hold.
/// let everything = PageRun::new(Page::new(0), 1 << 20).unwrap();
/// let (mut steps, mut frames) = (0, 0);
/// let mut cursor = table.cursor(everything)?;
/// let mut owed = vec![];
/// while let Some(token) = cursor.take(64, |run| frames += run.frames().count())? {
///     owed.push(token);
///     steps += 1;
/// }
/// assert_eq!((frames, steps), (812, 5 + 8)); // 300 pages, and a huge one that is split
/// for token in owed {
///     table.finish(token, &tlb).unwrap();
/// }
/// # table.destroy(&tlb);
/// # Ok::<(), hectare_paging::TableError>(())
/// ```
#[derive(Debug)]
pub struct Cursor<'t, F: TableFormat, W, S> {
    table: &'t mut PageTable<F, W, S>,
    part: Part,
    /// Linear; `None` behind the end.
    next: Option<u64>,
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// A cursor at the first of the pages.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half.
    pub fn cursor(&mut self, pages: PageRun) -> Result<Cursor<'_, F, W, S>, TableError> {
        let part = self.part(pages)?;
        Ok(Cursor { table: self, part, next: Some(part.first) })
    }
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> Cursor<'_, F, W, S> {
    /// Where it stands; `None` behind the end.
    #[must_use]
    pub fn position(&self) -> Option<VirtAddr> {
        self.next.map(F::delinear)
    }

    /// Moves to a page of the range.
    ///
    /// # Errors
    /// The page is not in the range. The cursor stays.
    pub fn jump(&mut self, page: Page) -> Result<(), TableError> {
        let pages = PageRun::new(page, 1).unwrap_or(super::fill::LAST);
        let at = Part::of::<F>(pages)?;
        if at.first < self.part.first || at.last > self.part.last {
            return Err(TableError::Range { pages });
        }
        self.next = Some(at.first);
        Ok(())
    }

    /// The next run that touches the range from here on, uncut: a huge leaf may begin before and end behind it.
    #[must_use]
    pub fn peek(&self) -> Option<Mapping<F>> {
        self.table.runs_in(self.rest()?).next()
    }

    /// Moves behind the next run; whether there was one.
    pub fn skip(&mut self) -> bool {
        let Some(run) = self.peek() else {
            self.next = None;
            return false;
        };
        self.pass(run.last());
        true
    }

    /// Unmaps the next run, but at most `most` pages of it, and moves behind them. `None` at the end. `report` gets what
    /// was there: more than one run if the hardware set bits of some pages since they were looked at.
    ///
    /// # Errors
    /// As [`PageTable::unmap`]; the cursor stays.
    pub fn take(&mut self, most: u64, report: impl FnMut(Mapping<F>)) -> Result<Option<Flush>, TableError> {
        let Some((pages, last)) = self.piece(most) else { return Ok(None) };
        let token = self.table.unmap(pages, report)?;
        self.pass(last);
        Ok(Some(token))
    }

    /// Gives the next run, but at most `most` pages of it, these rights, and moves behind them. `None` at the end.
    ///
    /// # Errors
    /// As [`PageTable::protect`]; the cursor stays.
    pub fn protect(&mut self, most: u64, permissions: Permissions) -> Result<Option<Flush>, TableError> {
        let Some((pages, last)) = self.piece(most) else { return Ok(None) };
        let token = self.table.protect(pages, permissions)?;
        self.pass(last);
        Ok(Some(token))
    }

    fn rest(&self) -> Option<Part> {
        Some(Part { first: self.next?, last: self.part.last })
    }

    /// The next run as pages of the range, at most `most` of them, and their last byte.
    fn piece(&self, most: u64) -> Option<(PageRun, u64)> {
        let rest = self.rest()?;
        let run = self.peek()?;
        let first = run.first().max(rest.first);
        let last = run.last().min(rest.last);
        let count = Part { first, last }.pages::<F>().min(most);
        let page = Page::new(F::delinear(first).value() >> F::PAGE.log2());
        let pages = PageRun::new(page, count)?;
        Some((pages, first + ((count - 1) << F::PAGE.log2()) + F::PAGE.offset_mask()))
    }

    fn pass(&mut self, last: u64) {
        self.next = last.checked_add(1).filter(|next| *next <= self.part.last);
    }
}
