//! `malloc` and its family over Hectare's hosted heap, for programs that were never told:
//!
//! ```text
//! LD_PRELOAD=target/release/libhectare_preload.so python3 program.py
//! HECTARE_LEAKS=1 LD_PRELOAD=… program       says at the end how many blocks were not freed
//! ```
//! Each function does what POSIX and the GNU C library's manual say of it: `errno` is `ENOMEM` when there is no memory or a
//! product overflows and unchanged otherwise, `free` leaves it alone, size 0 gives a block of its own.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::multiple_unsafe_ops_per_block, clippy::undocumented_unsafe_blocks)]

mod leaks;

use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use hectare_slab::hosted;

/// Blocks are smaller than this: what a difference of pointers can say.
const LARGEST: usize = isize::MAX as usize;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: always callable.
    unsafe { libc::abort() }
}

#[cold]
fn refused() -> *mut c_void {
    set_errno(libc::ENOMEM);
    ptr::null_mut()
}

fn set_errno(error: c_int) {
    // SAFETY: always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's `errno`.
    unsafe { errno.write(error) };
}

fn errno() -> c_int {
    // SAFETY: always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's `errno`.
    unsafe { errno.read() }
}

#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    hosted::allocate(size).cast()
}

/// # Safety
/// The block is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { hosted::free(block.cast()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => hosted::allocate_zeroed(bytes).cast(),
        None => refused(),
    }
}

/// # Safety
/// The block is null or live; after success only the result is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let Some(block) = NonNull::new(block.cast::<u8>()) else { return malloc(size) };
    if size == 0 {
        // As the GNU C library: the block is freed, and there is none.
        // SAFETY: the caller's promise.
        unsafe { hosted::free(block.as_ptr()) };
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    unsafe { hosted::reallocate(block, size) }.cast()
}

/// # Safety
/// As [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => refused(),
    }
}

fn aligned(align: usize, size: usize) -> *mut u8 {
    if size > LARGEST - align { refused().cast() } else { hosted::allocate_aligned(size, align) }
}

/// # Safety
/// `place` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || align % size_of::<*mut c_void>() != 0 || align > LARGEST / 2 {
        return libc::EINVAL;
    }
    // It tells in its result, and leaves `errno` alone.
    let before = errno();
    let block = aligned(align, size);
    if block.is_null() {
        set_errno(before);
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(block.cast()) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() || align > LARGEST / 2 {
        set_errno(libc::EINVAL);
        return ptr::null_mut();
    }
    aligned(align, size).cast()
}

/// As [`aligned_alloc`], but an alignment that is no power of two is rounded up to one, as the GNU C library does.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => aligned_alloc(align, size),
        None => aligned_alloc(0, size),
    }
}

fn page() -> usize {
    // SAFETY: always callable.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    aligned_alloc(page(), size)
}

#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(page()) {
        Some(size) => aligned_alloc(page(), size),
        None => refused(),
    }
}

/// # Safety
/// The block is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { hosted::usable_size(block.cast()) }
}

/// Gives what is free to the system; 1, since something may have been.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_keep: usize) -> c_int {
    hosted::release();
    1
}
