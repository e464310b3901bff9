//! Recorded traces of real programs: readers and writers of the four formats.
//!
//! | module | magic | one record is |
//! |---|---|---|
//! | [`heap`] | `HTRC` | an allocation, resize or free of a program's heap |
//! | [`frames`] | `FTRC` | a block of page frames taken or given back |
//! | [`objects`] | `KTRC` | a kernel object taken from or given back to its cache |
//! | [`vm`] | `VMTRC` | a system call or page fault that concerns an address space |
//!
//! The three binary formats share one frame; all numbers are little-endian:
//!
//! ```text
//!      0      4    6    8          12    16        24        32    36      40         48         56        64        72
//!      ┌──────┬────┬────┬──────────┬─────┬─────────┬─────────┬─────┬───────┬──────────┬──────────┬─────────┬─────────┬──────┬─────┐
//!      │magic │vers│flag│header len│CRC  │op count │ops bytes│slots│threads│peak bytes│peak objs │end bytes│end objs │ name │ ops │
//!      └──────┴────┴────┴──────────┴─────┴─────────┴─────────┴─────┴───────┴──────────┴──────────┴─────────┴─────────┴──────┴─────┘
//! op:  one byte of code, then its operands; END (0) is the last byte
//! ```
//! A *slot* stands for an object: slots count from 0, a free one is reused, and a new one is always the lowest never
//! used. A trace that was read without an error keeps every rule: a replayer may index a table of `header.slots` entries
//! without checks, never frees twice, and can trust each figure of the header.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::path::Path;

use ruzstd::decoding::StreamingDecoder;

mod binary;
mod cursor;
mod error;
pub mod frames;
pub mod heap;
mod ledger;
pub mod objects;
pub mod vm;

pub use binary::Header;
pub use error::{Problem, TraceError};

/// The most bytes that [`load`] and [`decompress`] give: 1 GiB, a hundred times the largest trace known.
pub const MAX_DECODED: u64 = 1 << 30;

/// The first bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads a file, and decompresses it if its content (whatever its name) is zstd.
///
/// # Errors
/// The file cannot be read, or [`decompress`] refuses its content.
pub fn load(path: &Path) -> Result<Vec<u8>, TraceError> {
    let limit = MAX_DECODED.min(isize::MAX as u64);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::TooLarge { limit }.at(limit));
    }
    if bytes.starts_with(&ZSTD_MAGIC) { decompress(&bytes) } else { Ok(bytes) }
}

/// Decompresses zstd data: one frame or several in a row.
///
/// # Errors
/// The data is corrupt or truncated, a checksum does not agree, or it decodes to more than [`MAX_DECODED`] bytes. The
/// offset is that in the decoded file up to which decoding came.
pub fn decompress(mut compressed: &[u8]) -> Result<Vec<u8>, TraceError> {
    let mut bytes = Vec::new();
    while !compressed.is_empty() {
        let zstd = |at: usize, reason: String| TraceError::Zstd { at: at as u64, reason };
        let mut frame =
            StreamingDecoder::new(&mut compressed).map_err(|error| zstd(bytes.len(), error.to_string()))?;
        let room = MAX_DECODED - bytes.len() as u64;
        let read = frame.by_ref().take(room + 1).read_to_end(&mut bytes);
        read.map_err(|error| zstd(bytes.len(), error.to_string()))?;
        if bytes.len() as u64 > MAX_DECODED {
            return Err(Problem::TooLarge { limit: MAX_DECODED }.at(MAX_DECODED));
        }
        let decoder = frame.into_frame_decoder();
        let (stored, calculated) = (decoder.get_checksum_from_data(), decoder.get_calculated_checksum());
        if stored.is_some() && stored != calculated {
            return Err(zstd(bytes.len(), "the frame's checksum does not agree with its content".into()));
        }
    }
    Ok(bytes)
}
