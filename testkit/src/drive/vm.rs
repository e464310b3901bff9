//! The model of address spaces: what each process may do with each page, and what it must read there.
//!
//! The model has no tables and no frames: each page of each process is its rights and its contents, or the object behind
//! it. A fork copies all of it.
#![forbid(unsafe_code)]

mod areas;
mod life;
mod process;
mod spaces;

use std::collections::BTreeMap;

pub use self::spaces::{Refusal, SpacesUnderTest, Stop, Stretch};

use self::process::Process;
use super::{Breach, Counts, Model};
use crate::op::VmOp;

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
}

/// A number of pages, which are few.
fn small(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
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
            VmOp::Promote { process, page } => {
                if self.processes[usize::from(process)].is_some() {
                    self.spaces.promote(process, page.into());
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
