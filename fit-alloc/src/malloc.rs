//! `malloc`, `calloc`, `realloc` and `free` for C callers, over any byte allocator.
//!
//! C gives a pointer back and nothing else, so each block carries its size before it:
//!
//! ```text
//!  the allocator's block   │ room for the alignment │ size │ seal │ the caller's bytes … │
//!                          ◄──────── offset ────────────────────► ▲ the pointer that C has
//! ```
//! The offset is the alignment, and at least the header's own two words (16 bytes on 64-bit machines, what C asks of
//! `malloc`), so size and offset tell the block's whole layout. The seal is made of the offset, the size and the
//! address: a pointer with something else before it is refused instead of trusted, unless it matches by chance.
//!
//! ```
//! use core::mem::MaybeUninit;
//! use hectare_core::SpinLock;
//! use hectare_fit::FitHeap;
//! use hectare_fit::malloc::CHeap;
//!
//! static HEAP: CHeap<SpinLock, FitHeap> = CHeap::empty();
//!
//! extern "C" fn malloc(size: usize) -> *mut core::ffi::c_void {
//!     HEAP.malloc(size)
//! }
//! extern "C" fn free(block: *mut core::ffi::c_void) {
//!     // SAFETY: C promises what `free` asks for.
//!     unsafe { HEAP.free(block) };
//! }
//! # let memory = Box::leak(Box::new([MaybeUninit::<u8>::uninit(); 8192]));
//! HEAP.heap().init_static(memory)?;
//! let block = malloc(100);
//! assert!(!block.is_null());
//! free(block);
//! # Ok::<(), hectare_core::RegionError>(())
//! ```
#![expect(unsafe_code, reason = "writes headers before blocks, and takes pointers from C")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{AllocError, ByteAllocator, FreeError};

mod shared;

pub use shared::CHeap;

/// The least alignment of a block in bytes, as C asks for: two words.
pub const MIN_ALIGN: usize = size_of::<Header>();

/// What stands before a block.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// As asked for.
    size: usize,
    /// See [`seal`].
    seal: usize,
}

/// What is stored for an offset, or the offset of what is stored: the function is its own inverse.
#[inline]
fn seal(block: NonNull<u8>, size: usize, offset: usize) -> usize {
    // No address, size or small number looks like this one: the middle bits of the golden ratio.
    #[expect(clippy::cast_possible_truncation, reason = "the low half does on 32-bit machines")]
    const SALT: usize = 0x9E37_79B9_7F4A_7C15_u64 as usize;
    block.addr().get() ^ size.rotate_left(usize::BITS / 2) ^ SALT ^ offset
}

/// The layout of a block with its header, for blocks of `size` bytes; the alignment is the offset.
#[inline]
fn whole(size: usize, offset: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(offset)?, offset).ok()
}

/// A byte allocator as C wants one: blocks remember their size. For one owner; see [`CHeap`] for a shared one.
///
/// | function | refused if |
/// |---|---|
/// | [`malloc`](Self::malloc), [`aligned_alloc`](Self::aligned_alloc) | as the allocator; the alignment is no power of two |
/// | [`calloc`](Self::calloc) | the same, or the product overflows |
/// | [`realloc`](Self::realloc) | the same, or the seal does not match; the block is as it was |
/// | [`free`](Self::free), [`usable_size`](Self::usable_size) | the seal does not match; nothing is changed |
///
/// Each costs what the allocator's operation costs, and a header of [`MIN_ALIGN`] bytes (the alignment, if that is
/// larger) for each block. A free breaks the seal, so a second one is refused as long as nobody used the memory since.
///
/// ```
/// use core::ptr::NonNull;
/// use hectare_core::{AllocError, FreeError, RegionHeap};
/// use hectare_fit::StrictHeap;
/// use hectare_fit::malloc::Malloc;
///
/// let mut memory = [0_u128; 256];
/// let region = NonNull::slice_from_raw_parts(NonNull::from(&mut memory).cast::<u8>(), size_of_val(&memory));
/// let mut heap = StrictHeap::<1>::new();
/// // SAFETY: nothing else uses the array while the heap does.
/// unsafe { heap.add_region(region) }?;
/// let mut c = Malloc::new(heap);
///
/// assert_eq!(c.calloc(usize::MAX, 2), Err(AllocError::TooLarge)); // the product overflows
/// let page = c.aligned_alloc(256, 100)?;
/// // SAFETY: live, and used as what is returned from now on. No size, no alignment: the header has both.
/// let page = unsafe { c.realloc(Some(page), 1000) }?;
/// assert_eq!(page.addr().get() % 256, 0);
///
/// // SAFETY: live, and not used any more.
/// unsafe { c.free(Some(page)) }?;
/// // SAFETY: none: a mistake. The seal is broken, and the memory before the pointer is still the heap's.
/// assert_eq!(unsafe { c.free(Some(page)) }, Err(FreeError::NotAllocated));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Malloc<A> {
    heap: A,
}

