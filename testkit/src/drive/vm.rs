//! The model of address spaces: what each process may do with each page, and what it must read there.
//!
//! The model has no tables and no frames: each page of each process is its rights and its contents, or the object behind
//! it. A fork copies all of it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{Breach, Counts, Model};
use crate::op::VmOp;
use crate::op::vm::{Advice, What, Where};

/// Words of each page that are looked at.
pub const CELLS: usize = 2;
/// Processes at most.
const PROCESSES: usize = 4;
/// Pages of every object.
pub const OBJECT: u64 = 48;

/// What a word of an object is before anybody writes to it.
#[must_use]
pub const fn original(id: u8, page: u64, cell: usize) -> u64 {
    0x1234_5678_0000 | (id as u64) << 16 | page << 1 | cell as u64 & 1
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No memory: always allowed while the model starves, never otherwise.
    Memory,
    /// A rule: in words.
    Rule(String),
}

/// Why a word was not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It may not be: a segmentation fault.
    Segmentation,
    /// There is nothing behind it: a bus error.
    Bus,
    /// No memory.
    Memory,
    /// Something else went wrong.
    Other(String),
}

/// Consecutive pages of one process with equal rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first page.
    pub first: u64,
    /// The page after the last.
    pub end: u64,
    /// 1 read, 2 write, 4 execute.
    pub rights: u8,
    /// Whether writes are seen by others.
    pub shared: bool,
}

/// Address spaces under test. Pages are counted from 0; the heaps begin at the end of the space that maps may use.
pub trait SpacesUnderTest {
    /// Begins a process.
    ///
    /// # Errors
    /// Why not.
    fn begin(&mut self, process: u8) -> Result<(), Refusal>;
    /// Ends a process that exists.
    fn exit(&mut self, process: u8);
    /// Makes a copy of a process.
    ///
    /// # Errors
    /// Why not.
    fn fork(&mut self, process: u8, child: u8) -> Result<(), Refusal>;
    /// Maps; where.
    ///
    /// # Errors
    /// Why not.
    fn map(
        &mut self,
        process: u8,
        first: u64,
        count: u64,
        rights: u8,
        place: Where,
        what: What,
    ) -> Result<u64, Refusal>;
    /// Unmaps.
    ///
    /// # Errors
    /// Why not.
    fn unmap(&mut self, process: u8, first: u64, count: u64) -> Result<(), Refusal>;
    /// Changes rights.
    ///
    /// # Errors
    /// Why not.
    fn protect(&mut self, process: u8, first: u64, count: u64, rights: u8) -> Result<(), Refusal>;
    /// Resizes or moves; where to.
    ///
    /// # Errors
    /// Why not.
    fn remap(
        &mut self,
        process: u8,
        old: u64,
        old_count: u64,
        new_count: u64,
        to: Option<u64>,
    ) -> Result<u64, Refusal>;
    /// Gives the heap so many pages.
    ///
    /// # Errors
    /// Why not.
    fn brk(&mut self, process: u8, pages: u64) -> Result<(), Refusal>;
    /// Advises.
    ///
    /// # Errors
    /// Why not.
    fn advise(&mut self, process: u8, first: u64, count: u64, advice: Advice) -> Result<(), Refusal>;
    /// Reads a word, as a program does: what faults is handled and tried again.
    ///
    /// # Errors
    /// Why not.
    fn read(&mut self, process: u8, page: u64, cell: usize) -> Result<u64, Stop>;
    /// Writes a word.
    ///
    /// # Errors
    /// Why not.
    fn write(&mut self, process: u8, page: u64, cell: usize, value: u64) -> Result<(), Stop>;
    /// Looks at the marks. Nothing that a program can see changes.
    fn harvest(&mut self, process: u8);
    /// Evicts a page if it may be. Nothing that a program can see changes.
    fn evict(&mut self, process: u8, page: u64);
    /// Grants so many requests for memory from now on; `None`: all.
    fn starve(&mut self, after: Option<u8>);
    /// What is mapped, in order; neighbours with equal rights may be one stretch or several.
    fn stretches(&self, process: u8) -> Vec<Stretch>;
    /// All invariants.
    ///
    /// # Errors
    /// The first that is broken.
    fn check(&self) -> Result<(), String>;
    /// That everything was given back.
    ///
    /// # Errors
    /// What was not.
    fn check_empty(&mut self) -> Result<(), String>;
}

