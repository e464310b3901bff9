//! Up to two tables on one memory, each walked by a hostile unit, beside a model of what they map.
//!
//! ```text
//!   Machine ─── memory, frames handed out
//!      ├── World 0: table, unit 0, model            a fork copies from one to the other;
//!      └── World 1: table, unit 1, model            of a kernel's half unit 1 walks what table 0 changes
//! ```

use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hectare_core::{Frame, FrameRun, Page, PageRun, Permissions};
use hectare_paging::table::{MapOptions, TableError};
use hectare_paging::{Entry, Mapping, TableFormat, Touched};
use hectare_testkit::stand_in::PlainFrames;

use crate::memory::{Source, Units, Used, Window};
use crate::mmu::Mmu;
use crate::sequences::{At, Op, Step};
use crate::table::{Alone, Cpus, Table};
use crate::walkers::{Walked, expect};
use crate::world::{World, attributes, copy_into, say, walk};

/// The first frame.
const FIRST: u64 = 0x100;

pub(crate) struct Machine<F: TableFormat, T = Alone<F>> {
    frames: Rc<RefCell<PlainFrames>>,
    used: Used,
    units: Units<F>,
    count: u64,
    span: Range<u64>,
    /// Pages of the half that table 0 owns and table 1 shares; empty if there is none.
    shared: Range<u64>,
    worlds: Vec<World<F, T>>,
    seed: u64,
    generation: Cell<u64>,
}

impl<F: TableFormat + Walked> Machine<F> {
    pub(crate) fn new(span: Range<u64>, count: u64, seed: u64) -> Self {
        let frames = Rc::new(RefCell::new(PlainFrames::new(FIRST, count)));
        let (used, units, shared) = (Used::default(), Units::none(), span.end..span.end);
        let (worlds, generation) = (vec![], Cell::new(0));
        let mut machine = Self { frames, used, units, count, span, shared, worlds, seed, generation };
        assert!(machine.add_world());
        machine
    }

    /// Two tables, of which the second shares the upper part of the first one, from page `from` on.
    pub(crate) fn with_shared_half(span: Range<u64>, from: u64, count: u64, seed: u64) -> Self {
        let mut machine = Self::new(span.clone(), count, seed);
        assert!(machine.add_world());
        let (kernel, user) = machine.worlds.split_at_mut(1);
        let pages = PageRun::new(Page::new(from), span.end - from).expect("a run");
        let table = kernel[0].table.own().expect("not shared among CPUs");
        table.pin(pages).expect("frames").finish(&kernel[0].units);
        user[0].unit.borrow_mut().unload();
        user[0].table.own().expect("nor this").share(table).expect("an empty half");
        kernel[0].units.0.borrow_mut().push(Rc::clone(&user[0].unit));
        // Its root changed before any CPU used it, so it is loaded now.
        user[0].unit.borrow_mut().load(user[0].table.root());
        machine.shared = from..span.end;
        machine
    }

    /// From now on its tables are such that many CPUs share.
    pub(crate) fn among_cpus(self) -> Machine<F, Cpus<F>> {
        let Self { frames, used, units, count, span, shared, worlds, seed, generation } = self;
        let share = |world: World<F, Alone<F>>| {
            let World { table, unit, units, model, owed, said } = world;
            let table = Cpus::share(table, FIRST..FIRST + count, span.clone());
            World { table, unit, units, model, owed, said }
        };
        let worlds = worlds.into_iter().map(share).collect();
        Machine { frames, used, units, count, span, shared, worlds, seed, generation }
    }
}

impl<F: TableFormat + Walked, T: Table<F>> Machine<F, T> {
    fn add_world(&mut self) -> bool {
        let memory = self.frames.borrow().window();
        let units = Units::none();
        let source = Source {
            frames: Rc::clone(&self.frames),
            used: Rc::clone(&self.used),
            units: self.units.clone(),
        };
        let window = Window(memory.clone(), units.clone());
        let Some(table) = T::new(window, source) else { return false };
        let seed = self.seed.rotate_left(self.worlds.len() as u32 * 29);
        let unit = Rc::new(RefCell::new(Mmu::new(memory, Rc::clone(&self.used), self.span.clone(), seed)));
        unit.borrow_mut().load(table.root());
        units.0.borrow_mut().push(Rc::clone(&unit));
        self.units.0.borrow_mut().push(Rc::clone(&unit));
        let (model, said) = (BTreeMap::new(), vec![]);
        self.worlds.push(World { table, unit, units, model, owed: None, said });
        true
    }

