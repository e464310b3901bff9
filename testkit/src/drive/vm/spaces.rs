//! What the model wants of address spaces.
#![forbid(unsafe_code)]

use crate::op::vm::{Advice, What, Where};

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
    /// Makes the small pages around a page a huge one, if it may be. Nothing that a program can see changes.
    fn promote(&mut self, process: u8, page: u64);
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
