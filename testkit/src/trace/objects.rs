//! KTRC: what a kernel asked of its object caches.

use std::collections::{BTreeMap, BTreeSet};

use super::binary::{self, Format};
use super::cursor::{Input, Output};
use super::error::{Problem, TraceError};
use super::ledger::{Entry, Ledger};

pub use super::binary::Header;

/// A cache of equal objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its number in the file.
    pub id: u64,
    /// The size of its objects in bytes, 1 to 2^63 − 1.
    pub object_size: u64,
    /// Its name.
    pub name: String,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOp {
    /// An object comes to life in `slot`.
    Allocate {
        /// Where the object is kept; not live before.
        slot: u32,
        /// The index of its cache in [`ObjectTrace::caches`].
        cache: u32,
        /// The bytes asked for, at most the cache's object size.
        size: u64,
        /// Whether the bytes are zero.
        zeroed: bool,
    },
    /// The object in `slot` dies.
    Free {
        /// A live one.
        slot: u32,
    },
    /// The operations that follow ran on this CPU. At the start it is CPU 0.
    Cpu {
        /// Below the header's `threads`.
        cpu: u32,
    },
    /// The operations that follow ran in this process. At the start it is task 0.
    Task {
        /// An index, in the order of their first allocations.
        task: u32,
    },
    /// A cache is created: index 0 first, then 1, …
    Cache {
        /// Its index in [`ObjectTrace::caches`].
        cache: u32,
    },
}

/// A trace of kernel objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectTrace {
    /// The figures; `bytes` are bytes of whole objects, `threads` CPUs.
    pub header: Header,
    /// The caches, in the order in which they are created.
    pub caches: Vec<Cache>,
    /// The operations in the order in which they happened.
    pub ops: Vec<ObjectOp>,
}

impl ObjectTrace {
    /// Reads a decoded file. O(bytes); takes memory proportional to `bytes`, whatever the header says.
    ///
    /// # Errors
    /// The first broken rule of the format, with its byte offset.
    pub fn read(bytes: &[u8]) -> Result<Self, TraceError> {
        let mut books = Books::default();
        let (header, ops) = binary::read(&mut books, bytes)?;
        Ok(Self { header, caches: books.caches, ops })
    }

    /// The trace of these operations, with the header that belongs to them.
    ///
    /// # Errors
    /// The first operation that breaks a rule.
    pub fn from_ops(
        name: &str,
        cut: bool,
        caches: Vec<Cache>,
        ops: Vec<ObjectOp>,
    ) -> Result<Self, TraceError> {
        let mut books = Books { caches, ..Books::default() };
        let header = binary::header_of(&mut books, name, cut, &ops)?;
        Ok(Self { header, caches: books.caches, ops })
    }

    /// The file, with the header as it stands.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let books = Books { caches: self.caches.clone(), ..Books::default() };
        binary::write(&books, &self.header, &self.ops)
    }
}

/// Which slots are live, and the caches.
#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    caches: Vec<Cache>,
    /// The caches created so far, and their ids; beyond `created` there is at most the one just decoded.
    created: usize,
    ids: BTreeSet<u64>,
    /// The index of each id, for the reader.
    index: BTreeMap<u64, u32>,
}

impl Books {
    fn cache(&self, index: u32) -> Option<&Cache> {
        self.caches.get(..self.created)?.get(index as usize)
    }
}

impl Format for Books {
    const MAGIC: &'static str = "KTRC";
    type Op = ObjectOp;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<ObjectOp>, TraceError> {
        let at = input.offset();
        let used = self.ledger.used();
        Ok(Some(match input.byte()? {
            0 => return Ok(None),
            1 => {
                let slot = input.slot(used)?;
                let at = input.offset();
                let id = input.varint()?;
                let cache = *self.index.get(&id).ok_or(Problem::Cache { id }.at(at))?;
                let size = input.varint()?;
                let at = input.offset();
                let zeroed = match input.byte()? {
                    0 => false,
                    1 => true,
                    flags => return Err(Problem::Flags { found: u64::from(flags) }.at(at)),
                };
                ObjectOp::Allocate { slot, cache, size, zeroed }
            }
            5 => ObjectOp::Free { slot: input.slot(used)? },
            7 => ObjectOp::Cpu { cpu: input.varint32("CPU")? },
            8 => ObjectOp::Task { task: input.varint32("task")? },
            10 => {
                let (id, object_size, length) = (input.varint()?, input.varint()?, input.varint()?);
                let name = input.text(length)?.to_owned();
                let found = self.caches.len() as u64;
                let cache =
                    u32::try_from(found).map_err(|_| Problem::Range { field: "caches", found }.at(at))?;
                self.caches.push(Cache { id, object_size, name });
                self.index.insert(id, cache);
                ObjectOp::Cache { cache }
            }
            found => return Err(Problem::Opcode { found }.at(at)),
        }))
    }

    fn apply(&mut self, op: ObjectOp) -> Result<(), Problem> {
        match op {
            ObjectOp::Allocate { slot, cache, size, .. } => {
                let units = self.cache(cache).ok_or(Problem::Cache { id: u64::from(cache) })?.object_size;
                if size > units {
                    return Err(Problem::Range { field: "size", found: size });
                }
                self.ledger.occupy(slot, Entry { units, detail: 0 })?;
                self.ledger.complete();
            }
            ObjectOp::Free { slot } => {
                self.ledger.vacate(slot)?;
                self.ledger.complete();
            }
            ObjectOp::Cpu { cpu } => self.ledger.context(cpu, "CPU")?,
            ObjectOp::Task { .. } => {}
            ObjectOp::Cache { cache } => {
                let next = (cache as usize == self.created).then(|| self.caches.get(self.created)).flatten();
                let new = next.ok_or(Problem::Cache { id: u64::from(cache) })?;
                if new.object_size == 0 || new.object_size > i64::MAX as u64 {
                    return Err(Problem::Range { field: "object size", found: new.object_size });
                }
                if !self.ids.insert(new.id) {
                    return Err(Problem::Cache { id: new.id });
                }
                self.created += 1;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Problem> {
        match self.caches.get(self.created) {
            None => Ok(()),
            Some(unused) => Err(Problem::Cache { id: unused.id }),
        }
    }

    fn encode(&self, op: ObjectOp, output: &mut Output) {
        let cache_at = |index: u32| self.caches.get(index as usize);
        match op {
            ObjectOp::Allocate { slot, cache, size, zeroed } => {
                output.byte(1);
                output.slot(slot);
                output.varint(cache_at(cache).map_or(u64::MAX, |cache| cache.id));
                output.varint(size);
                output.byte(u8::from(zeroed));
            }
            ObjectOp::Free { slot } => {
                output.byte(5);
                output.slot(slot);
            }
            ObjectOp::Cpu { cpu } => {
                output.byte(7);
                output.varint(u64::from(cpu));
            }
            ObjectOp::Task { task } => {
                output.byte(8);
                output.varint(u64::from(task));
            }
            ObjectOp::Cache { cache } => {
                let Some(cache) = cache_at(cache) else { return };
                output.byte(10);
                output.varint(cache.id);
                output.varint(cache.object_size);
                output.varint(cache.name.len() as u64);
                output.bytes.extend(cache.name.as_bytes());
            }
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