    /// Whether what `who` says of a page must hold for this unit too.
    fn concerns(&self, who: usize, unit: usize, page: u64) -> bool {
        who == unit || who == 0 && self.shared.contains(&page)
    }

    fn was_written(&self, who: usize, page: u64, frame: u64) -> bool {
        let mut worlds = self.worlds.iter().enumerate().filter(|(unit, _)| self.concerns(who, *unit, page));
        worlds.any(|(_, world)| world.unit.borrow().written.contains(&frame))
    }

    /// Pays all that is owed, and looks at everything.
    pub(crate) fn pay(&mut self, who: usize) {
        // What a kernel's half owes, all owe.
        let all = if self.shared.is_empty() { who..who + 1 } else { 0..self.worlds.len() };
        self.worlds[all.clone()].iter_mut().for_each(World::settle);
        all.clone().for_each(|who| self.inspect(who));
        all.for_each(|who| self.forget_written(who));
    }

    fn inspect(&mut self, who: usize) {
        for said in core::mem::take(&mut self.worlds[who].said) {
            // Whoever was told looks at the page after the invalidation: writes until then are seen.
            let lost = said.gone && !said.dirty && self.was_written(who, said.page, said.frame);
            assert!(!lost, "a write to frame {:#x} was lost", said.frame);
            if said.dirty {
                for unit in (0..self.worlds.len()).filter(|unit| self.concerns(who, *unit, said.page)) {
                    self.worlds[unit].unit.borrow_mut().written.remove(&said.frame);
                }
            }
        }
        let world = &self.worlds[who];
        world.unit.borrow_mut().audit();
        for (page, (frame, _)) in &world.model {
            let lost = self.was_written(who, *page, *frame) && !world.unit.borrow().is_dirty(*page);
            assert!(!lost, "a write to page {page:#x}, frame {frame:#x} was lost");
        }
        let count = self.span.end - self.span.start;
        let nth = |nth| if count <= 16 { nth % count } else { world.unit.borrow_mut().random(count) };
        let probes: Vec<_> = (0..16).map(|probe| self.span.start + nth(probe)).collect();
        probes.into_iter().for_each(|page| self.compare(who, page));
    }

    fn forget_written(&mut self, who: usize) {
        let kernel = self.worlds[0].model.iter().filter(|(page, _)| self.shared.contains(page));
        let frames: BTreeSet<u64> = self.worlds[who]
            .model
            .values()
            .chain(kernel.map(|(_, is)| is))
            .map(|(frame, _)| *frame)
            .collect();
        self.worlds[who].unit.borrow_mut().written.retain(|frame| frames.contains(frame));
    }

    /// The walker from the manual, the table and the model agree on a page.
    fn compare(&self, who: usize, page: u64) {
        let address = Page::new(page).start(F::PAGE).expect("an address");
        let (world, owner) =
            (&self.worlds[who], &self.worlds[if self.shared.contains(&page) { 0 } else { who }]);
        let unit = world.unit.borrow();
        let read = |place, bytes| {
            assert_eq!(bytes as usize, F::Entry::BYTES);
            unit.word(place)
        };
        let hit = F::walk(&read, world.table.root().value(), address.value());
        let found = world.table.find(address);
        let Some((frame, attributes)) = owner.model.get(&page) else {
            assert!(hit.is_none() && found.is_none(), "page {page:#x} is not mapped, but {hit:?}");
            return;
        };
        let hit = hit.unwrap_or_else(|| panic!("the walker finds no page {page:#x}"));
        let touched = Touched { accessed: hit.accessed, dirty: hit.dirty };
        expect::<F>(hit, frame << F::PAGE.log2(), hit.bits, *attributes, touched);
        let found = found.map(|found| (found.address.value(), found.attributes()));
        assert_eq!(found, Some((hit.physical, *attributes)), "page {page:#x}");
    }

    fn place(&self, at: At) -> PageRun {
        let length = self.span.end - self.span.start;
        let first = self.span.start + at.first % length;
        let count = (at.more % length + 1).min(self.span.end - first);
        PageRun::new(Page::new(first), count).expect("a run")
    }

