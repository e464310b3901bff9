//! The heap of ordinary Linux programs: the size classes of this crate, a heap for each thread, memory from `mmap`.
//!
//! ```text
//!  allocate    class ─► bin of this thread ─► object                                       no atomic operation
//!                        └ empty ─► spare, mail, spans with free objects, the current span, the pool
//!  free        table[address / 64 KiB] ─┬► ours, small ─► bin of this thread               no atomic operation
//!                                       ├► another thread's ─► batch ─► its inbox          one compare-and-swap for 64
//!                                       └► large ─► pool
//! ```
//! ```no_run
//! #[global_allocator]
//! static HEAP: hectare_slab::hosted::Hosted = hectare_slab::hosted::Hosted;
//! # fn main() {}
//! ```
//! * Blocks up to 32 KiB are of 73 classes, eight for each doubling; up to 2 MiB they are runs of 64 KiB; above, mappings of
//!   their own, which `mremap` makes longer.
//! * What is freed by another thread goes back to its owner in batches of 64 objects or 64 KiB. Nothing is handed out by a
//!   thread that did not own it, so threads do not share cache lines by accident.
//! * The heap of a thread that ended is taken over by the next one that begins; until then, others take its spans, and
//!   its mail is looked after by who posts it.
//! * Before more memory than ever comes into use, an eighth more than the last time, the thread's caches are emptied, so that
//!   what is free in one class serves another.
//! * Memory that was free for 150 to 450 ms of further activity goes back to the system. A table of 4 bytes for each 64 KiB
//!   of address space is reserved, of which one page for each 64 MiB in use is resident. Address space of 4-MiB chunks
//!   is kept.
//! * It works before `main`, in destructors, after a thread's own destructors, and in the child of a `fork`. As any
//!   `malloc`, it must not be called in signal handlers.
//! * A limit on address space (`RLIMIT_AS`) below the table's 8 GiB (x86-64) makes every allocation fail.
//!
//! Misuse that the table can tell (a block that is nobody's) is counted and ignored; the feature `hosted-hardened` stops
//! the program, and on more (see the README).
#![expect(unsafe_code, reason = "hands out and takes back blocks")]

mod global;
mod hardened;
mod heap;
mod huge;
mod linux;
mod lock;
mod map;
mod pool;
mod process;
mod runs;
mod sizes;
mod span;
mod system;
#[cfg(test)]
mod tests;
mod thread;

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use crate::free::{Free, HARDENED};
use crate::size_class::{LARGEST, class_of_layout};
pub use global::Hosted;
use heap::Heap;
use linux::Linux;
use map::{BIN, BIN_LOG2, BINS, Entry};
use process::Process;
use sizes::SMALL;

/// The process's heaps.
static PROCESS: Process<Linux> = Process::new(Linux::new());

/// A block of at least `size` bytes, aligned to 16 (`malloc`); null, and `errno` is `ENOMEM`, if there is no memory.
/// Contents are unspecified.
///
/// O(1) but for requests to the system.
#[inline(always)]
#[must_use]
pub fn allocate(size: usize) -> *mut u8 {
    // Sizes of one table only here: the other way is a jump away, and this one has no branch more.
    match PROCESS.sizes.by_16.get((size.wrapping_add(15)) >> 4) {
        Some(offset) if size <= SMALL => allocate_small(usize::from(*offset)),
        _ => allocate_medium(size),
    }
}

#[inline(never)]
fn allocate_medium(size: usize) -> *mut u8 {
    match PROCESS.sizes.by_128.get((size.wrapping_add(127)) >> 7) {
        Some(offset) if size <= LARGEST => allocate_small(usize::from(*offset)),
        _ => {
            let _ = thread::with_heap(|heap| heap.before_growth(&PROCESS));
            or_null(PROCESS.allocate_large(size, 16).map(|(block, _)| block))
        }
    }
}

#[inline(always)]
fn allocate_small(offset: usize) -> *mut u8 {
    let heap = thread::current();
    // SAFETY: offsets come from the tables of classes.
    match unsafe { heap.pop(offset) } {
        Some(object) => handed_out(heap, offset, object),
        None => refill(offset),
    }
}

/// An object becomes a block.
#[inline(always)]
fn handed_out(heap: &Heap, offset: usize, object: Free) -> *mut u8 {
    if HARDENED {
        hardened::check_free(heap, offset, &object);
    }
    object.address().as_ptr()
}

