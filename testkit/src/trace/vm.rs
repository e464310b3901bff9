//! VMTRC: what programs asked of their address spaces. Text, one record a line, addresses and lengths in hex.

use hectare_core::{Access, AccessKind, Permissions, Privilege};

use super::error::{Problem, TraceError};

mod text;

use text::Lines;

/// One mapping of a process, as a line of `/proc/PID/maps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first byte, the first of a page.
    pub start: u64,
    /// The first byte after it, the first of a page and more than `start`.
    pub end: u64,
    /// Read, write, execute, always with `USER`.
    pub permissions: Permissions,
    /// Whether writes are seen by others.
    pub shared: bool,
    /// What is mapped there; `-` for nothing.
    pub name: String,
}

/// One record: something that `process` did, or that was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmOp {
    /// The number of a live process, below [`VmTrace::processes`].
    pub process: u32,
    /// What happened.
    pub action: Action,
}

/// What happened to a process. Starts are page-aligned and lengths whole pages unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `X`: it begins a new program in an empty address space. A new number is always the lowest never used.
    Exec {
        /// The program.
        command: String,
    },
    /// `I`: a mapping that the kernel made for the new program.
    Initial {
        /// The mapping.
        mapping: Mapping,
        /// Whether it grows down on faults just below it: the stack.
        grows_down: bool,
        /// The offset in what is mapped, in bytes.
        offset: u64,
    },
    /// `m`: a mapping was made here, whatever lay here before.
    Map {
        /// The first byte.
        start: u64,
        /// In bytes, at least one page.
        length: u64,
        /// Read, write, execute, always with `USER`.
        permissions: Permissions,
        /// Linux's `MAP_*` bits: 1 shared, 2 private, 0x20 anonymous, …
        flags: u64,
        /// The file, or −1.
        file: i64,
        /// The offset in the file, in bytes.
        offset: u64,
    },
    /// `u`: nothing is mapped here any more.
    Unmap {
        /// The first byte.
        start: u64,
        /// In bytes, at least one page.
        length: u64,
    },
    /// `p`: the mappings here get other permissions. There is no hole among them.
    Protect {
        /// The first byte.
        start: u64,
        /// In bytes, may be 0.
        length: u64,
        /// Read, write, execute, always with `USER`.
        permissions: Permissions,
    },
    /// `b`: the end of the program's data moved. Byte addresses: round both up to a page.
    Break {
        /// From here.
        old: u64,
        /// To here.
        new: u64,
    },
    /// `r`: a mapping was resized or moved.
    Remap {
        /// Where it was.
        old: u64,
        /// How long it was; 0 duplicates a shared mapping.
        old_length: u64,
        /// How long it is, at least one page.
        new_length: u64,
        /// Linux's `MREMAP_*` bits.
        flags: u64,
        /// Where it is.
        new: u64,
    },
    /// `a`: what the program said about its use of these pages.
    Advise {
        /// The first byte.
        start: u64,
        /// In bytes, may be 0.
        length: u64,
        /// Linux's number: 4 `DONTNEED`, 8 `FREE`, 14 `HUGEPAGE`, 15 `NOHUGEPAGE`.
        advice: u64,
    },
    /// `g`: the stack just above now begins here.
    GrowStack {
        /// Its new first byte.
        start: u64,
    },
    /// `f`, `k`: an access faulted; after the fault is handled it must succeed.
    Fault {
        /// The byte that was accessed.
        address: u64,
        /// The access; by the kernel on the program's behalf if the privilege is `Kernel`.
        access: Access,
        /// Whether a page was there, but not to be accessed so: a write to a read-only or copy-on-write page.
        present: bool,
    },
    /// `F`: a child process begins as a copy of this one.
    Fork {
        /// Its number, the lowest never used.
        child: u32,
    },
    /// `Z`: one mapping that there really was just before the process ended.
    Final {
        /// The mapping.
        mapping: Mapping,
    },
    /// `E`: the process ended. Its number is not used again.
    End,
}

/// A trace of address spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTrace {
    /// What was recorded.
    pub name: String,
    /// The page size in bytes, a power of two.
    pub page: u64,
    /// The number of processes. Process 0 exists from the start.
    pub processes: u32,
    /// The records in the order in which they happened.
    pub ops: Vec<VmOp>,
}

