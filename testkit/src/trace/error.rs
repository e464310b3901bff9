//! What can be wrong with a trace, and where.

use std::io;

use thiserror::Error;

/// Why a trace was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// The compressed data is corrupt or truncated.
    #[error("byte {at}: bad zstd data: {reason}")]
    Zstd {
        /// How many bytes could be decoded before.
        at: u64,
        /// What the decoder said.
        reason: String,
    },
    /// The decoded file breaks a rule of its format.
    #[error("byte {at}: {problem}")]
    Malformed {
        /// The offset of the offending byte or field in the decoded file.
        at: u64,
        /// The broken rule.
        problem: Problem,
    },
    /// An operation in memory, to be made a trace, breaks a rule.
    #[error("operation {index}: {problem}")]
    Op {
        /// The index of the operation; the number of operations if they end too early.
        index: u64,
        /// The broken rule.
        problem: Problem,
    },
}

impl TraceError {
    /// The byte offset in the decoded file, where that has a meaning.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::Zstd { at, .. } | Self::Malformed { at, .. } => Some(*at),
            Self::Io(_) | Self::Op { .. } => None,
        }
    }

    /// The broken rule of the format, if that is what is wrong.
    #[must_use]
    pub const fn problem(&self) -> Option<Problem> {
        match self {
            Self::Malformed { problem, .. } | Self::Op { problem, .. } => Some(*problem),
            Self::Io(_) | Self::Zstd { .. } => None,
        }
    }
}

/// A broken rule of a trace format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The decoded file is larger than a trace may be.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The file ends inside a field.
    #[error("the file ends too early")]
    Truncated,
    /// The file does not begin as this format does.
    #[error("not a {expected} file")]
    Magic {
        /// The format's name.
        expected: &'static str,
    },
    /// A version that this reader does not know.
    #[error("version {found} is not supported")]
    Version {
        /// The version in the file.
        found: u64,
    },
    /// Flag bits that this reader does not know.
    #[error("unknown flag bits in {found:#x}")]
    Flags {
        /// The flags in the file.
        found: u64,
    },
    /// The header's length is less than its fixed part, or more than the file.
    #[error("a header of {found} bytes cannot be")]
    HeaderLength {
        /// The length in the file.
        found: u64,
    },
    /// A figure of the header disagrees with the content.
    #[error("the header says {field} = {stated}, the content {found}")]
    Figure {
        /// The field.
        field: &'static str,
        /// What the header says.
        stated: u64,
        /// What the content gives.
        found: u64,
    },
    /// The operations' checksum disagrees.
    #[error("the operations' CRC-32 is {found:#010x}, the header says {stated:#010x}")]
    Crc {
        /// What the header says.
        stated: u32,
        /// What the content gives.
        found: u32,
    },
    /// A name is not UTF-8.
    #[error("a name is not UTF-8")]
    NotUtf8,
    /// A variable-length number exceeds 64 bits or 10 bytes.
    #[error("a number does not fit 64 bits")]
    Varint,
    /// A number exceeds what its field can mean.
    #[error("{field} = {found} is out of range")]
    Range {
        /// The field.
        field: &'static str,
        /// The number.
        found: u64,
    },
    /// No operation has this code.
    #[error("no operation has the code {found}")]
    Opcode {
        /// The code.
        found: u8,
    },
    /// Bytes follow the end of the operations.
    #[error("bytes follow the END operation")]
    Trailing,
    /// A slot that skips unused ones, or lies outside the numbers a slot can have.
    #[error("slot {slot} is out of range: {used} are in use")]
    Slot {
        /// The slot.
        slot: i64,
        /// How many slots have been used.
        used: u64,
    },
    /// An allocation into a slot that holds a live object.
    #[error("slot {slot} is allocated already")]
    Occupied {
        /// The slot.
        slot: u32,
    },
    /// A free or resize of a slot that holds nothing.
    #[error("slot {slot} holds no live object")]
    NotLive {
        /// The slot.
        slot: u32,
    },
    /// The live sizes add up to more than 64 bits.
    #[error("the live sizes exceed 64 bits in sum")]
    Sum,
    /// The pieces of a split block are missing, or there is one too many.
    #[error("the pieces of a split block do not agree with its order")]
    Pieces,
    /// A cache is defined twice, used before it is defined, or defined without need of the format.
    #[error("cache {id} is defined twice or used before its definition")]
    Cache {
        /// The cache's id in the file.
        id: u64,
    },
    /// A field of a text record is missing, or is not what it should be.
    #[error("{field} expected")]
    Expected {
        /// What should be there.
        field: &'static str,
    },
    /// A process number that skips one, or a process that does not exist (any more).
    #[error("process {process} does not exist, exists already or has ended")]
    Process {
        /// The process.
        process: u32,
    },
}

impl Problem {
    /// This problem at byte `at` of the decoded file.
    pub(super) const fn at(self, at: u64) -> TraceError {
        TraceError::Malformed { at, problem: self }
    }
}
