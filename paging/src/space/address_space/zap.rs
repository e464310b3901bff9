//! Taking pages out of the tables: unmap, invalidate, and only then give frames up.
//!
//! ```text
//!   runs of entries ──unmap──► list of at most 64 runs ──flush──► pager told of dirty pages, uses given up
//!        ▲                                                              │
//!        └────────────── on to the next 64 runs ◄───────────────────────┘
//! ```
//! The list is fixed, so the number of runs is known before they are unmapped.
#![forbid(unsafe_code)]

use hectare_core::{Frame, FrameRun, Page, PageRun};

use super::AddressSpace;
use crate::space::memory::Used;
use crate::space::{Area, AreaFlags, Backing, Kernel, Pager, SpaceError, SwapSlot};
use crate::table::{Mapping, TableFormat};

/// Runs that are unmapped between two flushes.
const RUNS: usize = 64;

/// Pages that were unmapped and their frames.
#[derive(Clone, Copy, Debug)]
struct Gone {
    first: Page,
    frames: FrameRun,
    dirty: bool,
}

/// What was unmapped since the last flush.
struct List {
    gone: [Option<Gone>; RUNS],
    used: usize,
}

impl List {
    fn add<F: TableFormat>(&mut self, run: &Mapping<F>) {
        let (first, frames, dirty) = (run.pages().first(), run.frames(), run.touched().dirty);
        let last = self.used.checked_sub(1).and_then(|last| self.gone.get_mut(last)?.as_mut());
        if let Some(last) = last {
            let pages = last.first.checked_add(last.frames.count());
            let joined = FrameRun::new(last.frames.first(), last.frames.count() + frames.count());
            // A run of frames may have been reported in pieces, if the hardware set bits meanwhile. All are called dirty
            // rather than lost.
            if pages == Some(first)
                && last.frames.end() == frames.first()
                && (last.dirty == dirty || self.used == RUNS)
            {
                if let Some(joined) = joined {
                    (last.frames, last.dirty) = (joined, last.dirty | dirty);
                    return;
                }
            }
        }
        if let Some(place) = self.gone.get_mut(self.used) {
            *place = Some(Gone { first, frames, dirty });
            self.used += 1;
        }
    }
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Takes every page of an area, or of a part of one, out of the tables and gives it up. The area stays in the index. How
    /// many frames returned to their source.
    ///
    /// # Errors
    /// A huge page across an end cannot be split. Nothing is changed then.
    pub(super) fn zap(&mut self, area: &Area) -> Result<u64, SpaceError> {
        if !area.flags().contains(AreaFlags::TOUCHED) {
            return Ok(0);
        }
        let Some(pages) = PageRun::new(area.first(), area.count()) else { return Ok(0) };
        self.table.cut_at_ends(pages)?;
        self.drop_slots(area, pages);
        let (mut first, mut freed) = (area.first(), 0);
        while let Some(rest) = PageRun::new(first, area.end().number().saturating_sub(first.number())) {
            first = self.end_of_runs(rest);
            let count = first.number().saturating_sub(rest.first().number());
            let Some(part) = PageRun::new(rest.first(), count) else { return Ok(freed) };
            let mut list = List { gone: [None; RUNS], used: 0 };
            // Cut at the ends, and between runs elsewhere: nothing is left that could be refused.
            let token = self.table.unmap(part, |run| list.add(&run))?;
            let _ = self.table.finish(token, self.kernel.tlb());
            for gone in list.gone.iter().flatten() {
                freed += self.give_up(area, gone);
            }
        }
        Ok(freed)
    }

    /// Where the 64th run of pages ends: all that can be unmapped at once.
    fn end_of_runs(&self, pages: PageRun) -> Page {
        if pages.count() <= RUNS as u64 {
            return pages.end();
        }
        let Ok(mut runs) = self.table.runs(pages) else { return pages.end() };
        match runs.nth(RUNS - 1) {
            Some(last) => last.pages().end().min(pages.end()),
            None => pages.end(),
        }
    }

    /// Gives up frames that no CPU can reach any more.
    fn give_up(&mut self, area: &Area, gone: &Gone) -> u64 {
        self.resident -= gone.frames.count();
        match area.backing() {
            Backing::Device { .. } => return 0,
            Backing::Object { id, .. } if area.is_shared() && gone.dirty => {
                let page = area.offset_of(gone.first.number());
                self.kernel.pager().dirty(id, page, gone.frames.count());
            }
            _ => {}
        }
        self.release(gone.frames)
    }

    /// Gives up one use of each frame. How many returned to their source.
    pub(super) fn release(&mut self, frames: FrameRun) -> u64 {
        let runs = counted(frames, self.settings.zero_frame).into_iter().flatten();
        runs.map(|run| Used::of(run).release(self.table.source_mut(), self.kernel.refs())).sum()
    }

    /// Gives up the slots of pages that are swapped out.
    fn drop_slots(&mut self, area: &Area, pages: PageRun) {
        if !area.flags().contains(AreaFlags::SWAPPED) {
            return;
        }
        for (_, state) in self.table.states(pages) {
            if let Some(slot) = SwapSlot::new(state) {
                self.kernel.pager().release_slot(slot);
            }
        }
    }
}

/// The frames of a run that are counted: all but the frame of zeros, which may be in the midst.
pub(super) fn counted(frames: FrameRun, zero: Option<Frame>) -> [Option<FrameRun>; 2] {
    match zero.and_then(|zero| FrameRun::new(zero, 1)).filter(|zero| frames.contains(*zero)) {
        None => [Some(frames), None],
        Some(zero) => {
            let below = zero.first().number() - frames.first().number();
            let above = frames.end().number() - zero.end().number();
            [FrameRun::new(frames.first(), below), FrameRun::new(zero.end(), above)]
        }
    }
}
