//! Peers written in C and C++, by their own functions (feature `native-peers`): none replaces the harness's allocator.

use core::alloc::Layout;

use crate::family::Functions;

macro_rules! family {
    ($(#[$meta:meta])* $name:ident, $malloc:path, $zeroed:expr, $aligned:expr, $free:path, $realloc:path) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name;

        // SAFETY: the library's own functions, which keep C's promises.
        unsafe impl Functions for $name {
            #[inline(always)]
            fn allocate(size: usize) -> *mut u8 {
                // SAFETY: always callable.
                unsafe { $malloc(size) }.cast()
            }

            #[inline(always)]
            fn allocate_zeroed(size: usize) -> *mut u8 {
                // SAFETY: always callable.
                unsafe { $zeroed(size) }.cast()
            }

            #[inline(always)]
            fn allocate_aligned(layout: Layout) -> *mut u8 {
                // SAFETY: a power of two, and a size that is not 0.
                unsafe { $aligned(layout.align(), layout.size()) }.cast()
            }

            #[inline(always)]
            unsafe fn free(block: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe { $free(block.cast()) }
            }

            #[inline(always)]
            unsafe fn reallocate(block: *mut u8, size: usize) -> *mut u8 {
                // SAFETY: the caller's promise.
                unsafe { $realloc(block.cast(), size) }.cast()
            }
        }
    };
}

family!(
    /// mimalloc.
    Mimalloc,
    libmimalloc_sys::mi_malloc,
    |size| libmimalloc_sys::mi_zalloc(size),
    |align, size| libmimalloc_sys::mi_malloc_aligned(size, align),
    libmimalloc_sys::mi_free,
    libmimalloc_sys::mi_realloc
);

family!(
    /// snmalloc.
    Snmalloc,
    snmalloc_sys::sn_malloc,
    |size| snmalloc_sys::sn_calloc(1, size),
    |align, size| snmalloc_sys::sn_rust_alloc(align, size),
    snmalloc_sys::sn_free,
    snmalloc_sys::sn_realloc
);

family!(
    /// jemalloc.
    Jemalloc,
    tikv_jemalloc_sys::malloc,
    |size| tikv_jemalloc_sys::calloc(1, size),
    |align, size| tikv_jemalloc_sys::aligned_alloc(align, size),
    tikv_jemalloc_sys::free,
    tikv_jemalloc_sys::realloc
);
