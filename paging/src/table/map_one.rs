//! Mapping one base page: the path of every page fault, so it goes down once and decides little.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameRun, FrameSource, Page, PageRun};

use super::fill::{LAST, taken};
use super::flush::Fresh;
use super::memory::{self, Slot, Spare, Walk};
use super::range::Part;
use super::{Half, MapOptions, PageTable, TableError, TableFormat, TableWindow};
use crate::format::MAX_LEVELS;
use crate::{AtomicEntry, Attributes, Entry};

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// As `map`, for one page whose tables are there, and which nothing stands in the way of. `None` if that is not so:
    /// then nothing was done. A few instructions a level; constant attributes are encoded by the compiler.
    #[inline]
    pub(super) fn map_at_once(
        &mut self,
        page: Page,
        frame: FrameRun,
        attributes: Attributes,
        options: MapOptions,
    ) -> Option<Fresh<F>> {
        let (address, memory) = (page.start(F::PAGE)?, frame.first().start(F::PAGE)?);
        if !F::accepts(address) {
            return None;
        }
        let leaf = F::leaf(memory, attributes, options.touched, 0).ok()?;
        let walk = Walk::new(&self.window);
        let node = self.base_table(walk, address)?;
        let index = F::index(address, 0);
        let cell = node.cells.get(index)?;
        if cell.load(Relaxed) != F::Entry::ZERO {
            return None;
        }
        walk.window.step(node.at(index));
        cell.store(leaf, Relaxed);
        Some(Fresh::new(PageRun::new(page, 1)?, self.asid))
    }

    /// As `map`, for one page: whatever there is to refuse or to make.
    #[inline(never)]
    pub(super) fn map_one(
        &mut self,
        page: Page,
        frame: FrameRun,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<Fresh<F>, TableError> {
        let pages = PageRun::new(page, 1).unwrap_or(LAST);
        let (Some(address), Some(memory)) = (page.start(F::PAGE), frame.first().start(F::PAGE)) else {
            return Err(TableError::Range { pages });
        };
        if !F::accepts(address) {
            return Err(TableError::Range { pages });
        }
        let leaf = F::leaf(memory, attributes, options.touched, 0)?;
        let walk = Walk::new(&self.window);
        let Some(mut node) = self.root_node(walk) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        if self.foreign != Half::NONE {
            self.part(pages)?;
        }
        for level in (1..F::LEVELS).rev() {
            node.level = level;
            match walk.slot(node, F::index(address, level)) {
                Slot::Table(child) => node = child,
                Slot::Absent(entry) if entry == F::Entry::ZERO => return self.map_deep(pages, level, leaf),
                _ => return Err(taken(node, Part::of::<F>(pages)?, F::index(address, level))),
            }
        }
        node.level = 0;
        let index = F::index(address, 0);
        match node.cells.get(index) {
            Some(cell) if cell.load(Relaxed) == F::Entry::ZERO => {
                walk.window.step(node.at(index));
                cell.store(leaf, Relaxed);
                Ok(Fresh::new(pages, self.asid))
            }
            _ => Err(taken(node, Part::of::<F>(pages)?, index)),
        }
    }

    /// Maps a page below an empty place of level `top`: a chain of new tables, the lowest one first.
    #[inline(never)]
    fn map_deep(&mut self, pages: PageRun, top: usize, leaf: F::Entry) -> Result<Fresh<F>, TableError> {
        let part = Part::of::<F>(pages)?;
        let index = |level| F::index(part.first.into(), level);
        let window = &self.window;
        let mut chain: [Option<Spare<'_, F>>; MAX_LEVELS] = [const { None }; MAX_LEVELS];
        for level in 0..top {
            match memory::take_spare(level, window, &mut self.source) {
                Ok(spare) => chain[level] = Some(spare),
                Err(error) => {
                    for spare in chain.into_iter().flatten() {
                        memory::give_spare(spare, &mut self.source);
                    }
                    return Err(error);
                }
            }
        }
        let mut entry = leaf;
        for (level, spare) in chain.iter_mut().enumerate() {
            let Some(spare) = spare else { break };
            let count = spare.entries.len();
            spare.zero(0..count);
            if let Some(word) = spare.entries.get_mut(index(level)) {
                word.write(entry);
            }
            entry = F::table(spare.address, level + 1).unwrap_or(F::Entry::ZERO);
        }
        let walk = Walk::new(window);
        let Some(mut node) = self.root_node(walk) else { return Ok(Fresh::new(pages, self.asid)) };
        while node.level > top {
            match walk.child(node, index(node.level)) {
                Some(child) => node = child,
                None => break,
            }
        }
        if let Some(highest) = chain.get_mut(top - 1).and_then(Option::take) {
            walk.link(node, index(top), highest);
        }
        Ok(Fresh::new(pages, self.asid))
    }
}
