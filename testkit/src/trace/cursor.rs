//! Bytes in, bytes out: numbers of variable length and slot differences.
//!
//! A *varint* is unsigned LEB128: 7 bits a byte, low first, the top bit says that more follow. A *slot* is the zigzag
//! varint of its difference from the slot mentioned before.

use super::error::{Problem, TraceError};

/// A reader of a decoded file that knows its place.
#[derive(Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    last_slot: u32,
}

impl<'a> Input<'a> {
    /// Reads `bytes` from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, last_slot: 0 }
    }

    /// The offset of the next byte in the file.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], TraceError> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        match taken {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(Problem::Truncated.at(self.bytes.len() as u64)),
        }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, TraceError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A varint.
    pub(super) fn varint(&mut self) -> Result<u64, TraceError> {
        let at = self.offset();
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Problem::Varint.at(at));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Problem::Varint.at(at))
    }

    /// A varint that fits 32 bits; `field` is its name.
    pub(super) fn varint32(&mut self, field: &'static str) -> Result<u32, TraceError> {
        let at = self.offset();
        let found = self.varint()?;
        u32::try_from(found).map_err(|_| Problem::Range { field, found }.at(at))
    }

    /// A slot. It may be any 32-bit number: the ledger says which are good.
    pub(super) fn slot(&mut self, used: u64) -> Result<u32, TraceError> {
        let at = self.offset();
        let zigzag = self.varint()?;
        let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let slot = i64::from(self.last_slot).saturating_add(difference);
        self.last_slot = u32::try_from(slot).map_err(|_| Problem::Slot { slot, used }.at(at))?;
        Ok(self.last_slot)
    }

    /// UTF-8 text of `length` bytes.
    pub(super) fn text(&mut self, length: u64) -> Result<&'a str, TraceError> {
        let at = self.offset();
        let bytes = self.take(length)?;
        str::from_utf8(bytes).map_err(|error| Problem::NotUtf8.at(at + error.valid_up_to() as u64))
    }
}

/// The writer's side of [`Input`].
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    last_slot: u32,
}

impl Output {
    /// One byte.
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A varint, in as few bytes as it needs.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0]);
    }

    /// A slot, as the difference from the one before.
    pub(super) fn slot(&mut self, slot: u32) {
        let difference = i64::from(slot) - i64::from(self.last_slot);
        self.varint(((difference << 1) ^ (difference >> 63)).cast_unsigned());
        self.last_slot = slot;
    }
}