    /// Frames that nothing maps, aligned as the page is.
    fn frames_for(&self, pages: PageRun) -> FrameRun {
        self.generation.set(self.generation.get() + 1);
        let first = (self.generation.get() << 12) + (pages.first().number() - self.span.start);
        FrameRun::new(Frame::new(first), pages.count()).expect("a run")
    }

    pub(crate) fn run(&mut self, step: &Step) {
        if let Op::Copy { at, protect } = step.op {
            if self.shared.is_empty() && (self.worlds.len() == 2 || self.add_world()) {
                self.copy(step.who, at, protect);
            }
        } else {
            let who = step.who % self.worlds.len();
            self.change(who, &step.op);
        }
        if !step.later {
            (0..self.worlds.len()).for_each(|who| self.pay(who));
        }
    }

    fn copy(&mut self, who: usize, at: At, protect: bool) {
        let pages = self.place(at);
        // A page is mapped anew there.
        self.pay(1 - who);
        let (zero, one) = self.worlds.split_at_mut(1);
        let (from, into) = if who == 0 { (&mut zero[0], &mut one[0]) } else { (&mut one[0], &mut zero[0]) };
        // Writes are known by frame: one that was moved there must not be there twice.
        let there: BTreeMap<u64, u64> = into.model.iter().map(|(page, (frame, _))| (*frame, *page)).collect();
        let range = pages.first().number()..pages.end().number();
        if from.model.range(range).any(|(page, (frame, _))| there.get(frame).is_some_and(|at| at != page)) {
            return;
        }
        let mut copied = vec![];
        let report = |run: Mapping<F>| {
            let frames = run.frames().iter().map(Frame::number);
            copied.extend(
                run.pages().iter().map(Page::number).zip(frames.map(|frame| (frame, run.attributes()))),
            );
        };
        let Ok((token, fresh)) = copy_into(from, into, pages, protect, report) else {
            return;
        };
        from.owe(token);
        fresh.finish(&into.units);
        if protect {
            from.change(pages, |is| is.with_permissions(is.permissions - Permissions::WRITE));
        }
        let range = pages.first().number()..pages.end().number();
        let there: Vec<_> = from.model.range(range).map(|(page, is)| (*page, *is)).collect();
        assert_eq!(copied, there, "what a copy reports");
        into.model.extend(there);
    }

