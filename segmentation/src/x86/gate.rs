//! Gates: entries that name code instead of memory, of 8 bytes and, in 64-bit mode, of 16 (SDM 3A, 5.8.3, 6.11, 6.14).
//!
//! ```text
//!  63             48 47 46 45 44 43  40 39  37 36     32 31             16 15             0
//! ┌─────────────────┬──┬─────┬──┬──────┬──────┬─────────┬─────────────────┬────────────────┐
//! │  offset 31:16   │P │ DPL │0 │ type │ res. │ count   │    selector     │  offset 15:0   │
//! └─────────────────┴──┴─────┴──┴──────┴──────┴─────────┴─────────────────┴────────────────┘
//!  64-bit: bits 32 to 34 are the stack's number (IST), and a second number above holds offset 63:32.
//! ```
#![forbid(unsafe_code)]

use super::{Ring, Selector};

/// What a gate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GateKind {
    /// A far call to more privileged 16-bit code.
    Call16 = 4,
    /// A task switch.
    Task = 5,
    /// An interrupt handler of 16-bit code, entered with interrupts off.
    Interrupt16 = 6,
    /// An interrupt handler of 16-bit code, entered with interrupts as they were.
    Trap16 = 7,
    /// A far call to more privileged code.
    Call = 12,
    /// An interrupt handler, entered with interrupts off.
    Interrupt = 14,
    /// An interrupt handler, entered with interrupts as they were.
    Trap = 15,
}

impl GateKind {
    const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            4 => Self::Call16,
            5 => Self::Task,
            6 => Self::Interrupt16,
            7 => Self::Trap16,
            12 => Self::Call,
            14 => Self::Interrupt,
            15 => Self::Trap,
            _ => return None,
        })
    }
}

/// A gate of eight bytes. Reserved bits are kept, so that nothing is lost by decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// Where it leads: an offset in the selected code segment.
    pub offset: u32,
    /// The code segment, or the task.
    pub selector: Selector,
    /// What it is for.
    pub kind: GateKind,
    /// The weakest privilege that may go through it.
    pub ring: Ring,
    /// P.
    pub present: bool,
    /// Bits 32 to 39. A call gate copies as many stack words as the lowest five say; the rest means nothing.
    pub count: u8,
}

impl Gate {
    /// The eight bytes as a number.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let offset = self.offset as u64;
        offset & 0xFFFF
            | (self.selector.bits() as u64) << 16
            | (self.count as u64) << 32
            | (self.kind as u64) << 40
            | (self.ring.bits() as u64) << 45
            | (self.present as u64) << 47
            | (offset >> 16) << 48
    }

    pub(super) const fn from_raw(raw: u64) -> Option<Self> {
        match GateKind::from_bits(raw >> 40 & 0x1F) {
            Some(kind) => Some(Self {
                offset: (raw & 0xFFFF) as u32 | (raw >> 32 & 0xFFFF_0000) as u32,
                selector: Selector::from_bits((raw >> 16 & 0xFFFF) as u16),
                kind,
                ring: Ring::from_bits((raw >> 45 & 3) as u8),
                present: raw >> 47 & 1 != 0,
                count: (raw >> 32 & 0xFF) as u8,
            }),
            None => None,
        }
    }
}

/// A gate of 64-bit mode: an entry of the interrupt table, or a call gate over two entries of the global table.
///
/// Its kind is [`GateKind::Call`], [`GateKind::Interrupt`] or [`GateKind::Trap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LongGate {
    /// Where it leads.
    pub offset: u64,
    /// The 64-bit code segment.
    pub selector: Selector,
    /// What it is for.
    pub kind: GateKind,
    /// The weakest privilege that may go through it by an instruction.
    pub ring: Ring,
    /// P.
    pub present: bool,
    /// Which stack of the task state the handler runs on, 1 to 7; 0 for the usual one.
    pub stack: u8,
}

impl LongGate {
    /// The two numbers, the lower one first; `None` if the kind does not exist in 64-bit mode or the stack exceeds 7.
    #[must_use]
    pub const fn encode(self) -> Option<[u64; 2]> {
        if self.stack > 7 || !matches!(self.kind, GateKind::Call | GateKind::Interrupt | GateKind::Trap) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the upper half goes to the second number")]
        let low = Gate {
            offset: self.offset as u32,
            selector: self.selector,
            kind: self.kind,
            ring: self.ring,
            present: self.present,
            count: self.stack,
        };
        Some([low.encode(), self.offset >> 32])
    }

    /// What the two numbers mean; `None` iff the kind does not exist in 64-bit mode, or, for a call gate, bits 104 to
    /// 108, which the CPU checks, are set. Other reserved bits are ignored, as by the CPU.
    #[must_use]
    pub const fn decode([low, high]: [u64; 2]) -> Option<Self> {
        match Gate::from_raw(low) {
            Some(gate) => {
                let fits = match gate.kind {
                    GateKind::Call => high >> 40 & 0x1F == 0,
                    GateKind::Interrupt | GateKind::Trap => true,
                    _ => false,
                };
                if !fits {
                    return None;
                }
                Some(Self {
                    offset: high << 32 | gate.offset as u64,
                    selector: gate.selector,
                    kind: gate.kind,
                    ring: gate.ring,
                    present: gate.present,
                    stack: gate.count & 7,
                })
            }
            None => None,
        }
    }
}