impl<A> Malloc<A> {
    /// C's functions over this allocator.
    #[must_use]
    pub const fn new(heap: A) -> Self {
        Self { heap }
    }

    /// The allocator.
    #[must_use]
    pub const fn heap(&self) -> &A {
        &self.heap
    }
}

impl<A: ByteAllocator> Malloc<A> {
    /// Takes a block of `size` bytes, aligned to [`MIN_ALIGN`]. Size 0 gives a block too, which must be freed.
    ///
    /// # Errors
    /// Why there is none; [`AllocError::TooLarge`] if size and header exceed `isize::MAX`.
    pub fn malloc(&mut self, size: usize) -> Result<NonNull<u8>, AllocError> {
        self.take(size, MIN_ALIGN, false)
    }

    /// Takes a block of `count` times `size` bytes, all zero.
    ///
    /// # Errors
    /// As [`malloc`](Self::malloc); [`AllocError::TooLarge`] if the product overflows.
    pub fn calloc(&mut self, count: usize, size: usize) -> Result<NonNull<u8>, AllocError> {
        self.take(count.checked_mul(size).ok_or(AllocError::TooLarge)?, MIN_ALIGN, true)
    }

    /// Takes a block at a multiple of `align` (C's `aligned_alloc` and `memalign`). The size need not be a multiple of it.
    ///
    /// # Errors
    /// As [`malloc`](Self::malloc); [`AllocError::Alignment`] if `align` is no power of two.
    pub fn aligned_alloc(&mut self, align: usize, size: usize) -> Result<NonNull<u8>, AllocError> {
        if !align.is_power_of_two() {
            return Err(AllocError::Alignment);
        }
        self.take(size, align.max(MIN_ALIGN), false)
    }

    /// Gives a block another size, moving it if it must: the first `min(old, new)` bytes and the alignment are kept.
    /// `None` is as [`malloc`](Self::malloc). Size 0 leaves a block of no bytes, which must be freed.
    ///
    /// # Safety
    /// As [`free`](Self::free); after `Ok` only the returned block is live.
    ///
    /// # Errors
    /// As [`malloc`](Self::malloc), or [`AllocError::BadBlock`] as `free`; the old block is as it was.
    pub unsafe fn realloc(
        &mut self,
        block: Option<NonNull<u8>>,
        size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        let Some(block) = block else { return self.malloc(size) };
        // SAFETY: the caller's promise.
        let (old, offset) = unsafe { read(block) }?;
        let (Some(layout), Some(new)) = (whole(old, offset), whole(size, offset)) else {
            return Err(AllocError::TooLarge);
        };
        // SAFETY: the allocator's block begins so far before this one.
        let start = unsafe { block.sub(offset) };
        // SAFETY: (1) the block is live and was allocated with this layout, as its header says; (2) `new` is a layout, so
        // its size does not exceed `isize::MAX` when rounded up to the alignment.
        let start = unsafe { self.heap.reallocate(start, layout, new.size()) }?;
        // SAFETY: the block has `size` bytes after the offset.
        Ok(unsafe { seal_in(start, size, offset) })
    }

