//! What the heap asks of the operating system. Linux answers in [`linux`](super::linux); tests have a stand-in, so that
//! Miri can run everything above this line.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

/// Source of memory, time and patience.
///
/// # Safety
/// The implementer promises: (1) [`map`](Self::map) returns memory that is valid, zero, aligned as asked and nobody
/// else's, until [`unmap`](Self::unmap); (2) [`table`](Self::table) returns zeroed words that live for ever, one for each
/// value of [`index`](Self::index); (3) `index` depends on the address divided by [`GRANULE`](super::span::GRANULE) alone,
/// is different for different granules that `map` returned, and 0 for address 0 and for no granule that `map` returned;
/// (4) no method calls the heap.
pub(crate) unsafe trait System: Sync {
    /// Whether neighbouring mappings may be unmapped and resized as one.
    const MERGES: bool = true;

    /// Memory; `align` is a power of two of at least 4096, `bytes` a multiple of 4096 above 0.
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>>;

    /// Gives memory back.
    ///
    /// # Safety
    /// The range is a part of what `map` returned, in whole pages, and nobody uses it any more.
    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize);

    /// Lets go of the contents and keeps the range: it reads as zeros afterwards if the answer is `true`, and as before
    /// if it is `false`.
    ///
    /// # Safety
    /// As [`unmap`](Self::unmap); the range stays the caller's.
    unsafe fn decommit(&self, base: NonNull<u8>, bytes: usize) -> bool;

    /// Makes a mapping longer or shorter, moving it if it must; contents are kept and new bytes are zero. `None`: nothing
    /// was changed.
    ///
    /// # Safety
    /// The range is exactly one that `map` or `remap` returned, in whole pages; the old place is not used afterwards.
    unsafe fn remap(&self, base: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>>;

    /// The words of the table, asked for once.
    fn table(&self) -> Option<NonNull<AtomicU32>>;

    /// Which word of the table stands for this address.
    fn index(&self, address: usize) -> usize;

    /// Whether `index` of this address may be looked up: always for what `map` returned.
    fn has_index(&self, address: usize) -> bool;

    /// Makes sure that the words of these addresses can be written.
    fn prepare_table(&self, base: usize, bytes: usize) -> bool {
        let _ = (base, bytes);
        true
    }

    /// Milliseconds since some time in the past. May be coarse.
    fn millis(&self) -> u64;

    /// Lets others run.
    fn pause(&self);

    /// A number that an attacker does not know.
    fn secret(&self) -> usize;

    /// Ends the program: the heap was misused in this way. Hardened variant only.
    fn misused(&self, how: &'static str) -> !;
}
