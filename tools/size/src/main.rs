//! A firmware with nothing but a heap, to be measured by `check.sh`: init, allocation, free, reallocation.
#![no_std]
#![no_main]

use core::alloc::Layout;
use core::panic::PanicInfo;
use core::ptr::NonNull;

use hectare_core::{ByteAllocator, RegionHeap};
use hectare_fit::heap::SmallHeap;

/// The state whose size `check.sh` reads.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
static mut HECTARE_HEAP: SmallHeap = SmallHeap::EMPTY;

/// Gives the heap its memory.
///
/// # Safety
/// As `add_region`; nothing else uses the heap meanwhile.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn heap_init(start: NonNull<u8>, size: usize) -> bool {
    // SAFETY: the caller's promise.
    let heap = unsafe { &mut *(&raw mut HECTARE_HEAP) };
    // SAFETY: the caller's promise.
    unsafe { heap.add_region(NonNull::slice_from_raw_parts(start, size)) }.is_ok()
}

/// Takes a block.
///
/// # Safety
/// `size` and `align` make a layout; nothing else uses the heap meanwhile.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn heap_allocate(size: usize, align: usize) -> Option<NonNull<u8>> {
    // SAFETY: the caller's promise.
    let heap = unsafe { &mut *(&raw mut HECTARE_HEAP) };
    // SAFETY: the caller's promise.
    heap.allocate(unsafe { Layout::from_size_align_unchecked(size, align) }).ok()
}

/// Gives a block back.
///
/// # Safety
/// As `deallocate`; nothing else uses the heap meanwhile.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn heap_free(block: NonNull<u8>, size: usize, align: usize) {
    // SAFETY: the caller's promise.
    let heap = unsafe { &mut *(&raw mut HECTARE_HEAP) };
    // SAFETY: the caller's promise.
    let _ = unsafe { heap.deallocate(block, Layout::from_size_align_unchecked(size, align)) };
}

/// Makes a block larger or smaller.
///
/// # Safety
/// As `reallocate`; nothing else uses the heap meanwhile.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn heap_resize(
    block: NonNull<u8>,
    size: usize,
    align: usize,
    new: usize,
) -> Option<NonNull<u8>> {
    // SAFETY: the caller's promise.
    let heap = unsafe { &mut *(&raw mut HECTARE_HEAP) };
    // SAFETY: the caller's promise.
    unsafe { heap.reallocate(block, Layout::from_size_align_unchecked(size, align), new) }.ok()
}

/// What must stay when the linker throws the rest away.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
static KEEP: (
    unsafe extern "C" fn(NonNull<u8>, usize) -> bool,
    unsafe extern "C" fn(usize, usize) -> Option<NonNull<u8>>,
    unsafe extern "C" fn(NonNull<u8>, usize, usize),
    unsafe extern "C" fn(NonNull<u8>, usize, usize, usize) -> Option<NonNull<u8>>,
) = (heap_init, heap_allocate, heap_free, heap_resize);

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // SAFETY: a read of a static; volatile keeps the functions.
    let _ = unsafe { (&raw const KEEP).read_volatile() };
    #[cfg(feature = "panic")]
    assert!(KEEP.0 as usize % 3 != 0, "a panic that the check must find");
    loop {}
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