    /// Gives a block back; `None` is fine and does nothing.
    ///
    /// # Safety
    /// The block is live, from this allocator's functions here, and nothing uses it any more. (What the seal tells is
    /// refused all the same; but the header before the pointer is read, so there must be memory.)
    ///
    /// # Errors
    /// [`FreeError::NotAllocated`] if the seal does not match, or what the allocator can tell; nothing is changed.
    pub unsafe fn free(&mut self, block: Option<NonNull<u8>>) -> Result<(), FreeError> {
        let Some(block) = block else { return Ok(()) };
        // SAFETY: the caller's promise.
        let (size, offset) = unsafe { read(block) }?;
        let layout = whole(size, offset).ok_or(FreeError::NotAllocated)?;
        let header = header_of(block);
        // SAFETY: the block's own header.
        let sealed = unsafe { header.read() };
        // SAFETY: the same. The planted fault: the seal stays.
        unsafe {
            header.write(if cfg!(hectare_plant = "malloc_seal") { sealed } else { Header { size, seal: 0 } })
        };
        // SAFETY: the allocator's block begins so far before this one.
        let start = unsafe { block.sub(offset) };
        // SAFETY: the block is live and was allocated with this layout, as its header says.
        let freed = unsafe { self.heap.deallocate(start, layout) };
        if freed.is_err() {
            // SAFETY: refused: the block is as it was.
            unsafe { header.write(sealed) };
        }
        freed
    }

    /// How many bytes of a block may be used: as many as were asked for. 0 for `None`.
    ///
    /// # Safety
    /// As [`free`](Self::free), but the block stays in use.
    ///
    /// # Errors
    /// [`FreeError::NotAllocated`] if the seal does not match.
    pub unsafe fn usable_size(&self, block: Option<NonNull<u8>>) -> Result<usize, FreeError> {
        let Some(block) = block else { return Ok(0) };
        // SAFETY: the caller's promise.
        Ok(unsafe { read(block) }?.0)
    }

    fn take(&mut self, size: usize, offset: usize, zeroed: bool) -> Result<NonNull<u8>, AllocError> {
        let layout = whole(size, offset).ok_or(AllocError::TooLarge)?;
        let start = if zeroed { self.heap.allocate_zeroed(layout) } else { self.heap.allocate(layout) }?;
        // SAFETY: the block has `size` bytes after the offset.
        Ok(unsafe { seal_in(start, size, offset) })
    }
}

/// Where the header of a block is.
fn header_of(block: NonNull<u8>) -> *mut Header {
    block.as_ptr().cast::<Header>().wrapping_sub(1)
}

/// Writes the header of the block at `start + offset`, and gives that.
///
/// # Safety
/// `start` is aligned to `offset`, a power of two of at least [`MIN_ALIGN`], and the `offset` bytes from it are ours.
unsafe fn seal_in(start: NonNull<u8>, size: usize, offset: usize) -> NonNull<u8> {
    // SAFETY: inside the allocator's block, or one past its end.
    let block = unsafe { start.add(offset) };
    let header = Header { size, seal: seal(block, size, offset) };
    // SAFETY: the last bytes before the block, which are ours, and aligned as the block is.
    unsafe { header_of(block).write(header) };
    block
}

/// The size and the offset of a block.
///
/// # Safety
/// There is an initialised header before it.
unsafe fn read(block: NonNull<u8>) -> Result<(usize, usize), FreeError> {
    if block.addr().get() % MIN_ALIGN != 0 {
        return Err(FreeError::Misaligned);
    }
    // SAFETY: the caller's promise; aligned.
    let header = unsafe { header_of(block).read() };
    let offset = seal(block, header.size, header.seal);
    let sound = offset.is_power_of_two() && offset >= MIN_ALIGN && block.addr().get() % offset == 0;
    if sound { Ok((header.size, offset)) } else { Err(FreeError::NotAllocated) }
}
