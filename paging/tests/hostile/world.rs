//! One table, the unit that walks it, and the model of what it maps.

use std::collections::BTreeMap;

use hectare_core::{Frame, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::table::TableError;
use hectare_paging::{Attributes, Flush, Fresh, Mapping, MemoryType, TableFormat};

use crate::memory::{Unit, Units};
use crate::mmu::Mmu;
use crate::table::Table;

pub(crate) fn attributes<F: TableFormat>(index: usize) -> Attributes {
    let sets = [
        Permissions::READ | Permissions::WRITE | Permissions::USER,
        Permissions::READ,
        Permissions::READ | Permissions::EXECUTE | Permissions::USER,
        Permissions::READ | Permissions::WRITE,
    ];
    let memory = if index / 4 % 2 == 1 { MemoryType::Device } else { MemoryType::WriteBack };
    F::nearest(Attributes::new(sets[index % 4]).with_memory(memory).with_global(index / 8 % 4 == 1))
}

/// What was said of a frame when it was unmapped, or its bits were cleared.
pub(crate) struct Said {
    pub(crate) page: u64,
    pub(crate) frame: u64,
    pub(crate) dirty: bool,
    /// The page is gone: nothing can be set in its entry any more.
    pub(crate) gone: bool,
}

pub(crate) fn say<F: TableFormat>(said: &mut Vec<Said>, run: &Mapping<F>, gone: bool, dirty: bool) {
    let frames = run.frames().iter().map(Frame::number);
    let pages = run.pages().iter().map(Page::number);
    said.extend(pages.zip(frames).map(|(page, frame)| Said { page, frame, dirty, gone }));
}

pub(crate) struct World<F: TableFormat, T> {
    pub(crate) table: T,
    pub(crate) unit: Unit<F>,
    /// Those that the table's tokens reach.
    pub(crate) units: Units<F>,
    /// Page to frame and attributes.
    pub(crate) model: BTreeMap<u64, (u64, Attributes)>,
    /// What is owed, and what was said meanwhile.
    pub(crate) owed: Option<Flush>,
    pub(crate) said: Vec<Said>,
}

impl<F: TableFormat, T: Table<F>> World<F, T> {
    pub(crate) fn owe(&mut self, token: Flush) {
        match &mut self.owed {
            Some(owed) => self.table.merge(owed, token),
            None => self.owed = Some(token),
        }
        self.unit.borrow_mut().disturb();
    }

    pub(crate) fn settle(&mut self) {
        self.units.each(Mmu::disturb);
        if let Some(token) = self.owed.take() {
            self.table.finish(token, &self.units);
        }
    }

    pub(crate) fn drop_pages(&mut self, pages: PageRun) {
        let gone = pages.first().number()..pages.end().number();
        self.model.retain(|page, _| !gone.contains(page));
    }

    pub(crate) fn shift(&mut self, pages: PageRun, to: u64) {
        let first = pages.first().number();
        let moved: Vec<_> =
            self.model.range(first..pages.end().number()).map(|(page, is)| (*page, *is)).collect();
        self.drop_pages(pages);
        self.model.extend(moved.into_iter().map(|(page, is)| (page - first + to, is)));
    }

    pub(crate) fn change(&mut self, pages: PageRun, change: impl Fn(Attributes) -> Attributes) {
        for (_, is) in self.model.range_mut(pages.first().number()..pages.end().number()) {
            is.1 = change(is.1);
        }
    }
}

/// Copies as a fork does.
pub(crate) fn copy_into<F: TableFormat, T: Table<F>>(
    from: &mut World<F, T>,
    into: &mut World<F, T>,
    pages: PageRun,
    protect: bool,
    report: impl FnMut(Mapping<F>),
) -> Result<(Flush, Fresh<F>), TableError> {
    let (Some(from), Some(into)) = (from.table.own(), into.table.own()) else {
        return Err(TableError::Foreign);
    };
    from.copy_into(pages, into, protect, report)
}

/// A cursor takes, changes rights and skips in turn.
pub(crate) fn walk<F: TableFormat, T: Table<F>>(
    world: &mut World<F, T>,
    pages: PageRun,
    most: u64,
    which: usize,
    mut turn: usize,
) {
    let permissions = attributes::<F>(which).permissions;
    let page_of = |at: Option<VirtAddr>| at.map_or(u64::MAX, |at| at.value() >> F::PAGE.log2());
    let (mut tokens, mut said) = (vec![], vec![]);
    let Some(Ok(mut cursor)) = world.table.own().map(|table| table.cursor(pages)) else { return };
    for _ in 0..24 {
        turn += 1;
        let (before, at) = (cursor.position(), cursor.peek());
        match turn % 3 {
            0 => match cursor.take(most, |run| {
                say(&mut said, &run, true, run.touched().dirty);
                run.pages().iter().for_each(|page| {
                    assert!(world.model.remove(&page.number()).is_some(), "{page:?} was not mapped");
                });
            }) {
                Ok(Some(token)) => tokens.push(token),
                Ok(None) => break,
                Err(_) => {
                    cursor.skip();
                }
            },
            1 => match cursor.protect(most, permissions) {
                Ok(Some(token)) => {
                    tokens.push(token);
                    let first = page_of(before).max(at.expect("it changed a run").pages().first().number());
                    let end = cursor.position().map_or(pages.end().number(), |next| page_of(Some(next)));
                    for (_, is) in world.model.range_mut(first..end) {
                        is.1 = is.1.with_permissions(permissions);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    cursor.skip();
                }
            },
            _ => {
                if !cursor.skip() {
                    break;
                }
            }
        }
    }
    for token in tokens {
        world.owe(token);
    }
    world.said.extend(said);
}
