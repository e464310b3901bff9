//! A sequence of requests for page frames, decoded beforehand into what the timed loop reads: 8 bytes an operation.
#![forbid(unsafe_code)]

use hectare_testkit::trace::frames::{FrameOp, FrameTrace};

/// The highest order that is replayed: 4 GiB in frames of 4 KiB.
pub(super) const MAX_ORDER: u8 = 20;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The block, below [`Program::slots`].
    pub slot: u32,
    /// The block's order, at most 20.
    pub order: u8,
    /// Whether it is given back rather than taken.
    pub free: bool,
    /// The CPU, below [`Program::cpus`].
    pub cpu: u8,
}

/// A valid sequence of operations: only live blocks are given back, only dead ones taken.
///
/// # Invariants
/// * every slot is below `slots`, every CPU below `cpus`
/// * `survivors` frees what is live at the end, in the order of slots
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    ops: Vec<Op>,
    survivors: Vec<Op>,
    slots: usize,
    cpus: usize,
    peak: u64,
    memory: usize,
}

/// Why a trace is not replayed: at which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// It splits a block, which hardly any peer can.
    Split(usize),
    /// An order above 20 or a CPU above 255.
    TooLarge(usize),
}

impl Program {
    /// A recorded trace, in a memory of twice its peak and 16 MiB.
    ///
    /// # Errors
    /// The first operation that cannot be replayed.
    pub fn recorded(trace: &FrameTrace) -> Result<Self, Invalid> {
        let mut ops = Vec::with_capacity(trace.ops.len());
        let mut orders = vec![0; trace.header.slots as usize];
        let mut cpu = 0;
        for (index, op) in trace.ops.iter().enumerate() {
            match *op {
                FrameOp::Allocate { slot, order, .. } if order <= MAX_ORDER => {
                    orders[slot as usize] = order;
                    ops.push(Op { slot, order, free: false, cpu });
                }
                FrameOp::Free { slot } => {
                    ops.push(Op { slot, order: orders[slot as usize], free: true, cpu });
                }
                FrameOp::Cpu { cpu: number } => {
                    cpu = u8::try_from(number).map_err(|_| Invalid::TooLarge(index))?;
                }
                FrameOp::Task { .. } => {}
                FrameOp::Allocate { .. } => return Err(Invalid::TooLarge(index)),
                FrameOp::Split { .. } | FrameOp::Piece { .. } => return Err(Invalid::Split(index)),
            }
        }
        let peak = usize::try_from(trace.header.peak_bytes).unwrap_or(usize::MAX / 4);
        Ok(Self::new(&trace.header.name, ops, (2 * peak + 4096).next_multiple_of(512)))
    }

    /// A program of these operations in a memory of so many frames.
    ///
    /// # Panics
    /// If a dead block is given back or a live one taken: the callers make or check their operations.
    #[must_use]
    pub fn new(name: &str, ops: Vec<Op>, memory: usize) -> Self {
        let mut live: Vec<Option<Op>> = Vec::new();
        let (mut now, mut peak, mut cpus) = (0_u64, 0, 1);
        for op in &ops {
            let slot = op.slot as usize;
            if slot >= live.len() {
                live.resize(slot + 1, None);
            }
            assert_eq!(op.free, live[slot].is_some(), "slot {slot} is in the wrong state");
            cpus = cpus.max(usize::from(op.cpu) + 1);
            live[slot] = (!op.free).then_some(*op);
            now = if op.free { now - (1 << op.order) } else { now + (1 << op.order) };
            peak = peak.max(now);
        }
        let survivors = live.iter().flatten().map(|op| Op { free: true, ..*op }).collect();
        Self { name: name.to_owned(), ops, survivors, slots: live.len(), cpus, peak, memory }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operations, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// What frees the blocks that are live at the end.
    #[must_use]
    pub fn survivors(&self) -> &[Op] {
        &self.survivors
    }

    /// The number of block slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of CPUs, at least 1.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// The most frames that are live at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// How many frames the allocators are given.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }
}