/// One page of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    rights: u8,
    /// The object behind it: which, which page, whether shared.
    object: Option<(u8, u64, bool)>,
    /// What the process has written; zeros or the object's words otherwise.
    own: Option<[u64; CELLS]>,
}

/// One process.
#[derive(Clone, Debug, Default)]
struct Process {
    pages: BTreeMap<u64, Page>,
    heap: u64,
}

impl Process {
    fn free(&self, first: u64, count: u64) -> bool {
        self.pages.range(first..first + count).next().is_none()
    }

    fn stretches(&self) -> Vec<Stretch> {
        let stretch = |(first, page): (&u64, &Page)| Stretch {
            first: *first,
            end: *first + 1,
            rights: page.rights,
            shared: page.object.is_some_and(|(_, _, shared)| shared),
        };
        join(self.pages.iter().map(stretch))
    }
}

/// Joins neighbours with equal rights.
fn join(stretches: impl IntoIterator<Item = Stretch>) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = vec![];
    for stretch in stretches {
        match joined.last_mut() {
            Some(last)
                if last.end == stretch.first
                    && (last.rights, last.shared) == (stretch.rights, stretch.shared) =>
            {
                last.end = stretch.end;
            }
            _ => joined.push(stretch),
        }
    }
    joined
}

/// Address spaces and their shadow.
#[derive(Debug)]
pub struct VmModel<S> {
    spaces: S,
    processes: [Option<Process>; PROCESSES],
    /// Words of objects that were written to.
    objects: BTreeMap<(u8, u64), [u64; CELLS]>,
    /// Pages that maps may use.
    space: u64,
    /// Pages of the heap.
    heap: u64,
    /// Which rights let a program read: hardware cannot forbid it everywhere.
    readable: fn(u8) -> bool,
    starving: bool,
    /// Memory may run out at any time.
    scarce: bool,
    counts: Counts,
}

fn wrong(text: impl Into<String>) -> Breach {
    Breach::Behaviour(text.into())
}

impl<S: SpacesUnderTest> VmModel<S> {
    /// A model of spaces with so many pages for maps, and so many more for the heap.
    #[must_use]
    pub fn new(spaces: S, space: u64, heap: u64) -> Self {
        Self {
            spaces,
            processes: [const { None }; PROCESSES],
            objects: BTreeMap::new(),
            space,
            heap,
            readable: |rights| rights & 1 != 0,
            starving: false,
            scarce: false,
            counts: Counts::default(),
        }
    }

    /// Which rights let a program read, if not only the right to read.
    #[must_use]
    pub fn readable(mut self, readable: fn(u8) -> bool) -> Self {
        self.readable = readable;
        self
    }

    /// There is less memory than the processes may use.
    #[must_use]
    pub fn scarce(mut self) -> Self {
        self.scarce = true;
        self
    }

    /// The spaces.
    pub fn spaces(&self) -> &S {
        &self.spaces
    }

    /// A refusal: for memory only while it is short, by a rule only if `expected`.
    fn refused(&mut self, what: &str, refusal: Refusal, expected: bool) -> Result<(), Breach> {
        self.counts.refused += 1;
        match refusal {
            Refusal::Memory if self.starving || self.scarce => Ok(()),
            Refusal::Rule(_) if expected => Ok(()),
            other => Err(wrong(format!("{what} was refused: {other:?}"))),
        }
    }

    fn contents(&self, page: &Page) -> [u64; CELLS] {
        match (page.own, page.object) {
            (Some(own), _) => own,
            (None, None) => [0; CELLS],
            (None, Some((id, at, _))) => {
                let fresh = core::array::from_fn(|cell| original(id, at, cell));
                self.objects.get(&(id, at)).copied().unwrap_or(fresh)
            }
        }
    }

