//! HTRC: what a program asked of its heap.

use super::binary::{self, Format};
use super::cursor::{Input, Output};
use super::error::{Problem, TraceError};
use super::ledger::{Entry, Ledger};

pub use super::binary::Header;

/// The logarithm of the alignment that every `malloc` gives on the recorded machines, 16 bytes.
pub const MALLOC_ALIGN_LOG2: u8 = 4;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapOp {
    /// A block of `size` bytes (0 is possible) at a multiple of 2^`align_log2` comes to life in `slot`.
    Allocate {
        /// Where the block is kept; not live before.
        slot: u32,
        /// In bytes. `Layout::from_size_align(size, 1 << align_log2)` is valid on a 64-bit host.
        size: u64,
        /// The logarithm of the alignment, at most 62.
        align_log2: u8,
        /// Whether the bytes are zero.
        zeroed: bool,
    },
    /// The block in `slot` dies.
    Free {
        /// A live one.
        slot: u32,
    },
    /// The block in `slot` gets another size, and maybe another place, with the alignment that it has.
    Reallocate {
        /// A live one; it stays so.
        slot: u32,
        /// In bytes, at least 1; valid as in `Allocate`.
        size: u64,
    },
    /// The operations that follow were made by this thread. At the start it is thread 0.
    Thread {
        /// Below the header's `threads`.
        thread: u32,
    },
}

/// A heap trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapTrace {
    /// The figures; `bytes` are bytes asked for.
    pub header: Header,
    /// The operations in the order in which they happened; to replay them in this order in one thread is always valid.
    pub ops: Vec<HeapOp>,
}

impl HeapTrace {
    /// Reads a decoded file. O(bytes); takes memory proportional to `bytes`, whatever the header says.
    ///
    /// # Errors
    /// The first broken rule of the format, with its byte offset.
    pub fn read(bytes: &[u8]) -> Result<Self, TraceError> {
        let (header, ops) = binary::read(&mut Books::default(), bytes)?;
        Ok(Self { header, ops })
    }

    /// The trace of these operations, with the header that belongs to them.
    ///
    /// # Errors
    /// The first operation that breaks a rule.
    pub fn from_ops(name: &str, cut: bool, ops: Vec<HeapOp>) -> Result<Self, TraceError> {
        let header = binary::header_of(&mut Books::default(), name, cut, &ops)?;
        Ok(Self { header, ops })
    }

    /// The file, with the header as it stands.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        binary::write(&Books::default(), &self.header, &self.ops)
    }
}

/// Which slots are live; an entry's detail is the logarithm of its alignment.
#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
}

/// Whether a block can have this size and alignment: the size, rounded up to the alignment, is at most 2^63 − 1.
fn check_layout(size: u64, align_log2: u8) -> Result<(), Problem> {
    if align_log2 > 62 {
        return Err(Problem::Range { field: "alignment", found: u64::from(align_log2) });
    }
    if size > (1 << 63) - (1 << align_log2) {
        return Err(Problem::Range { field: "size", found: size });
    }
    Ok(())
}

impl Format for Books {
    const MAGIC: &'static str = "HTRC";
    type Op = HeapOp;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<HeapOp>, TraceError> {
        let at = input.offset();
        let used = self.ledger.used();
        Ok(Some(match input.byte()? {
            0 => return Ok(None),
            code @ 1..=4 => {
                let (slot, size) = (input.slot(used)?, input.varint()?);
                let align_log2 = if code > 2 { input.byte()? } else { MALLOC_ALIGN_LOG2 };
                HeapOp::Allocate { slot, size, align_log2, zeroed: code % 2 == 0 }
            }
            5 => HeapOp::Free { slot: input.slot(used)? },
            6 => HeapOp::Reallocate { slot: input.slot(used)?, size: input.varint()? },
            7 => HeapOp::Thread { thread: input.varint32("thread")? },
            found => return Err(Problem::Opcode { found }.at(at)),
        }))
    }

    fn apply(&mut self, op: HeapOp) -> Result<(), Problem> {
        match op {
            HeapOp::Allocate { slot, size, align_log2, .. } => {
                check_layout(size, align_log2)?;
                self.ledger.occupy(slot, Entry { units: size, detail: align_log2 })?;
            }
            HeapOp::Free { slot } => {
                self.ledger.vacate(slot)?;
            }
            HeapOp::Reallocate { slot, size } => {
                let Entry { detail, .. } = self.ledger.vacate(slot)?;
                if size == 0 {
                    return Err(Problem::Range { field: "new size", found: 0 });
                }
                check_layout(size, detail)?;
                self.ledger.occupy(slot, Entry { units: size, detail })?;
            }
            HeapOp::Thread { thread } => return self.ledger.context(thread, "thread"),
        }
        self.ledger.complete();
        Ok(())
    }

    fn encode(&self, op: HeapOp, output: &mut Output) {
        match op {
            HeapOp::Allocate { slot, size, align_log2, zeroed } => {
                let aligned = align_log2 != MALLOC_ALIGN_LOG2;
                output.byte(1 + u8::from(zeroed) + 2 * u8::from(aligned));
                output.slot(slot);
                output.varint(size);
                if aligned {
                    output.byte(align_log2);
                }
            }
            HeapOp::Free { slot } => {
                output.byte(5);
                output.slot(slot);
            }
            HeapOp::Reallocate { slot, size } => {
                output.byte(6);
                output.slot(slot);
                output.varint(size);
            }
            HeapOp::Thread { thread } => {
                output.byte(7);
                output.varint(u64::from(thread));
            }
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
