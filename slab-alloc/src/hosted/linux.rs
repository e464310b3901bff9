//! Linux: `mmap` and its kin, called through the C library. Every call leaves `errno` as it was.
#![expect(unsafe_code, reason = "system calls")]

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::span::GRANULE_LOG2;
use super::system::System;

/// Bits of a user's address: x86-64 with four levels of page tables, AArch64 with 48-bit addresses. `mmap` goes higher
/// only if it is asked to.
const ADDRESS_BITS: u32 = if cfg!(target_arch = "x86_64") { 47 } else { 48 };
const TABLE: usize = size_of::<AtomicU32>() << (ADDRESS_BITS - GRANULE_LOG2);

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// The operating system of this process.
#[derive(Debug)]
pub(crate) struct Linux {
    table: AtomicPtr<AtomicU32>,
    /// The table's pages must be made writable one by one: the system counts reserved memory (`overcommit_memory` 2).
    counted: AtomicBool,
}

impl Linux {
    pub(crate) const fn new() -> Self {
        Self { table: AtomicPtr::new(ptr::null_mut()), counted: AtomicBool::new(false) }
    }
}

/// Runs `f` and restores `errno`.
fn quietly<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's `errno`.
    let saved = unsafe { errno.read() };
    let result = f();
    // SAFETY: as above.
    unsafe { errno.write(saved) };
    result
}

/// Says in `errno` that there is no memory.
pub(super) fn out_of_memory() {
    // SAFETY: always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's `errno`.
    unsafe { errno.write(libc::ENOMEM) };
}

fn mmap(bytes: usize, protection: i32) -> Option<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the system's choice touches no memory in use.
    let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast()) }
}

fn void(base: NonNull<u8>) -> *mut c_void {
    base.as_ptr().cast()
}

// SAFETY: (1) `map` is a fresh anonymous mapping, aligned by cutting a longer one; (2) the table is one, too, never
// unmapped, one word for each granule of the address space; (3) the index is the granule's number; address 0 is never
// mapped; (4) the C library's wrappers of these system calls do not allocate.
unsafe impl System for Linux {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        quietly(|| {
            let base = mmap(bytes, READ_WRITE)?;
            if base.as_ptr().addr() & (align - 1) == 0 {
                return Some(base);
            }
            // SAFETY: mapped above, used by nobody.
            unsafe { libc::munmap(void(base), bytes) };
            let long = bytes.checked_add(align)?;
            let start = mmap(long, READ_WRITE)?;
            let lead = start.as_ptr().addr().wrapping_neg() & (align - 1);
            // SAFETY: lead < align, inside the mapping.
            let base = unsafe { start.add(lead) };
            if lead > 0 {
                // SAFETY: the part below `base`, used by nobody.
                unsafe { libc::munmap(void(start), lead) };
            }
            // SAFETY: lead + bytes ≤ long.
            let end = unsafe { base.add(bytes) };
            if align > lead {
                // SAFETY: the part above the block, used by nobody.
                unsafe { libc::munmap(void(end), align - lead) };
            }
            Some(base)
        })
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        quietly(|| unsafe { libc::munmap(void(base), bytes) });
    }

    unsafe fn decommit(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise: nobody uses the contents.
        quietly(|| unsafe { libc::madvise(void(base), bytes, libc::MADV_DONTNEED) } == 0)
    }

    unsafe fn remap(&self, base: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        quietly(|| {
            // SAFETY: the caller's promise: a whole mapping, whose old place is forgotten.
            let moved = unsafe { libc::mremap(void(base), old, new, libc::MREMAP_MAYMOVE) };
            if moved == libc::MAP_FAILED { None } else { NonNull::new(moved.cast()) }
        })
    }

    fn table(&self) -> Option<NonNull<AtomicU32>> {
        quietly(|| {
            let table = match mmap(TABLE, READ_WRITE) {
                Some(table) => table,
                None => {
                    self.counted.store(true, Ordering::Relaxed);
                    let table = mmap(TABLE, libc::PROT_NONE)?;
                    // SAFETY: the first page of the mapping: the word of address 0 is read.
                    if unsafe { libc::mprotect(void(table), 4096, READ_WRITE) } != 0 {
                        return None;
                    }
                    table
                }
            };
            self.table.store(table.as_ptr().cast(), Ordering::Relaxed);
            Some(table.cast())
        })
    }

    #[inline(always)]
    fn index(&self, address: usize) -> usize {
        address >> GRANULE_LOG2
    }

    fn has_index(&self, address: usize) -> bool {
        address >> ADDRESS_BITS == 0
    }

    fn prepare_table(&self, base: usize, bytes: usize) -> bool {
        if base >> ADDRESS_BITS != 0 {
            return false;
        }
        if !self.counted.load(Ordering::Relaxed) {
            return true;
        }
        let offset = |address| self.index(address) * size_of::<AtomicU32>();
        let (first, end) = (offset(base) & !0xffff, offset(base + bytes) + size_of::<AtomicU32>());
        let start = self.table.load(Ordering::Relaxed).cast::<u8>().wrapping_add(first);
        // SAFETY: pages of the table, which only become writable; what lies in them stays.
        quietly(|| unsafe { libc::mprotect(start.cast(), end - first, READ_WRITE) } == 0)
    }

    fn millis(&self) -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid place for the result.
        quietly(|| unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) });
        now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
    }

    fn pause(&self) {
        // SAFETY: always callable.
        quietly(|| unsafe { libc::sched_yield() });
    }

    fn secret(&self) -> usize {
        let mut secret = 0_usize;
        let place = (&raw mut secret).cast();
        // SAFETY: a valid place of that many bytes.
        quietly(|| unsafe { libc::getrandom(place, size_of::<usize>(), libc::GRND_NONBLOCK) });
        // Where the system has no randomness yet: where it put this.
        secret ^ place.addr().rotate_left(24)
    }

    fn misused(&self, how: &'static str) -> ! {
        for part in ["hectare-slab: ", how, "\n"] {
            // SAFETY: a valid string; 2 is the standard error, or refused.
            unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: always callable.
        unsafe { libc::abort() }
    }
}