    /// What an access must come to.
    fn expected(&self, process: u8, page: u64, write: bool) -> Result<Page, Stop> {
        let process = self.processes[usize::from(process)].as_ref();
        let page = process.and_then(|process| process.pages.get(&page)).ok_or(Stop::Segmentation)?;
        let permitted = if write { page.rights & 2 != 0 } else { (self.readable)(page.rights) };
        if !permitted {
            return Err(Stop::Segmentation);
        }
        match page.object {
            Some((_, at, _)) if at >= OBJECT && page.own.is_none() => Err(Stop::Bus),
            _ => Ok(*page),
        }
    }

    fn map(
        &mut self,
        process: u8,
        first: u64,
        count: u64,
        rights: u8,
        place: Where,
        what: What,
    ) -> Result<(), Breach> {
        let inside = first + count <= self.space + self.heap;
        let (space, heap) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let free = model.free(first, count);
        let result = self.spaces.map(process, first, count, rights, place, what);
        let at = match result {
            Ok(at) => at,
            Err(refusal) => {
                let room = has_room(model, space + heap, count);
                let rule = match place {
                    Where::Anywhere | Where::Hint => !room,
                    Where::Fixed => !inside,
                    Where::NoReplace => !inside || !free,
                };
                return self.refused("a mapping", refusal, rule);
            }
        };
        let given = match place {
            Where::Fixed => at == first,
            Where::NoReplace => at == first && free,
            Where::Hint if free && inside => at == first,
            Where::Hint | Where::Anywhere => model.free(at, count) && at + count <= space + heap,
        };
        if !given {
            return Err(wrong(format!("{count} pages were mapped at {at}, {place:?} {first}")));
        }
        let object = |nth| match what {
            What::Anonymous | What::Huge => None,
            What::Object { id, offset, shared } => Some((id, u64::from(offset) + nth, shared)),
        };
        for nth in 0..count {
            model.pages.insert(at + nth, Page { rights, object: object(nth), own: None });
        }
        self.counts.allocated += 1;
        Ok(())
    }

    fn remap(
        &mut self,
        process: u8,
        old: u64,
        old_count: u64,
        count: u64,
        to: Option<u64>,
    ) -> Result<(), Breach> {
        // What a destination holds may be lost by a refused move, so it is made free before.
        let clear =
            |to: &u64| to + count <= self.space + self.heap && (to + count <= old || old + old_count <= *to);
        if let Some(to) = to.filter(clear) {
            self.step(VmOp::Unmap { process, first: small(to), count: small(count) })?;
        }
        let (space, heap) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let pages: Vec<Option<Page>> =
            (old..old + old_count).map(|page| model.pages.get(&page).copied()).collect();
        match self.spaces.remap(process, old, old_count, count, to) {
            Err(refusal) => self.refused("a remap", refusal, true),
            Ok(at) => {
                let Some(pages) = pages.into_iter().collect::<Option<Vec<Page>>>() else {
                    return Err(wrong("a hole was moved"));
                };
                (old..old + old_count).for_each(|page| {
                    model.pages.remove(&page);
                });
                if !model.free(at, count) || at + count > space + heap || to.is_some_and(|to| to != at) {
                    return Err(wrong(format!(
                        "{count} pages were moved to {at}, which is not free or not {to:?}"
                    )));
                }
                let last = pages[pages.len() - 1];
                for nth in 0..count {
                    let page = usize::try_from(nth).ok().and_then(|nth| pages.get(nth)).copied();
                    let more = (nth + 1).saturating_sub(old_count);
                    let new = Page {
                        object: last.object.map(|(id, at, shared)| (id, at + more, shared)),
                        own: None,
                        ..last
                    };
                    model.pages.insert(at + nth, page.unwrap_or(new));
                }
                self.counts.resized += 1;
                Ok(())
            }
        }
    }

