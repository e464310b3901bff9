//! C's functions over a heap behind a lock, with C's own arguments and results.
#![expect(unsafe_code, reason = "takes pointers from C, and implements ByteAllocator")]

use core::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::ptr::{self, NonNull};

use hectare_core::{AllocError, ByteAllocator, FreeError, Heap, RawLock, RegionHeap};

use super::Malloc;

/// C's allocation functions over a heap behind a lock: what a kernel, firmware or a library that links C code exports.
///
/// The functions have C's names, arguments and results: refusals are null, and `free` says nothing. See [`Malloc`] for
/// what is refused, and for the header. Blocks of these functions and of the heap's own must not be mixed.
///
/// How C's symbols are made of it is shown in the [module](super). What they answer:
///
/// ```
/// use core::ptr;
/// use hectare_core::SpinLock;
/// use hectare_fit::FitHeap;
/// use hectare_fit::malloc::CHeap;
///
/// static HEAP: CHeap<SpinLock, FitHeap> = CHeap::empty();
/// assert!(HEAP.malloc(1).is_null()); // no memory yet: null, as C expects
///
/// let memory = Box::leak(Box::new([core::mem::MaybeUninit::uninit(); 0x4000]));
/// HEAP.heap().init_static(memory)?;
/// let mut page = ptr::null_mut();
/// // SAFETY: `page` is a pointer that can be written.
/// assert_eq!(unsafe { HEAP.posix_memalign(&mut page, 24, 100) }, 22); // EINVAL: no power of two
/// // SAFETY: as above.
/// assert_eq!(unsafe { HEAP.posix_memalign(&mut page, 4096, 100) }, 0);
/// assert_eq!(page.addr() % 4096, 0);
/// // SAFETY: live.
/// assert_eq!(unsafe { HEAP.malloc_usable_size(page) }, 100);
/// // SAFETY: live, and not used any more.
/// unsafe { HEAP.free(page) };
/// assert_eq!(HEAP.heap().bad_frees(), 0);
/// # Ok::<(), hectare_core::RegionError>(())
/// ```
pub struct CHeap<L, A> {
    heap: Heap<L, A>,
}

impl<L, A> fmt::Debug for CHeap<L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CHeap").finish_non_exhaustive()
    }
}

/// `ENOMEM` and `EINVAL`, which have these numbers on every system that has them.
const NO_MEMORY: c_int = 12;
const INVALID: c_int = 22;

/// A heap behind a lock as an allocator for one owner: each call takes the lock.
struct Locked<'h, L, A>(&'h Heap<L, A>);

// SAFETY: every promise is the engine's, which the heap's methods call.
unsafe impl<L: RawLock, A: ByteAllocator> ByteAllocator for Locked<'_, L, A> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.allocate_block(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.free_block(block, layout) }
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.allocate_block_zeroed(layout)
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promises are those asked for.
        unsafe { self.0.reallocate_block(block, layout, new_size) }
    }
}

impl<L, A> CHeap<L, A> {
    /// C's functions over this heap.
    #[must_use]
    pub const fn new(heap: Heap<L, A>) -> Self {
        Self { heap }
    }

    /// The heap: to give it memory, and for its figures.
    #[must_use]
    pub const fn heap(&self) -> &Heap<L, A> {
        &self.heap
    }
}

impl<L: RawLock, A: RegionHeap> CHeap<L, A> {
    /// Without memory, for a `static`; feed its [`heap`](Self::heap).
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn empty() -> Self {
        Self::new(Heap::empty())
    }
}

fn or_null(block: Result<NonNull<u8>, AllocError>) -> *mut c_void {
    block.map_or(ptr::null_mut(), |block| block.as_ptr().cast())
}

impl<L: RawLock, A: ByteAllocator> CHeap<L, A> {
    fn functions(&self) -> Malloc<Locked<'_, L, A>> {
        Malloc::new(Locked(&self.heap))
    }

    /// C's `malloc`. Size 0 gives a block too.
    pub fn malloc(&self, size: usize) -> *mut c_void {
        or_null(self.functions().malloc(size))
    }

    /// C's `calloc`: null if the product overflows.
    pub fn calloc(&self, count: usize, size: usize) -> *mut c_void {
        or_null(self.functions().calloc(count, size))
    }

    /// C's `aligned_alloc`; the size need not be a multiple of the alignment. Null if `align` is no power of two.
    pub fn aligned_alloc(&self, align: usize, size: usize) -> *mut c_void {
        or_null(self.functions().aligned_alloc(align, size))
    }

    /// The older name of [`aligned_alloc`](Self::aligned_alloc).
    pub fn memalign(&self, align: usize, size: usize) -> *mut c_void {
        self.aligned_alloc(align, size)
    }

    /// POSIX's `posix_memalign`: 0; 22 (`EINVAL`) if `align` is no power of two or no multiple of a pointer's size; 12
    /// (`ENOMEM`). `out` is written only if the result is 0.
    ///
    /// # Safety
    /// `out` is valid for writing a pointer.
    pub unsafe fn posix_memalign(&self, out: *mut *mut c_void, align: usize, size: usize) -> c_int {
        if !align.is_power_of_two() || align % size_of::<usize>() != 0 {
            return INVALID;
        }
        match self.functions().aligned_alloc(align, size) {
            Ok(block) => {
                // SAFETY: the caller's promise.
                unsafe { out.write(block.as_ptr().cast()) };
                0
            }
            Err(_) => NO_MEMORY,
        }
    }

    /// C's `realloc`. Null is as [`malloc`](Self::malloc); size 0 leaves a block of no bytes, which must be freed.
    ///
    /// # Safety
    /// `block` is null, or as [`Malloc::realloc`] asks.
    pub unsafe fn realloc(&self, block: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: the caller's promise is the one asked for.
        or_null(unsafe { self.functions().realloc(NonNull::new(block.cast()), size) })
    }

    /// C's `free`. A bad free that the seal or the engine detects changes nothing; the engine's go to the heap's hook.
    ///
    /// # Safety
    /// `block` is null, or as [`Malloc::free`] asks.
    pub unsafe fn free(&self, block: *mut c_void) {
        // SAFETY: the caller's promise is the one asked for. C has no place for the error.
        let _ = unsafe { self.functions().free(NonNull::new(block.cast())) };
    }

    /// glibc's `malloc_usable_size`: what was asked for; 0 for null, or if the seal does not match.
    ///
    /// # Safety
    /// `block` is null, or as [`Malloc::usable_size`] asks.
    pub unsafe fn malloc_usable_size(&self, block: *mut c_void) -> usize {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.functions().usable_size(NonNull::new(block.cast())) }.unwrap_or(0)
    }
}
