//! Operations on the address spaces of several processes.

use super::bytes::{byte, scaled};

/// What lies behind a new mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Zeros.
    Anonymous,
    /// Zeros, in huge pages if that can be.
    Huge,
    /// An object, from this page of it on.
    Object {
        /// Which.
        id: u8,
        /// The object's page behind the first.
        offset: u8,
        /// Whether writes are seen by others.
        shared: bool,
    },
}

/// Where a new mapping should lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Wherever there is room.
    Anywhere,
    /// Here if it is free, else anywhere.
    Hint,
    /// Here, whatever was here.
    Fixed,
    /// Here or not at all.
    NoReplace,
}

/// Advice about pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Contents are not needed.
    DontNeed,
    /// Contents of anonymous memory may go.
    Free,
    /// Huge pages, please.
    Huge,
    /// No huge pages.
    NoHuge,
}

/// One operation. Pages are numbers in a small space; processes that do not exist do nothing. Rights are 1 read, 2 write,
/// 4 execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmOp {
    /// Makes a mapping.
    Map {
        /// Whose.
        process: u8,
        /// Where, or near.
        first: u16,
        /// Pages; 0 counts as 1.
        count: u16,
        /// Rights.
        rights: u8,
        /// How the place is meant.
        place: Where,
        /// What is mapped.
        what: What,
    },
    /// Unmaps pages.
    Unmap {
        /// Whose.
        process: u8,
        /// The first.
        first: u16,
        /// Pages; 0 counts as 1.
        count: u16,
    },
    /// Changes rights.
    Protect {
        /// Whose.
        process: u8,
        /// The first.
        first: u16,
        /// Pages; 0 counts as 1.
        count: u16,
        /// The new rights.
        rights: u8,
    },
    /// Resizes or moves pages.
    Remap {
        /// Whose.
        process: u8,
        /// The first.
        old: u16,
        /// Pages; 0 counts as 1.
        old_count: u16,
        /// Pages afterwards; 0 counts as 1.
        new_count: u16,
        /// Where to; `None`: wherever.
        to: Option<u16>,
    },
    /// Gives the heap so many pages.
    Brk {
        /// Whose.
        process: u8,
        /// Pages.
        pages: u16,
    },
    /// Says something about pages.
    Advise {
        /// Whose.
        process: u8,
        /// The first.
        first: u16,
        /// Pages; 0 counts as 1.
        count: u16,
        /// What.
        advice: Advice,
    },
    /// Makes a process a copy of another; the one that was there ends before.
    Fork {
        /// The parent.
        process: u8,
        /// The child.
        child: u8,
    },
    /// Ends a process.
    Exit {
        /// Which.
        process: u8,
    },
    /// Begins a process without mappings, if there is none.
    Begin {
        /// Which.
        process: u8,
    },
    /// Reads a word.
    Read {
        /// Who.
        process: u8,
        /// Of which page.
        page: u16,
        /// Which of the words that are looked at.
        cell: u8,
    },
    /// Writes a word.
    Write {
        /// Who.
        process: u8,
        /// To which page.
        page: u16,
        /// Which of the words that are looked at.
        cell: u8,
        /// What.
        value: u64,
    },
    /// Looks at the accessed and dirty marks.
    Harvest {
        /// Whose.
        process: u8,
    },
    /// Evicts a page, if it may be.
    Evict {
        /// Whose.
        process: u8,
        /// Which.
        page: u16,
    },
    /// Makes the small pages around a page a huge one, if it can be.
    Promote {
        /// Whose.
        process: u8,
        /// Which.
        page: u16,
    },
    /// From now on requests for memory are refused: all but the first so many, or none.
    Starve {
        /// How many are granted; `None`: all.
        after: Option<u8>,
    },
}

impl VmOp {
    /// Reads an operation from the front of fuzz bytes: up to 4 processes in a space of so many pages, at most 2^16.
    pub fn decode(bytes: &mut &[u8], space: u16) -> Option<Self> {
        let code = byte(bytes)?;
        let process = code >> 6;
        let number = |bytes: &mut &[u8]| Some(u16::from_le_bytes([byte(bytes)?, byte(bytes)?]));
        let page = |bytes: &mut &[u8]| Some(number(bytes)? % space.max(1));
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let count = |bytes: &mut &[u8]| Some(scaled(bytes, 6)? as u16);
        Some(match code % 32 {
            0..=4 => {
                let (first, count, kind) = (page(bytes)?, count(bytes)?, byte(bytes)?);
                let place = [Where::Anywhere, Where::Hint, Where::Fixed, Where::NoReplace];
                let what = match kind >> 5 {
                    0..=2 => What::Anonymous,
                    3 => What::Huge,
                    shared => {
                        let (id, offset) = (byte(bytes)? % 3, byte(bytes)? % 16);
                        What::Object { id, offset, shared: shared > 5 }
                    }
                };
                let place = place[usize::from(kind >> 3 & 3)];
                Self::Map { process, first, count, rights: kind & 7, place, what }
            }
            5 | 6 => Self::Unmap { process, first: page(bytes)?, count: count(bytes)? },
            7 | 8 => {
                let (first, count) = (page(bytes)?, count(bytes)?);
                Self::Protect { process, first, count, rights: byte(bytes)? & 7 }
            }
            9 | 10 => {
                let (old, old_count, new_count) = (page(bytes)?, count(bytes)?, count(bytes)?);
                let to = if code & 32 != 0 { Some(page(bytes)?) } else { None };
                Self::Remap { process, old, old_count, new_count, to }
            }
            11 => Self::Brk { process, pages: number(bytes)? % 64 },
            12 | 13 => {
                let advice = [Advice::DontNeed, Advice::Free, Advice::Huge, Advice::NoHuge];
                let (first, count) = (page(bytes)?, count(bytes)?);
                let advice = advice[usize::from(byte(bytes)? & 3)];
                Self::Advise { process, first, count, advice }
            }
            14 => Self::Fork { process, child: byte(bytes)? & 3 },
            15 if code & 32 != 0 => Self::Exit { process },
            15 => Self::Begin { process },
            16..=20 => Self::Read { process, page: page(bytes)?, cell: byte(bytes)? & 1 },
            21 => Self::Harvest { process },
            22 if code & 32 != 0 => Self::Promote { process, page: page(bytes)? },
            22 => Self::Evict { process, page: page(bytes)? },
            23 => {
                let after = byte(bytes)?;
                Self::Starve { after: if after < 64 { Some(after) } else { None } }
            }
            _ => {
                let (page, value) = (page(bytes)?, number(bytes)?);
                Self::Write { process, page, cell: code & 32, value: value.into() }
            }
        })
    }
}

/// Any operation for up to 4 processes in a space of so many pages.
#[cfg(feature = "proptest")]
pub fn strategy(space: u16) -> impl proptest::strategy::Strategy<Value = VmOp> {
    use proptest::prelude::*;
    // Through the decoder: one description of what there is.
    prop::array::uniform12(any::<u8>())
        .prop_map(move |bytes| VmOp::decode(&mut &bytes[..], space).unwrap_or(VmOp::Starve { after: None }))
}