    fn brk(&mut self, process: u8, pages: u64) -> Result<(), Breach> {
        let (start, most) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let old = model.heap;
        let free = pages <= old || model.free(start + old, pages - old);
        match self.spaces.brk(process, pages) {
            Err(refusal) => self.refused("a brk", refusal, pages > most || !free),
            Ok(()) if !free || pages > most => {
                Err(wrong("the heap grew over a mapping, or out of the space"))
            }
            Ok(()) => {
                for page in pages.min(old)..pages.max(old) {
                    if pages > old {
                        model.pages.insert(start + page, Page { rights: 3, object: None, own: None });
                    } else {
                        model.pages.remove(&(start + page));
                    }
                }
                model.heap = pages;
                Ok(())
            }
        }
    }

    fn advise(&mut self, process: u8, first: u64, count: u64, advice: Advice) -> Result<(), Breach> {
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let whole = model.pages.range(first..first + count).count() as u64 == count;
        let own = model.pages.range(first..first + count).all(|(_, page)| page.object.is_none());
        match self.spaces.advise(process, first, count, advice) {
            Err(refusal) => self.refused("advice", refusal, !whole || (advice == Advice::Free && !own)),
            Ok(()) if !whole => Err(wrong("advice about a hole was taken")),
            Ok(()) => {
                if matches!(advice, Advice::DontNeed | Advice::Free) {
                    model.pages.range_mut(first..first + count).for_each(|(_, page)| page.own = None);
                }
                Ok(())
            }
        }
    }

    fn access(&mut self, process: u8, at: u64, cell: usize, value: Option<u64>) -> Result<(), Breach> {
        if self.processes[usize::from(process)].is_none() {
            return Ok(());
        }
        let expected = self.expected(process, at, value.is_some());
        let found = match value {
            Some(value) => self.spaces.write(process, at, cell, value).map(|()| value),
            None => self.spaces.read(process, at, cell),
        };
        let what = if value.is_some() { "write" } else { "read" };
        match (expected, found) {
            (_, Err(Stop::Memory)) if self.starving || self.scarce => {
                self.counts.refused += 1;
                Ok(())
            }
            (Err(expected), Err(found)) if expected == found => Ok(()),
            (Ok(page), Ok(found)) => {
                let mut words = self.contents(&page);
                if value.is_none() && found != words[cell] {
                    return Err(wrong(format!(
                        "process {process} read {found:#x} at page {at}, word {cell}, where {:#x} is",
                        words[cell]
                    )));
                }
                let Some(value) = value else { return Ok(()) };
                words[cell] = value;
                if let Some((id, page, true)) = page.object {
                    self.objects.insert((id, page), words);
                } else if let Some(page) = self.processes[usize::from(process)]
                    .as_mut()
                    .and_then(|process| process.pages.get_mut(&at))
                {
                    page.own = Some(words);
                }
                Ok(())
            }
            (expected, found) => Err(wrong(format!(
                "a {what} of process {process} at page {at}: {found:?}, and not {:?}",
                expected.map(|page| self.contents(&page)[cell])
            ))),
        }
    }

    fn end(&mut self, process: u8) {
        if self.processes[usize::from(process)].take().is_some() {
            self.spaces.exit(process);
            self.counts.freed += 1;
        }
    }

    fn begin(&mut self, process: u8) -> Result<(), Breach> {
        if self.processes[usize::from(process)].is_some() {
            return Ok(());
        }
        match self.spaces.begin(process) {
            Ok(()) => {
                self.processes[usize::from(process)] = Some(Process::default());
                Ok(())
            }
            Err(refusal) => self.refused("a process", refusal, false),
        }
    }

    fn fork(&mut self, process: u8, child: u8) -> Result<(), Breach> {
        if process == child || self.processes[usize::from(process)].is_none() {
            return Ok(());
        }
        self.end(child);
        match self.spaces.fork(process, child) {
            Ok(()) => {
                self.processes[usize::from(child)] = self.processes[usize::from(process)].clone();
                Ok(())
            }
            Err(refusal) => self.refused("a fork", refusal, false),
        }
    }