impl VmTrace {
    /// Reads a decoded file. O(bytes); takes memory proportional to `bytes`, whatever the header says.
    ///
    /// # Errors
    /// The first broken rule of the format, with its byte offset.
    pub fn read(bytes: &[u8]) -> Result<Self, TraceError> {
        text::read(&mut Lines::new(bytes))
    }

    /// The trace of these operations.
    ///
    /// # Errors
    /// The first operation that breaks a rule.
    pub fn from_ops(name: &str, page: u64, ops: Vec<VmOp>) -> Result<Self, TraceError> {
        let mut rules = Rules::new(page);
        for (index, op) in ops.iter().enumerate() {
            rules.apply(op).map_err(|problem| TraceError::Op { index: index as u64, problem })?;
        }
        Ok(Self { name: name.to_owned(), page, processes: rules.processes(), ops })
    }

    /// The file. Names must be what a line can hold: not empty, no control characters, no spaces at either end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        text::write(self).into_bytes()
    }
}

/// Which processes live, and what every record must keep.
#[derive(Debug)]
struct Rules {
    page: u64,
    /// Whether each process that there ever was still lives.
    live: Vec<bool>,
}

impl Rules {
    fn new(page: u64) -> Self {
        Self { page, live: vec![true] }
    }

    fn processes(&self) -> u32 {
        u32::try_from(self.live.len()).unwrap_or(u32::MAX)
    }

    /// A process with the lowest number never used begins.
    fn begin(&mut self, process: u32) -> Result<(), Problem> {
        if process != self.processes() || process == u32::MAX {
            return Err(Problem::Process { process });
        }
        self.live.push(true);
        Ok(())
    }

    fn aligned(&self, field: &'static str, found: u64) -> Result<(), Problem> {
        if found.is_multiple_of(self.page) { Ok(()) } else { Err(Problem::Range { field, found }) }
    }

    /// Whole pages that do not wrap around the address space.
    fn pages(&self, start: u64, length: u64) -> Result<(), Problem> {
        self.aligned("start", start)?;
        self.aligned("length", length)?;
        match start.checked_add(length) {
            Some(_) => Ok(()),
            None => Err(Problem::Range { field: "length", found: length }),
        }
    }

    fn some_pages(&self, start: u64, length: u64) -> Result<(), Problem> {
        if length == 0 {
            return Err(Problem::Range { field: "length", found: 0 });
        }
        self.pages(start, length)
    }

    fn mapping(&self, mapping: &Mapping) -> Result<(), Problem> {
        let length = mapping.end.checked_sub(mapping.start);
        self.some_pages(mapping.start, length.ok_or(Problem::Range { field: "end", found: mapping.end })?)
    }

    fn apply(&mut self, op: &VmOp) -> Result<(), Problem> {
        let process = op.process;
        let live = self.live.get(process as usize).copied();
        match (&op.action, live) {
            (Action::Exec { .. }, None) => return self.begin(process),
            (_, Some(true)) => {}
            _ => return Err(Problem::Process { process }),
        }
        match &op.action {
            Action::Exec { .. } | Action::Fault { .. } => Ok(()),
            Action::Break { old, new } => {
                // Both are rounded up to a page by whoever replays.
                let highest = u64::MAX - (self.page - 1);
                match [*old, *new].into_iter().find(|address| *address > highest) {
                    None => Ok(()),
                    Some(found) => Err(Problem::Range { field: "break", found }),
                }
            }
            Action::Initial { mapping, .. } | Action::Final { mapping } => self.mapping(mapping),
            Action::Map { start, length, .. } | Action::Unmap { start, length } => {
                self.some_pages(*start, *length)
            }
            Action::Protect { start, length, .. } | Action::Advise { start, length, .. } => {
                self.pages(*start, *length)
            }
            Action::Remap { old, old_length, new_length, new, .. } => {
                self.pages(*old, *old_length)?;
                self.some_pages(*new, *new_length)
            }
            Action::GrowStack { start } => self.aligned("start", *start),
            Action::Fork { child } => self.begin(*child),
            Action::End => {
                self.live[process as usize] = false;
                Ok(())
            }
        }
    }
}