#[cold]
#[inline(never)]
fn refill(offset: usize) -> *mut u8 {
    let object = thread::with_heap(|heap| {
        let object = heap.refill(&PROCESS, offset >> BIN_LOG2)?;
        Some(handed_out(heap, offset, object))
    });
    match object.flatten() {
        Some(block) => block,
        None => or_null(None),
    }
}

/// As [`allocate`], all `size` bytes zero (`calloc`).
#[inline]
#[must_use]
pub fn allocate_zeroed(size: usize) -> *mut u8 {
    if size > LARGEST {
        return large_zeroed(size, 16);
    }
    let block = allocate(size);
    if !block.is_null() {
        // SAFETY: the block has that many bytes.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

#[cold]
fn large_zeroed(size: usize, align: usize) -> *mut u8 {
    let Some((block, zero)) = PROCESS.allocate_large(size, align) else { return or_null(None) };
    if !zero {
        // SAFETY: the block has that many bytes.
        unsafe { block.write_bytes(0, size) };
    }
    block.as_ptr()
}

/// As [`allocate`], aligned to `align`, a power of two (`aligned_alloc`).
#[inline]
#[must_use]
pub fn allocate_aligned(size: usize, align: usize) -> *mut u8 {
    if align <= 16 {
        return allocate(size);
    }
    let Ok(layout) = Layout::from_size_align(size.max(1), align) else { return or_null(None) };
    match class_of_layout(layout) {
        Some(class) => allocate_small(class * BIN),
        None => or_null(PROCESS.allocate_large(size, align).map(|(block, _)| block)),
    }
}

/// The block; or null, and `errno` says why.
fn or_null(block: Option<NonNull<u8>>) -> *mut u8 {
    match block {
        Some(block) => block.as_ptr(),
        None => {
            linux::out_of_memory();
            ptr::null_mut()
        }
    }
}

/// What the table says about an address.
///
/// # Safety
/// As [`free`].
#[inline(always)]
unsafe fn word_of(block: *mut u8) -> u32 {
    if HARDENED && !hardened::has_word(block.addr()) {
        return 0;
    }
    // SAFETY: null or a block (caller): in memory that the system mapped.
    unsafe { PROCESS.map.word(&PROCESS.system, block.addr()) }
}

/// Gives a block back (`free`); nothing happens if it is null.
///
/// O(1); every so many calls, time in proportion to what is given back to spans.
///
/// # Safety
/// `block` is null, or was returned by a function of this module, was not given back since, and nothing uses it.
#[inline(always)]
pub unsafe fn free(block: *mut u8) {
    // SAFETY: the caller's promise.
    let word = unsafe { word_of(block) };
    let heap = thread::current();
    let offset = heap.offset_of(word);
    if offset >= BINS {
        // SAFETY: the caller's promise.
        return unsafe { free_other(block, word) };
    }
    // SAFETY: null has no word that is an offset.
    let block = unsafe { NonNull::new_unchecked(block) };
    if HARDENED {
        hardened::check_block(block, offset as usize >> BIN_LOG2);
    }
    // SAFETY: (1) an object of a class has 8 bytes or more, and 16 in the hardened variant, aligned to as much; (2) the
    // caller gives it up.
    let object = unsafe { Free::new(block) };
    // SAFETY: below BINS, and a multiple of BIN as all words' are.
    if let Err(object) = unsafe { heap.push(offset as usize, object) } {
        overflow(offset as usize, object);
    }
}

#[cold]
#[inline(never)]
fn overflow(offset: usize, object: Free) {
    let _ = thread::with_heap(|heap| heap.overflow(&PROCESS, offset >> BIN_LOG2, object));
}

/// Frees what is not a small object of this thread.
///
/// # Safety
/// As [`free`]; `word` is what the table says.
#[inline(never)]
unsafe fn free_other(block: *mut u8, word: u32) {
    let heap = thread::current();
    if let (Some(block), false) = (NonNull::new(block), HARDENED) {
        // SAFETY: if it is collected, as in `free`; otherwise nothing is written.
        let object = unsafe { Free::new(block) };
        if let Ok(posting) = heap.collect(word, object) {
            return heap.post_full(&PROCESS, posting);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { free_any(block, word) }
}

/// Frees whatever it is.
///
/// # Safety
/// As [`free_other`].
#[cold]
#[inline(never)]
unsafe fn free_any(block: *mut u8, word: u32) {
    let Some(block) = NonNull::new(block) else { return };
    match Entry::of(word) {
        Entry::Nothing if HARDENED => hardened::not_a_block(),
        Entry::Nothing => {
            PROCESS.rejected.fetch_add(1, Ordering::Relaxed);
        }
        Entry::Small { class, .. } => {
            if HARDENED {
                hardened::check_block(block, class);
            }
            // SAFETY: as in `free`.
            let object = unsafe { Free::new(block) };
            let _ = thread::with_heap(|heap| {
                // A heap may just have been taken over by this very thread.
                if heap.offset_of(word) < BINS {
                    heap.overflow(&PROCESS, class, object);
                } else {
                    heap.send(&PROCESS, word, object);
                }
            });
        }
        // SAFETY: live (caller), and the table's entry.
        entry => unsafe { PROCESS.free_large(block, entry) },
    }
}

/// How many bytes of a live block may be used (`malloc_usable_size`): at least what was asked for. 0 for null.
///
/// # Safety
/// `block` is null or live.
#[must_use]
pub unsafe fn usable_size(block: *mut u8) -> usize {
    // SAFETY: the caller's promise.
    let entry = Entry::of(unsafe { word_of(block) });
    // SAFETY: the caller's promise.
    NonNull::new(block).map_or(0, |block| unsafe { PROCESS.usable(block, entry) })
}

/// Makes a block larger or smaller, moving it if it must (`realloc`); null, with the block as it was, if there is no
/// memory. In place if the class is the same or at least half of it stays in use; large blocks grow into free neighbours,
/// or by `mremap`.
///
/// # Safety
/// `block` is live; after success only the returned one is. It must not rely on an alignment above 16 afterwards.
#[must_use]
pub unsafe fn reallocate(block: NonNull<u8>, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    let entry = Entry::of(unsafe { word_of(block.as_ptr()) });
    // SAFETY: the caller's promise.
    let usable = unsafe { PROCESS.usable(block, entry) };
    if size <= usable && (size >= usable / 2 || usable <= 16) {
        return block.as_ptr();
    }
    if size > LARGEST {
        // SAFETY: the caller's promise.
        if let Some(block) = unsafe { PROCESS.resize_large(block, entry, size) } {
            return block.as_ptr();
        }
    }
    let new = allocate(size);
    if !new.is_null() {
        // SAFETY: both are live, distinct, and at least that long.
        unsafe { new.copy_from_nonoverlapping(block.as_ptr(), usable.min(size)) };
        // SAFETY: the caller's promise; the copy is done.
        unsafe { free(block.as_ptr()) };
    }
    new
}

/// Gives everything that is free to the system now: this thread's caches, and what all threads have left to the pool.
/// O(memory); for programs that go to rest, and for tests.
pub fn release() {
    let _ = thread::with_heap(|heap| {
        heap.flush_all(&PROCESS);
        PROCESS.with_pool(|pool| pool.tick(&PROCESS.system, &PROCESS.map, true));
    });
}

/// What the heap holds at the moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Spans of small objects and large blocks, in granules of 64 KiB. Free objects in spans and caches count.
    pub spans: usize,
    /// Blocks above 2 MiB.
    pub mappings: usize,
    /// Address space of chunks, resident or not.
    pub reserved: usize,
    /// Frees that were ignored, because they were of no block.
    pub rejected: u64,
}

/// See [`Usage`]. Takes the pool's lock.
#[must_use]
pub fn usage() -> Usage {
    let [spans, mappings, reserved] = PROCESS.bytes();
    Usage { spans, mappings, reserved, rejected: PROCESS.rejected.load(Ordering::Relaxed) }
}

/// Small objects and large blocks that are live: what a leak check at the end of a program counts. Objects in caches of
/// other threads that still run, and in mail, count as live; a thread that ended has none.
///
/// # Safety
/// No other thread uses the heap meanwhile.
#[must_use]
pub unsafe fn live() -> (usize, usize) {
    let _ = thread::with_heap(|heap| heap.flush_all(&PROCESS));
    PROCESS.with_pool(|pool| pool.live(&PROCESS.map, &PROCESS.system))
}