    fn change(&mut self, who: usize, op: &Op) {
        if let Op::Map { .. } | Op::Remap { .. } = op {
            // What earlier changes owe must be paid before a page is mapped anew.
            self.pay(who);
        }
        let mut pages = match *op {
            Op::Map { at, .. }
            | Op::Unmap { at }
            | Op::Forget { at }
            | Op::Protect { at, .. }
            | Op::Update { at, .. }
            | Op::Harvest { at, .. }
            | Op::Touch { at, .. }
            | Op::Coalesce { at }
            | Op::Copy { at, .. }
            | Op::Remap { at, .. }
            | Op::Walk { at, .. } => self.place(at),
            Op::Replace { page, .. } | Op::Keep { page, .. } => self.place(At { first: page, more: 0 }),
            Op::Pay => return (0..self.worlds.len()).for_each(|who| self.pay(who)),
        };
        if who == 1 && pages.first().number() < self.shared.start && pages.end().number() > self.shared.start
        {
            // Its own part, or all would be refused.
            pages = PageRun::new(pages.first(), self.shared.start - pages.first().number()).expect("a run");
        }
        let (fresh, span) = (self.frames_for(pages), self.span.clone());
        let (world, mut said) = (&mut self.worlds[who], vec![]);
        let table = &mut world.table;
        match *op {
            Op::Map { attributes: which, largest, touched, contiguous, .. } => {
                let mut options = MapOptions { contiguous, ..MapOptions::DEFAULT };
                options.touched = if touched { Touched::DIRTY } else { Touched::NO };
                if !largest {
                    options.largest = Some(F::PAGE);
                }
                let attributes = attributes::<F>(which);
                if table.map(pages.first(), fresh, attributes, options, &world.units).is_ok() {
                    let there = fresh.iter().map(|frame| (frame.number(), attributes));
                    world.model.extend(pages.iter().map(Page::number).zip(there));
                }
            }
            Op::Unmap { .. } => {
                let token = table.unmap(pages, |run| say(&mut said, &run, true, run.touched().dirty));
                if let Ok(token) = token {
                    world.said.extend(said);
                    world.owe(token);
                    world.drop_pages(pages);
                }
            }
            Op::Forget { .. } => {
                if let Ok(token) = table.forget(pages) {
                    world.owe(token);
                    world.drop_pages(pages);
                }
            }
            Op::Protect { attributes: which, .. } => {
                let permissions = attributes::<F>(which).permissions;
                if let Ok(token) = table.protect(pages, permissions) {
                    world.owe(token);
                    world.change(pages, |is| is.with_permissions(permissions));
                }
            }
            Op::Update { attributes: which, .. } => {
                if let Ok(token) = table.update(pages, attributes::<F>(which)) {
                    world.owe(token);
                    world.change(pages, |_| attributes::<F>(which));
                }
            }
            Op::Harvest { accessed, dirty, .. } => {
                let token = table.harvest(pages, Touched { accessed, dirty }, |run| {
                    say(&mut said, &run, false, dirty && run.touched().dirty);
                });
                if let Ok(token) = token {
                    world.said.extend(said);
                    world.owe(token);
                }
            }
            Op::Touch { dirty, .. } => {
                let touched = if dirty { Touched::DIRTY } else { Touched::ACCESSED };
                if let Ok(token) = table.touch(pages, touched) {
                    world.owe(token);
                }
            }
            Op::Coalesce { .. } => {
                if let Ok(token) = table.coalesce(pages) {
                    world.owe(token);
                }
            }
            Op::Walk { most, attributes, turn, .. } => walk(world, pages, most, attributes, turn),
            Op::Remap { to, aligned, .. } => {
                let (first, mut to) = (pages.first().number(), span.start + to % (span.end - span.start));
                let mask = (1 << (F::SHIFTS[1] - F::PAGE.log2())) - 1;
                let like = to & !mask | first & mask;
                if aligned && span.contains(&like) {
                    to = like;
                }
                let count = pages.count().min(span.end - first.max(to));
                let pages = PageRun::new(pages.first(), count).expect("a run");
                if let Ok(token) = table.remap(pages, Page::new(to)) {
                    world.owe(token);
                    world.shift(pages, to);
                }
            }
            Op::Replace { attributes: which, touched, .. } => {
                let (frame, attributes) = (fresh.first(), attributes::<F>(which));
                let touched = if touched { Touched::DIRTY } else { Touched::NO };
                match table.replace(pages.first(), frame, attributes, touched) {
                    Ok(token) => {
                        world.owe(token);
                        world.model.insert(pages.first().number(), (frame.number(), attributes));
                    }
                    Err(TableError::Absent { .. }) => {
                        assert!(!world.model.contains_key(&pages.first().number()), "it is mapped");
                    }
                    Err(_) => {}
                }
            }
            Op::Keep { state, .. } => {
                if let Ok(token) = table.set_state(pages.first(), state) {
                    world.owe(token);
                    world.drop_pages(pages);
                }
            }
            Op::Copy { .. } | Op::Pay => {}
        }
    }

    /// Moves pages, forgets them at their new place, and pays for that first.
    pub(crate) fn forget_what_moved(&mut self, from: u64, to: u64, count: u64) {
        let world = &mut self.worlds[0];
        let pages = |first| PageRun::new(Page::new(first), count).expect("a run");
        let moved = world.table.remap(pages(from), Page::new(to)).expect("room");
        world.unit.borrow_mut().disturb();
        let gone = world.table.forget(pages(to)).expect("no table is needed");
        world.table.finish(gone, &world.units);
        world.table.finish(moved, &world.units);
        world.drop_pages(pages(from));
        self.pay(0);
    }

    /// All goes back.
    pub(crate) fn end(mut self) {
        (0..self.worlds.len()).for_each(|who| self.pay(who));
        self.units.each(Mmu::unload);
        for world in self.worlds {
            world.table.destroy(&self.units);
        }
        let pinned = if self.shared.is_empty() { 0 } else { self.used.borrow().len() as u64 };
        assert_eq!(self.frames.borrow().free() + pinned, self.count, "all frames came back");
    }
}