    /// The areas are those of the model.
    fn compare(&self) -> Result<(), Breach> {
        for (process, model) in (0..).zip(&self.processes) {
            let Some(model) = model else { continue };
            let (expected, found) = (model.stretches(), join(self.spaces.stretches(process)));
            if expected != found {
                return Err(wrong(format!("process {process} has {found:?}, and not {expected:?}")));
            }
        }
        Ok(())
    }
}

/// A number of pages, which are few.
fn small(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Whether so many pages are free in one piece.
fn has_room(process: &Process, space: u64, count: u64) -> bool {
    let mut from = 0;
    let ends = process.pages.keys().copied().chain([space]);
    ends.into_iter().any(|page| {
        let room = page.saturating_sub(from) >= count;
        from = page + 1;
        room
    })
}

impl<S: SpacesUnderTest> Model for VmModel<S> {
    type Op = VmOp;

    fn step(&mut self, op: VmOp) -> Result<(), Breach> {
        let some = |count: u16| u64::from(count.max(1));
        match op {
            VmOp::Map { process, first, count, rights, place, what } => {
                self.map(process, first.into(), some(count), rights, place, what)
            }
            VmOp::Unmap { process, first, count } => {
                let (first, count) = (u64::from(first), some(count));
                let inside = first + count <= self.space + self.heap;
                let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
                match self.spaces.unmap(process, first, count) {
                    Ok(()) => {
                        (first..first + count).for_each(|page| {
                            model.pages.remove(&page);
                        });
                        Ok(())
                    }
                    Err(refusal) => self.refused("an unmap", refusal, !inside),
                }
            }
            VmOp::Protect { process, first, count, rights } => {
                let (first, count) = (u64::from(first), some(count));
                let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
                let whole = model.pages.range(first..first + count).count() as u64 == count;
                match self.spaces.protect(process, first, count, rights) {
                    Ok(()) if !whole => Err(wrong("a hole was protected")),
                    Ok(()) => {
                        model
                            .pages
                            .range_mut(first..first + count)
                            .for_each(|(_, page)| page.rights = rights);
                        Ok(())
                    }
                    Err(refusal) => self.refused("a protection", refusal, !whole),
                }
            }
            VmOp::Remap { process, old, old_count, new_count, to } => {
                self.remap(process, old.into(), some(old_count), some(new_count), to.map(u64::from))
            }
            VmOp::Brk { process, pages } => self.brk(process, pages.into()),
            VmOp::Advise { process, first, count, advice } => {
                self.advise(process, first.into(), some(count), advice)
            }
            VmOp::Fork { process, child } => self.fork(process, child),
            VmOp::Exit { process } => {
                self.end(process);
                Ok(())
            }
            VmOp::Begin { process } => self.begin(process),
            VmOp::Read { process, page, cell } => {
                self.access(process, page.into(), usize::from(cell) % CELLS, None)
            }
            VmOp::Write { process, page, cell, value } => {
                self.access(process, page.into(), usize::from(cell) % CELLS, Some(value))
            }
            VmOp::Harvest { process } => {
                if self.processes[usize::from(process)].is_some() {
                    self.spaces.harvest(process);
                }
                Ok(())
            }
            VmOp::Evict { process, page } => {
                if self.processes[usize::from(process)].is_some() {
                    self.spaces.evict(process, page.into());
                }
                Ok(())
            }
            VmOp::Starve { after } => {
                self.starving = after.is_some();
                self.spaces.starve(after);
                Ok(())
            }
        }
    }

    fn check(&mut self) -> Result<(), Breach> {
        self.spaces.check().map_err(wrong)?;
        self.compare()
    }

    fn finish(&mut self) -> Result<(), Breach> {
        self.spaces.starve(None);
        self.starving = false;
        // All that was written is there at the end.
        for process in 0..4 {
            let pages: Vec<u64> =
                self.processes[usize::from(process)].iter().flat_map(|p| p.pages.keys().copied()).collect();
            for page in pages {
                (0..CELLS).try_for_each(|cell| self.access(process, page, cell, None))?;
            }
        }
        self.check()?;
        (0..4).for_each(|process| self.end(process));
        self.spaces.check_empty().map_err(Breach::NotEmpty)
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
