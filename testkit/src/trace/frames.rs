//! FTRC: what a kernel asked of its page-frame allocator.

use super::binary::{self, Format};
use super::cursor::{Input, Output};
use super::error::{Problem, TraceError};
use super::ledger::{Entry, Ledger};

pub use super::binary::Header;

/// The highest order there can be.
pub const MAX_ORDER: u8 = 63;

/// Whether what lies in the frames can be moved elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mobility {
    /// It stays: kernel data.
    Unmovable,
    /// It can be moved: a program's pages.
    Movable,
    /// It can be dropped: caches.
    Reclaimable,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOp {
    /// A block of 2^`order` frames comes to life in `slot`.
    Allocate {
        /// Where the block is kept; not live before.
        slot: u32,
        /// At most [`MAX_ORDER`].
        order: u8,
        /// The list that it was taken from.
        mobility: Mobility,
        /// Whether the frames are zero.
        zeroed: bool,
        /// Whether it is a program's movable page (the request's own flag, beside the list).
        movable: bool,
        /// Whether it counts towards a group's limit.
        accounted: bool,
    },
    /// The block in `slot` dies.
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
    /// The block in `slot`, of order n, becomes 2^(n − `order`) blocks of this order. The first keeps the slot; one
    /// [`Piece`](Self::Piece) for each of the others follows at once.
    Split {
        /// A live one.
        slot: u32,
        /// Below the block's order.
        order: u8,
    },
    /// The next piece of the block that was split.
    Piece {
        /// Where it is kept; not live before.
        slot: u32,
    },
}

/// A trace of page frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameTrace {
    /// The figures; `bytes` are frames, `threads` CPUs.
    pub header: Header,
    /// The operations in the order in which they happened.
    pub ops: Vec<FrameOp>,
}

impl FrameTrace {
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
    pub fn from_ops(name: &str, cut: bool, ops: Vec<FrameOp>) -> Result<Self, TraceError> {
        let header = binary::header_of(&mut Books::default(), name, cut, &ops)?;
        Ok(Self { header, ops })
    }

    /// The file, with the header as it stands.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        binary::write(&Books::default(), &self.header, &self.ops)
    }
}

const ZEROED: u8 = 1;
const MOVABLE: u8 = 2;
const ACCOUNTED: u8 = 4;

/// Which slots are live; an entry's detail is its order.
#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    /// How many pieces of a split block are still to come, and their order.
    pieces: u64,
    piece_order: u8,
}

impl Format for Books {
    const MAGIC: &'static str = "FTRC";
    type Op = FrameOp;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<FrameOp>, TraceError> {
        let at = input.offset();
        let used = self.ledger.used();
        if self.pieces != 0 {
            return Ok(Some(FrameOp::Piece { slot: input.slot(used)? }));
        }
        Ok(Some(match input.byte()? {
            0 => return Ok(None),
            1 => {
                let slot = input.slot(used)?;
                let at = input.offset();
                let [order, kind, flags] = input.array()?;
                let mobility = match kind {
                    0 => Mobility::Unmovable,
                    1 => Mobility::Movable,
                    2 => Mobility::Reclaimable,
                    _ => return Err(Problem::Range { field: "mobility", found: u64::from(kind) }.at(at + 1)),
                };
                if flags & !(ZEROED | MOVABLE | ACCOUNTED) != 0 {
                    return Err(Problem::Flags { found: u64::from(flags) }.at(at + 2));
                }
                let (zeroed, movable) = (flags & ZEROED != 0, flags & MOVABLE != 0);
                FrameOp::Allocate {
                    slot,
                    order,
                    mobility,
                    zeroed,
                    movable,
                    accounted: flags & ACCOUNTED != 0,
                }
            }
            5 => FrameOp::Free { slot: input.slot(used)? },
            7 => FrameOp::Cpu { cpu: input.varint32("CPU")? },
            8 => FrameOp::Task { task: input.varint32("task")? },
            9 => FrameOp::Split { slot: input.slot(used)?, order: input.byte()? },
            found => return Err(Problem::Opcode { found }.at(at)),
        }))
    }

    fn apply(&mut self, op: FrameOp) -> Result<(), Problem> {
        if matches!(op, FrameOp::Piece { .. }) != (self.pieces != 0) {
            return Err(Problem::Pieces);
        }
        match op {
            FrameOp::Allocate { slot, order, .. } => {
                if order > MAX_ORDER {
                    return Err(Problem::Range { field: "order", found: u64::from(order) });
                }
                self.ledger.occupy(slot, Entry { units: 1 << order, detail: order })?;
                self.ledger.complete();
            }
            FrameOp::Free { slot } => {
                self.ledger.vacate(slot)?;
                self.ledger.complete();
            }
            FrameOp::Cpu { cpu } => self.ledger.context(cpu, "CPU")?,
            FrameOp::Task { .. } => {}
            FrameOp::Split { slot, order } => {
                let whole = self.ledger.vacate(slot)?;
                if order >= whole.detail {
                    return Err(Problem::Range { field: "order", found: u64::from(order) });
                }
                self.ledger.occupy(slot, Entry { units: 1 << order, detail: order })?;
                self.pieces = (1 << (whole.detail - order)) - 1;
                self.piece_order = order;
            }
            FrameOp::Piece { slot } => {
                let order = self.piece_order;
                self.ledger.occupy(slot, Entry { units: 1 << order, detail: order })?;
                self.pieces -= 1;
                if self.pieces == 0 {
                    self.ledger.complete();
                }
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Problem> {
        if self.pieces == 0 { Ok(()) } else { Err(Problem::Pieces) }
    }

    fn encode(&self, op: FrameOp, output: &mut Output) {
        match op {
            FrameOp::Allocate { slot, order, mobility, zeroed, movable, accounted } => {
                output.byte(1);
                output.slot(slot);
                output.byte(order);
                output.byte(mobility as u8);
                let flag = |set, bit| if set { bit } else { 0 };
                output.byte(flag(zeroed, ZEROED) | flag(movable, MOVABLE) | flag(accounted, ACCOUNTED));
            }
            FrameOp::Free { slot } => {
                output.byte(5);
                output.slot(slot);
            }
            FrameOp::Cpu { cpu } => {
                output.byte(7);
                output.varint(u64::from(cpu));
            }
            FrameOp::Task { task } => {
                output.byte(8);
                output.varint(u64::from(task));
            }
            FrameOp::Split { slot, order } => {
                output.byte(9);
                output.slot(slot);
                output.byte(order);
            }
            FrameOp::Piece { slot } => output.slot(slot),
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
